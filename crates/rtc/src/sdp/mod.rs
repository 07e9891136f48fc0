//! Session descriptions: the SDP (RFC 8866) of WebRTC offers and answers (JSEP, RFC 8829).
//!
//! Only what this transport speaks is taken: full ICE (RFC 8839), DTLS with SHA-256 fingerprints (RFC 8842), every
//! media line bundled on one transport (RFC 8843) with RTCP beside RTP (RFC 5761), RTP of browsers (RFC 8834), and one
//! line of data channels over SCTP (RFC 8841). What is unknown but harmless is skipped; a line of another kind is
//! kept, so that an answer can reject it in its place.
//!
//! A description comes from a peer that may be hostile: [`Description::parse`] bounds all that it takes, and refuses
//! what no peer writes in good faith.

use std::fmt;

mod check;
mod error;
mod media;
mod negotiate;
mod parse;
mod parse_media;
mod sections;
#[cfg(test)]
mod tests;
mod write;

pub use check::{check_answer, check_restart};
pub use error::{AnswerError, MismatchError, ParseError, RestartError};
pub use media::{
    Application, Codec, Extension, ExtensionUri, Feedback, Format, H264, Media, Msid, Source,
};
pub use negotiate::{Local, Sender, Take, Want, WantKind, answer, offer};

/// Bytes of a description.
pub const MAX_BYTES: usize = 16 * 1024;
/// Media lines of a description.
pub const MAX_LINES: usize = 8;
/// Candidates taken from a description.
pub const MAX_CANDIDATES: usize = 20;
/// Bytes of a candidate, `candidate:` included.
pub const MAX_CANDIDATE_BYTES: usize = 256;
/// Bytes of an ICE user fragment, and of an ICE password: a check's user name holds two fragments in 128 bytes.
pub const MAX_CREDENTIAL_BYTES: usize = 60;
/// Bytes of a media line's identification.
pub const MAX_MID_BYTES: usize = 32;
/// Sources ([`Source`]) of a media line.
pub const MAX_SOURCES: usize = 16;
/// Header extensions of a media line.
pub const MAX_EXTENSIONS: usize = 32;
/// Bytes of an SCTP INIT chunk in a description.
pub const MAX_SCTP_INIT_BYTES: usize = 2048;

/// An offer or an answer.
///
/// [`fmt::Display`] writes it as SDP with CRLF, its transport attributes on every media line that is not rejected
/// (RFC 8829, 5.2.1), its candidates on the first of them.
///
/// ```
/// # let text = include_str!("fixtures/native.sdp");
/// use lllsi_rtc::sdp::{Description, Setup};
///
/// let offer = Description::parse(text)?;
/// assert_eq!(offer.setup, Setup::ActPass);
/// assert_eq!(offer.lines[0].mid, "Sab");
/// assert_eq!(Description::parse(&offer.to_string())?, offer);
/// # Ok::<(), lllsi_rtc::sdp::ParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Which session, and which version of its description.
    pub origin: Origin,
    /// `a=ice-ufrag` and `a=ice-pwd`.
    pub credentials: Credentials,
    /// `a=fingerprint`: SHA-256 of the certificate in DER form.
    pub fingerprint: [u8; 32],
    /// `a=setup`.
    pub setup: Setup,
    /// `candidate:…` as given, without `a=`: at most [`MAX_CANDIDATES`], of at most [`MAX_CANDIDATE_BYTES`] each. Their
    /// text is not looked at.
    pub candidates: Vec<String>,
    /// How many candidates of the text were too many or too long.
    pub candidates_left_out: u64,
    /// Media lines, at most [`MAX_LINES`], at least one of them not rejected.
    pub lines: Vec<Line>,
}

impl Description {
    /// Reads a description and looks it over.
    ///
    /// # Errors
    /// [`ParseError`] if it is not SDP, if it lacks what this transport needs, if it passes a bound, or if its media
    /// lines do not all go over one transport.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::description(text)
    }

    /// The media line of this identification, rejected or not.
    pub fn line(&self, mid: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.mid == mid)
    }
}

/// What tells versions of one session's description apart: `o=` (RFC 8866, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `sess-id`.
    pub session: u64,
    /// `sess-version`.
    pub version: u64,
}

impl Origin {
    /// Of a new session. The highest bit of the random number is not used (RFC 8829, 5.2.1).
    pub fn new(random: u64) -> Self {
        Self { session: random & (u64::MAX >> 1), version: 1 }
    }

    /// Of the same session's next description, which is to differ (RFC 3264, 8).
    #[must_use]
    pub fn next(self) -> Self {
        Self { version: self.version.wrapping_add(1), ..self }
    }
}

/// ICE credentials (RFC 8839, 5.4). `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    ufrag: String,
    pwd: String,
}

