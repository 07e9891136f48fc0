//! A description's meaning: the session, and what all media lines share.

use std::collections::{HashMap, HashSet};

use super::parse_media;
use super::sections::{Attribute, Section, split};
use super::{
    Codec, Credentials, Description, Direction, Kind, Line, MAX_CANDIDATE_BYTES, MAX_CANDIDATES,
    Origin, ParseError, Setup,
};

pub(super) fn description(text: &str) -> Result<Description, ParseError> {
    let (session, media) = split(text)?;
    let defaults = Transport::of(&session)?;
    let direction = direction(&session)?.unwrap_or(Direction::SendRecv);
    let mut lines = Vec::with_capacity(media.len());
    for section in &media {
        lines.push(parse_media::line(section, direction)?);
    }
    check_mids(&media, &lines)?;
    check_bundle(&session, &media, &lines)?;
    check_shared(&media, &lines)?;

    let used = || media.iter().zip(&lines).filter(|(_, line)| !line.is_rejected);
    let first = used().next().ok_or(ParseError::NoMedia)?.0.line;
    let mut shared = Transport::default();
    let mut candidates = Candidates::default();
    for (section, _) in used() {
        shared.join(Transport::of(section)?.or(defaults), section.line)?;
        candidates.take(section);
    }
    let missing = |attribute| ParseError::Missing { line: first, attribute };
    Ok(Description {
        origin: origin(session.head)?,
        credentials: shared.credentials.ok_or_else(|| missing("ice-ufrag"))?.to_owned()?,
        fingerprint: shared.fingerprint.ok_or_else(|| missing("fingerprint:sha-256"))?,
        setup: shared.setup.ok_or_else(|| missing("setup"))?,
        candidates: candidates.taken,
        candidates_left_out: candidates.left_out,
        lines,
    })
}

/// `o=<username> <sess-id> <sess-version> IN IP4 <address>`; the rest of it means nothing to JSEP.
fn origin(value: &str) -> Result<Origin, ParseError> {
    let mut fields = value.split(' ');
    let session = fields.nth(1).and_then(number);
    let version = fields.next().and_then(number);
    match (session, version, fields.count()) {
        (Some(session), Some(version), 3) => Ok(Origin { session, version }),
        _ => Err(ParseError::Line { line: 2, problem: "has no session id and version of 64 bits" }),
    }
}

/// The direction attribute of a section, if it has one.
pub(super) fn direction(section: &Section<'_>) -> Result<Option<Direction>, ParseError> {
    let mut found = None;
    for attribute in &section.attributes {
        let Some(direction) = direction_named(attribute.name) else { continue };
        if found.replace(direction).is_some() {
            return Err(attribute.wrong("sendrecv", "or another direction comes twice"));
        }
    }
    Ok(found)
}

pub(super) fn direction_named(name: &str) -> Option<Direction> {
    match name {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

/// Fills what may be given once.
pub(super) fn set<T>(
    place: &mut Option<T>,
    value: T,
    attribute: &Attribute<'_>,
    name: &'static str,
) -> Result<(), ParseError> {
    match place.replace(value) {
        Some(_) => Err(attribute.wrong(name, "comes twice")),
        None => Ok(()),
    }
}

/// What a section says about the transport.
#[derive(Clone, Copy, Debug, Default)]
struct Transport<'a> {
    credentials: Option<RawCredentials<'a>>,
    fingerprint: Option<[u8; 32]>,
    setup: Option<Setup>,
}

#[derive(Clone, Copy, Debug)]
struct RawCredentials<'a> {
    /// Of the section.
    line: usize,
    ufrag: &'a str,
    pwd: &'a str,
}

impl RawCredentials<'_> {
    fn to_owned(self) -> Result<Credentials, ParseError> {
        let problem =
            "or a=ice-pwd is too short, too long, or has characters that ICE does not allow";
        Credentials::new(self.ufrag, self.pwd).ok_or(ParseError::Attribute {
            line: self.line,
            attribute: "ice-ufrag",
            problem,
        })
    }
}

