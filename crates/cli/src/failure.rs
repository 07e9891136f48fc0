//! What can go wrong, in plain words: code, message, next step, exit code. One table for all commands.

use std::fmt;
use std::io::ErrorKind;

use lllsi::{ClientCloseReason, HostCloseReason, StunAltError, media};

macro_rules! codes {
    ($($variant:ident $name:literal $exit:literal $next:literal,)*) => {
        /// Kinds of failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $($variant),*
        }

        impl Code {
            /// The name in JSON.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            fn exit(self) -> u8 {
                match self { $(Self::$variant => $exit),* }
            }

            fn next_step(self) -> &'static str {
                match self { $(Self::$variant => $next),* }
            }

            const ALL: &[Self] = &[$(Self::$variant),*];
        }
    };
}

/// For the help: all exit codes, in three columns.
pub(crate) fn exit_codes() -> String {
    let named = Code::ALL.iter().map(|code| (code.exit(), code.name()));
    let mut codes: Vec<_> = [(0, "all went well"), (2, "unclear command")].to_vec();
    codes.extend(named);
    codes.sort_unstable();
    let rows = codes.len().div_ceil(3);
    let mut help = String::from("Exit codes, told with what to do next:\n");
    for row in 0..rows {
        let row = codes.iter().skip(row).step_by(rows);
        let cells: Vec<_> = row.map(|(exit, name)| format!("{exit:4}  {name:<20}")).collect();
        help += cells.concat().trim_end();
        help.push('\n');
    }
    help
}

codes! {
    Unexpected "unexpected" 1 "Run it again with -vv, and report what it logs.",
    BadLink "bad_link" 3 "Copy the whole invite link again, from http to the last letter.",
    ServerUnreachable "server_unreachable" 4 "Check its address, your network, and that it runs.",
    UnknownRoom "unknown_room" 5 "Ask the host whether it still runs, and for a new link; in a room's name, capital letters count.",
    WrongSecret "wrong_secret" 6 "Copy the whole link again, or ask the host for a new one.",
    RoomFull "room_full" 7 "Try again when a viewer has left, or ask the host for a larger --max-viewers; or for a link, if you came by the room's name.",
    Version "version" 8 "Install the newest lllsi on both sides.",
    Kicked "kicked" 9 "Ask the host if that was a mistake.",
    HostClosed "host_closed" 10 "Ask the host for a new link if there is to be another.",
    HostVanished "host_vanished" 11 "Check your network; join again once the host is back.",
    NoPath "no_path" 12 "Try another network on one side, or IPv6 on both: strict NATs on both sides cannot be crossed yet.",
    Tampered "tampered" 13 "Somebody between you and the host interferes: use another server or network.",
    Listen "listen" 14 "Stop the other program, or choose another port.",
    Source "source" 15 "Start it inside a graphical session, or use --source screen:DISPLAY for another screen, or --source test for a test card.",
    NoAnswer "no_answer" 16 "Ask the host whether its program still runs.",
    Refused "refused" 17 "Try again later, or use another server.",
    File "file" 18 "Check the path, its permissions, and the space on the disk.",
    Display "display" 21 "Start it in a graphical session, or without a window: --headless.",
    SourceLost "source_lost" 22 "Ask the host for a new link once its screen is back.",
    InviteExpired "invite_expired" 23 "Ask the host for a new link.",
    WrongPassword "wrong_password" 24 "Ask the host for the password by another way. If it was right, somebody else answers under this name: do not try it again.",
    TooManyTries "too_many_tries" 25 "Wait a minute and try again, or ask the host for a link: it is not slowed down.",
    NameTaken "name_taken" 26 "Choose another name for --room; or use the --state directory and the --server that this one was started with before.",
    Replaced "replaced" 27 "Go on watching where you joined last.",
    Impostor "impostor" 28 "Ask the host by another way before you try again.",
    BadRoom "bad_room" 29 "A room needs a name of at most 64 bytes and a password of at most 256, neither with control characters such as tabs.",
    NoPicture "no_picture" 20 "Stay longer, and check that the host lets you in.",
    Protocol "protocol" 19 "Install the newest lllsi on both sides; report it if that does not help.",
}

/// A failure, ready to be told.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    message: String,
    /// What to do, where it is something else than for most of this code.
    next: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), next: None }
    }

    /// With a next step of its own.
    pub(crate) fn next(self, step: impl Into<String>) -> Self {
        Self { next: Some(step.into()), ..self }
    }

    pub(crate) fn exit(&self) -> u8 {
        self.code.exit()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut message = self.message.chars();
        let first: String = message.next().into_iter().flat_map(char::to_uppercase).collect();
        let stop = if self.message.ends_with(['.', '?', '!']) { "" } else { "." };
        let next = self.next.as_deref().unwrap_or(self.code.next_step());
        write!(f, "{first}{}{stop} {next}", message.as_str())
    }
}