impl Credentials {
    /// `None` if the user fragment has not 4 to 60, the password not 22 to 60 characters, or if one of these is no
    /// ASCII letter, digit, `+` or `/`. The RFC allows 256; nobody uses them, and a STUN message must hold two.
    pub fn new(ufrag: impl Into<String>, pwd: impl Into<String>) -> Option<Self> {
        let (ufrag, pwd) = (ufrag.into(), pwd.into());
        let is_valid = |text: &str, least| {
            (least..=MAX_CREDENTIAL_BYTES).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
        };
        (is_valid(&ufrag, 4) && is_valid(&pwd, 22)).then_some(Self { ufrag, pwd })
    }

    /// Of random bytes: a user fragment of 8 characters, a password of 24.
    pub fn from_random(random: &[u8; 24]) -> Self {
        use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
        let (ufrag, pwd) = random.split_at(6);
        let (ufrag, pwd) =
            (BASE64_STANDARD_NO_PAD.encode(ufrag), BASE64_STANDARD_NO_PAD.encode(pwd));
        Self { ufrag, pwd }
    }

    /// The user fragment.
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// The password.
    pub fn pwd(&self) -> &str {
        &self.pwd
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// Who begins the DTLS handshake (RFC 8842, 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Either: the answer decides.
    ActPass,
    /// The describer is the DTLS client.
    Active,
    /// The describer is the DTLS server.
    Passive,
}

/// Which way media go, as the describer sees it (RFC 8866, 6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// The describer sends.
    SendOnly,
    /// The describer receives.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    /// From whether the describer sends and receives.
    pub fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the describer sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the describer receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// As the other side sees it.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }
}

/// What kind of thing a media line carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `m=video` over `UDP/TLS/RTP/SAVPF`.
    Video,
    /// `m=audio` over `UDP/TLS/RTP/SAVPF`.
    Audio,
    /// `m=application` over `UDP/DTLS/SCTP`: data channels.
    Application,
    /// Any other medium or protocol.
    Other,
}

/// A media line and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `a=mid` (RFC 5888): a token of at most [`MAX_MID_BYTES`], unique in its description. It is empty on a rejected
    /// line that has none.
    pub mid: String,
    /// Whether its port is 0 without `a=bundle-only` (RFC 8843, 6): it is not used.
    pub is_rejected: bool,
    /// What it carries.
    pub body: Body,
}

impl Line {
    /// What kind of thing it carries.
    pub fn kind(&self) -> Kind {
        match &self.body {
            Body::Video(_) => Kind::Video,
            Body::Audio(_) => Kind::Audio,
            Body::Application(_) => Kind::Application,
            Body::Other { .. } => Kind::Other,
        }
    }

    /// Its RTP part, if it is a video or audio line.
    pub fn media(&self) -> Option<&Media> {
        match &self.body {
            Body::Video(media) | Body::Audio(media) => Some(media),
            Body::Application(_) | Body::Other { .. } => None,
        }
    }

    /// Its data channels, if it is for these.
    pub fn application(&self) -> Option<&Application> {
        match &self.body {
            Body::Application(application) => Some(application),
            Body::Video(_) | Body::Audio(_) | Body::Other { .. } => None,
        }
    }

    /// The same line, rejected: an answer has it in the offered one's place (RFC 3264, 6).
    #[must_use]
    pub fn rejected(&self) -> Self {
        let media = |media: &Media| {
            let codec = media.codecs.first().map(|codec| {
                let mut codec = Codec { rtx: None, feedback: Feedback::default(), ..codec.clone() };
                if let Format::Opus(parameters) | Format::Other { parameters, .. } =
                    &mut codec.format
                {
                    parameters.clear();
                }
                codec
            });
            Media { codecs: codec.into_iter().collect(), ..Media::default() }
        };
        let body = match &self.body {
            Body::Video(offered) => Body::Video(media(offered)),
            Body::Audio(offered) => Body::Audio(media(offered)),
            Body::Application(offered) => {
                Body::Application(Application { sctp_init: None, ..offered.clone() })
            }
            Body::Other { medium, protocol, formats } => Body::Other {
                medium: medium.clone(),
                protocol: protocol.clone(),
                formats: formats.split(' ').next().unwrap_or_default().to_owned(),
            },
        };
        Self { mid: self.mid.clone(), is_rejected: true, body }
    }
}

/// What a media line carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Video over RTP.
    Video(Media),
    /// Audio over RTP.
    Audio(Media),
    /// Data channels.
    Application(Application),
    /// Something else: not spoken, kept to be rejected in its place.
    Other {
        /// The medium.
        medium: String,
        /// The protocol.
        protocol: String,
        /// The formats, separated by a space.
        formats: String,
    },
}