impl<'a> Transport<'a> {
    fn of(section: &Section<'a>) -> Result<Self, ParseError> {
        let (mut ufrag, mut pwd, mut fingerprint, mut setup) = (None, None, None, None);
        for attribute in &section.attributes {
            match attribute.name {
                "ice-ufrag" => set(&mut ufrag, attribute.value, attribute, "ice-ufrag")?,
                "ice-pwd" => set(&mut pwd, attribute.value, attribute, "ice-pwd")?,
                "fingerprint" => {
                    if let Some(value) = sha_256(attribute)? {
                        set(&mut fingerprint, value, attribute, "fingerprint")?;
                    }
                }
                "setup" => set(&mut setup, role(attribute)?, attribute, "setup")?,
                "ice-lite" => {
                    return Err(attribute.wrong("ice-lite", "is not spoken: only full ICE is"));
                }
                _ => {}
            }
        }
        let credentials = match (ufrag, pwd) {
            (Some(ufrag), Some(pwd)) => Some(RawCredentials { line: section.line, ufrag, pwd }),
            (None, None) => None,
            (ufrag, _) => {
                let attribute = if ufrag.is_some() { "ice-pwd" } else { "ice-ufrag" };
                return Err(ParseError::Missing { line: section.line, attribute });
            }
        };
        Ok(Self { credentials, fingerprint, setup })
    }

    fn or(self, defaults: Self) -> Self {
        Self {
            credentials: self.credentials.or(defaults.credentials),
            fingerprint: self.fingerprint.or(defaults.fingerprint),
            setup: self.setup.or(defaults.setup),
        }
    }

    /// Takes what another bundled line says. Lines of one transport may say it once or all the same (RFC 8843, 7.1).
    fn join(&mut self, other: Self, line: usize) -> Result<(), ParseError> {
        let conflict = |attribute| Err(ParseError::Conflict { line, attribute });
        if let (Some(ours), Some(theirs)) = (self.credentials, other.credentials) {
            if ours.ufrag != theirs.ufrag {
                return conflict("ice-ufrag");
            }
            if ours.pwd != theirs.pwd {
                return conflict("ice-pwd");
            }
        }
        if self.fingerprint.zip(other.fingerprint).is_some_and(|(ours, theirs)| ours != theirs) {
            return conflict("fingerprint");
        }
        if self.setup.zip(other.setup).is_some_and(|(ours, theirs)| ours != theirs) {
            return conflict("setup");
        }
        *self = self.or(other);
        Ok(())
    }
}

/// `sha-256 AB:CD:…`. A peer may name its certificate by several hashes, of which one does (RFC 8122, 5): others are `None`.
fn sha_256(attribute: &Attribute<'_>) -> Result<Option<[u8; 32]>, ParseError> {
    let wrong = |problem| attribute.wrong("fingerprint", problem);
    let (hash, digits) = attribute.value.split_once(' ').unwrap_or((attribute.value, ""));
    if !hash.eq_ignore_ascii_case("sha-256") {
        return Ok(None);
    }
    let mut fingerprint = [0; 32];
    let mut pairs = digits.split(':');
    for byte in &mut fingerprint {
        *byte = pairs.next().and_then(hex_byte).ok_or_else(|| wrong("is not 32 bytes in hex"))?;
    }
    if pairs.next().is_some() {
        return Err(wrong("is not 32 bytes in hex"));
    }
    Ok(Some(fingerprint))
}

/// A decimal number without a sign.
pub(super) fn number<T: std::str::FromStr>(digits: &str) -> Option<T> {
    let is_decimal = digits.bytes().all(|digit| digit.is_ascii_digit());
    is_decimal.then(|| digits.parse().ok()).flatten()
}