impl From<lllsi::Error> for Failure {
    fn from(error: lllsi::Error) -> Self {
        let code = match &error {
            lllsi::Error::Link(lllsi::LinkTextError::Version { .. }) => Code::Version,
            lllsi::Error::Link(_) => Code::BadLink,
            lllsi::Error::Room(_) => Code::BadRoom,
            lllsi::Error::Io(io) => return io_failure(io, &error),
            lllsi::Error::Media(_) => Code::Source,
            lllsi::Error::CertificateWithoutHttps { .. } => {
                let next = "Leave --server-certificate out, or begin the address with https://.";
                return Self::new(Code::ServerUnreachable, error).next(next);
            }
            lllsi::Error::ServerAddress { .. } => Code::ServerUnreachable,
            _ => Code::Unexpected,
        };
        Self::new(code, error)
    }
}

impl From<lllsi::IoError> for Failure {
    fn from(error: lllsi::IoError) -> Self {
        io_failure(&error, &error)
    }
}

impl From<lllsi::load::fanout::Error> for Failure {
    fn from(error: lllsi::load::fanout::Error) -> Self {
        let failure = Self::new(Code::Unexpected, &error);
        match error {
            lllsi::load::fanout::Error::Shell(shell) => shell.into(),
            lllsi::load::fanout::Error::NoClock { .. } => {
                failure.next("Run it on Linux, with /proc.")
            }
            lllsi::load::fanout::Error::Absent { .. } => {
                failure.next("Try fewer viewers, or an idle machine.")
            }
            _ => failure,
        }
    }
}

fn io_failure(error: &lllsi::IoError, told: &dyn fmt::Display) -> Failure {
    let (code, next) = match error {
        lllsi::IoError::Listen { source, .. } if source.kind() == ErrorKind::AddrNotAvailable => {
            (Code::Listen, Some("Name an address of this machine, or a port alone."))
        }
        lllsi::IoError::Listen { .. } => (Code::Listen, None),
        lllsi::IoError::StunAlt { reason, .. } => (Code::Listen, Some(another_address(reason))),
        lllsi::IoError::MediaPort { .. } => {
            (Code::Listen, Some("Stop the other program, or choose another --media-port."))
        }
        lllsi::IoError::Damaged { .. } => {
            (Code::File, Some("Restore it from a copy, or move it away."))
        }
        lllsi::IoError::StateInUse { .. } => {
            (Code::File, Some("Stop that one, or choose another directory with --state."))
        }
        lllsi::IoError::Tls { .. } | lllsi::IoError::State { .. } => (Code::File, None),
        lllsi::IoError::Load { .. } => (Code::ServerUnreachable, None),
        _ => (Code::Unexpected, None),
    };
    let failure = Failure::new(code, told);
    match next {
        Some(next) => failure.next(next),
        None => failure,
    }
}

/// What helps where a server cannot have its second address for STUN.
fn another_address(reason: &StunAltError) -> &'static str {
    match reason {
        StunAltError::SamePort | StunAltError::NoPort => "Name another port: --stun-alt ADDR:PORT.",
        StunAltError::Taken => {
            "Stop the other program, or name another port: --stun-alt ADDR:PORT."
        }
        StunAltError::OtherFamily => {
            "Name an address of the family of --listen, or leave --listen out."
        }
        _ => "Name a second IP address that this machine has: --stun-alt ADDR.",
    }
}

/// What helps where no path was found depends on what could be tried.
fn no_path(tried: &lllsi::Tried, told: &dyn fmt::Display) -> Failure {
    let failure = Failure::new(Code::NoPath, told);
    if tried.theirs.is_empty() {
        failure.next("The other side has told no address: check its network.")
    } else if !tried.is_seen {
        failure.next("A firewall may stop UDP: let it through here, and at the host's port.")
    } else if tried.nats.iter().flatten().any(|nat| nat.is_symmetric()) {
        failure.next(
            "These NATs cannot be crossed: use another network on the side whose NAT gives each peer another port, or let \
            the host's --media-port through at its router, or IPv6 on both sides.",
        )
    } else {
        failure
    }
}

/// A server that cannot be reached, `why`.
fn unreachable(failure: Failure, why: &str) -> Failure {
    match why.contains("certificate") {
        true => failure.next(
            "Give the hash that `lllsi serve` prints with --server-certificate; or whoever runs the server lets it be signed.",
        ),
        false => failure,
    }
}

impl From<media::Error> for Failure {
    fn from(error: media::Error) -> Self {
        Self::new(Code::Source, error)
    }
}