/// Two hexadecimal digits. The number parser alone would take a sign.
pub(super) fn hex_byte(digits: &str) -> Option<u8> {
    let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

fn role(attribute: &Attribute<'_>) -> Result<Setup, ParseError> {
    match attribute.value {
        "actpass" => Ok(Setup::ActPass),
        "active" => Ok(Setup::Active),
        "passive" => Ok(Setup::Passive),
        _ => Err(attribute.wrong("setup", "is none of actpass, active, passive")),
    }
}

#[derive(Debug, Default)]
struct Candidates {
    taken: Vec<String>,
    left_out: u64,
}

impl Candidates {
    fn take(&mut self, section: &Section<'_>) {
        for attribute in section.attributes.iter().filter(|a| a.name == "candidate") {
            let bytes = "candidate:".len() + attribute.value.len();
            if bytes > MAX_CANDIDATE_BYTES || self.taken.len() == MAX_CANDIDATES {
                self.left_out += 1;
            } else {
                self.taken.push(format!("candidate:{}", attribute.value));
            }
        }
    }
}

fn check_mids(media: &[Section<'_>], lines: &[Line]) -> Result<(), ParseError> {
    for (index, line) in lines.iter().enumerate() {
        if line.mid.is_empty() && !line.is_rejected {
            return Err(ParseError::Missing { line: media[index].line, attribute: "mid" });
        }
        if !line.mid.is_empty() && lines[..index].iter().any(|earlier| earlier.mid == line.mid) {
            let problem = "is that of an earlier media line";
            let line = media[index].line;
            return Err(ParseError::Attribute { line, attribute: "mid", problem });
        }
    }
    Ok(())
}

/// All lines in use go over one transport (RFC 8843, 5).
fn check_bundle(
    session: &Section<'_>,
    media: &[Section<'_>],
    lines: &[Line],
) -> Result<(), ParseError> {
    let mut bundle = None;
    for attribute in session.attributes.iter().filter(|a| a.name == "group") {
        let (semantics, mids) = attribute.value.split_once(' ').unwrap_or((attribute.value, ""));
        if semantics != "BUNDLE" {
            continue;
        }
        set(&mut bundle, mids, attribute, "group")?;
        let mut names = mids.split(' ').filter(|mid| !mid.is_empty());
        if names.any(|mid| lines.iter().all(|line| line.mid != mid)) {
            return Err(attribute.wrong("group", "names a media line that is not there"));
        }
    }
    let used = media.iter().zip(lines).filter(|(_, line)| !line.is_rejected);
    let is_single = used.clone().count() == 1;
    for (section, line) in used {
        let is_bundled = bundle.is_some_and(|mids| mids.split(' ').any(|mid| mid == line.mid));
        let needs_none = is_single && bundle.is_none();
        if !is_bundled && !needs_none {
            return Err(ParseError::Line {
                line: section.line,
                problem: "begins a media line that is not in a=group:BUNDLE",
            });
        }
    }
    Ok(())
}

/// What must not mean two things on one transport: the SCTP association, payload types (RFC 8843, 9.1.1), header
/// extensions (RFC 8843, 12), SSRCs.
fn check_shared(media: &[Section<'_>], lines: &[Line]) -> Result<(), ParseError> {
    let mut associations = 0;
    let (mut payload_types, mut extensions) = (HashMap::new(), HashMap::new());
    let mut ssrcs = HashSet::new();
    for (section, line) in media.iter().zip(lines).filter(|(_, line)| !line.is_rejected) {
        let conflict = |attribute| Err(ParseError::Conflict { line: section.line, attribute });
        associations += usize::from(line.kind() == Kind::Application);
        if associations > 1 {
            let (line, what) = (section.line, "media lines for data channels");
            return Err(ParseError::TooMany { line, what, most: 1 });
        }
        let Some(media) = line.media() else { continue };
        for (payload_type, meaning) in media.codecs.iter().flat_map(meanings) {
            if payload_types.get(&payload_type).is_some_and(|known| *known != meaning) {
                return conflict("rtpmap");
            }
            payload_types.insert(payload_type, meaning);
        }
        for extension in &media.extensions {
            if *extensions.entry(extension.id).or_insert(&extension.uri) != &extension.uri {
                return conflict("extmap");
            }
        }
        let own =
            media.sources.iter().flat_map(|source| [Some(source.ssrc), source.rtx, source.fec]);
        for ssrc in own.flatten() {
            if !ssrcs.insert(ssrc) {
                let (line, problem) = (section.line, "is used twice");
                return Err(ParseError::Attribute { line, attribute: "ssrc", problem });
            }
        }
    }
    Ok(())
}

/// The payload types of a format, each with its name, clock rate and channels. Parameters may differ between lines.
fn meanings(codec: &Codec) -> impl Iterator<Item = (u8, (String, u32, u8))> {
    let (rate, channels) = (codec.clock_rate, codec.channels);
    let repair = codec.rtx.map(|payload_type| (payload_type, ("rtx".to_owned(), rate, 1)));
    let name = codec.format.name().to_ascii_lowercase();
    [Some((codec.payload_type, (name, rate, channels))), repair].into_iter().flatten()
}