impl From<ClientCloseReason> for Failure {
    fn from(reason: ClientCloseReason) -> Self {
        use ClientCloseReason as Reason;
        let code = match &reason {
            Reason::ServerUnreachable(why) => {
                return unreachable(Self::new(Code::ServerUnreachable, &reason), why);
            }
            Reason::UnknownRoom => Code::UnknownRoom,
            Reason::RoomFull => Code::RoomFull,
            Reason::WrongSecret | Reason::WrongTicket => Code::WrongSecret,
            Reason::WrongPassword => Code::WrongPassword,
            Reason::TooManyTries => Code::TooManyTries,
            Reason::Replaced => Code::Replaced,
            Reason::Tampered | Reason::Link(lllsi::LinkError::NotBound) => Code::Tampered,
            Reason::Version { .. } => Code::Version,
            Reason::NoAnswer => Code::NoAnswer,
            Reason::Kicked => Code::Kicked,
            Reason::HostClosed => Code::HostClosed,
            Reason::SourceLost => Code::SourceLost,
            Reason::InviteExpired => Code::InviteExpired,
            Reason::HostVanished => Code::HostVanished,
            Reason::NoPath(tried) => return no_path(tried, &reason),
            Reason::Refused(_) => Code::Refused,
            Reason::Protocol { .. } | Reason::Link(_) => Code::Protocol,
            _ => Code::Unexpected,
        };
        Self::new(code, reason)
    }
}

impl From<HostCloseReason> for Failure {
    fn from(reason: HostCloseReason) -> Self {
        let code = match &reason {
            HostCloseReason::ServerUnreachable(why) => {
                return unreachable(Self::new(Code::ServerUnreachable, &reason), why);
            }
            HostCloseReason::SourceLost => Code::Source,
            HostCloseReason::Refused(lllsi::Refusal::Version) => Code::Version,
            HostCloseReason::Refused(lllsi::Refusal::NameTaken) => Code::NameTaken,
            HostCloseReason::Refused(_) => Code::Refused,
            _ => Code::Unexpected,
        };
        Self::new(code, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_distinct_and_documented() {
        let names: HashSet<_> = Code::ALL.iter().map(|c| c.name()).collect();
        let exits: HashSet<_> = Code::ALL.iter().map(|c| c.exit()).collect();
        assert_eq!((names.len(), exits.len()), (Code::ALL.len(), Code::ALL.len()));
        assert!(
            !exits.contains(&0) && !exits.contains(&2),
            "0 is success, 2 is the command line's"
        );
        for code in Code::ALL {
            let told = format!("{:4}  {}", code.exit(), code.name());
            assert!(exit_codes().contains(&told), "{told}");
        }
    }

    #[test]
    fn a_failure_reads_as_sentences() {
        let failure = Failure::from(ClientCloseReason::RoomFull);
        assert!(failure.to_string().starts_with("The room is full. Try again"), "{failure}");
    }

    /// The page's table, as it stands in its source: code, message, next step.
    fn page() -> Vec<(String, String, String)> {
        let source = include_str!("../../../web/failure.js");
        let (_, table) = source.split_once("FAILURES = Object.freeze({").expect("the table");
        let (table, _) = table.split_once("});").expect("its end");
        let entry = |line: &str| {
            let (code, texts) = line.trim().split_once(": ").expect("a code and its texts");
            let texts = texts.trim_end_matches(',');
            let [message, next]: [String; 2] = serde_json::from_str(texts).expect("two texts");
            (code.to_owned(), message, next)
        };
        table.lines().filter(|line| !line.trim().is_empty()).map(entry).collect()
    }

    fn document() -> String {
        let mut out = String::from(
            "# Errors\n\nWhat can go wrong, in the program `lllsi` and on the page: made from the code by its tests \
            (`LLLSI_WRITE=1\ncargo test -p lllsi-cli document`), so do not edit it. The same code means the same in both. With \
            `--json`, programs tell\nthe code as `code` of `error`; the page as `data-code` of its body, and as `code` of a \
            `Failure`.\n\n## In the program\n\n| Code | Exit | What to do |\n|---|---|---|\n",
        );
        let mut codes = Code::ALL.to_vec();
        codes.sort_by_key(|code| code.exit());
        for code in codes {
            out += &format!("| `{}` | {} | {} |\n", code.name(), code.exit(), code.next_step());
        }
        out += "\n## On the page\n\n| Code | What happened | What to do |\n|---|---|---|\n";
        for (code, message, next) in page() {
            out += &format!("| `{code}` | {message} | {next} |\n");
        }
        out
    }

    #[test]
    fn the_document_of_errors_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        if std::env::var_os("LLLSI_WRITE").is_some() {
            std::fs::write(path, document()).expect("it can be written");
        }
        let written = std::fs::read_to_string(path).expect("docs/errors.md is there");
        assert!(
            written == document(),
            "write it anew: LLLSI_WRITE=1 cargo test -p lllsi-cli document"
        );
    }

    #[test]
    fn the_page_uses_the_programs_codes() {
        // What only a browser can meet.
        let own = [
            "insecure",
            "unsupported",
            "other_server",
            "server",
            "wrong_ticket",
            "local_network",
            "packet_size",
        ];
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        for (code, _, next) in page() {
            assert!(names.contains(code.as_str()) || own.contains(&code.as_str()), "{code}");
            assert!(next.ends_with('.'), "{code}: a sentence");
        }
    }
}
