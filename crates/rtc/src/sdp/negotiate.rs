//! Offers and answers of our own.

use super::{
    AnswerError, Application, Body, Codec, Credentials, Description, Direction, Extension,
    ExtensionUri, Feedback, Format, H264, Line, MAX_CANDIDATES, Media, Msid, Origin, Setup, Source,
};

/// Extension identifiers of one-byte headers (RFC 8285, 4.2).
const MAX_ONE_BYTE_ID: u8 = 14;
/// What native offers call H.264, its retransmissions, and Opus.
const H264_TYPE: u8 = 102;
const RTX_TYPE: u8 = 103;
const OPUS_TYPE: u8 = 111;
/// The port that everybody uses.
const SCTP_PORT: u16 = 5000;

/// What we say of ourselves, whatever is on the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Our session; a later description of it has a later version.
    pub origin: Origin,
    /// Our ICE credentials.
    pub credentials: Credentials,
    /// SHA-256 of our certificate.
    pub fingerprint: [u8; 32],
    /// Ours so far, `candidate:…`; those after the first [`MAX_CANDIDATES`] are not described.
    pub candidates: Vec<String>,
    /// Header extensions that we know. An offer numbers them from 1 in this order, so the order stays for a session.
    pub extensions: Vec<ExtensionUri>,
    /// Feedback that we know.
    pub feedback: Feedback,
    /// Parameters (`a=fmtp`) of the Opus that we take: they bind the other side's encoder (RFC 7587, 7). May be empty.
    pub opus: String,
    /// Bytes of the greatest data channel message that we take.
    pub max_message_size: u32,
    /// Our SCTP INIT chunk, for a peer that takes it from the description. An answer has it only if the offer has one.
    pub sctp_init: Option<Vec<u8>>,
}

/// What we send on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its SSRCs; those of retransmissions and FlexFEC are left out where the line has none.
    pub source: Source,
    /// Its stream and track, if the other side is to know.
    pub msid: Option<Msid>,
}

/// How an offered line is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Take {
    /// What we send on it if the offer lets us.
    pub send: Option<Sender>,
    /// Whether we receive on it if the offer sends.
    pub is_receiving: bool,
}

/// A line that we offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Its identification, unique in the description.
    pub mid: String,
    /// What it carries.
    pub kind: WantKind,
}

/// What an offered line carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantKind {
    /// H.264 video.
    Video(Take),
    /// Opus audio.
    Audio(Take),
    /// Data channels; at most one line of a description.
    Data,
}

impl Want {
    /// Video from the other side.
    pub fn video(mid: impl Into<String>) -> Self {
        Self { mid: mid.into(), kind: WantKind::Video(Take { send: None, is_receiving: true }) }
    }

    /// Audio from the other side.
    pub fn audio(mid: impl Into<String>) -> Self {
        Self { mid: mid.into(), kind: WantKind::Audio(Take { send: None, is_receiving: true }) }
    }

    /// Data channels.
    pub fn data(mid: impl Into<String>) -> Self {
        Self { mid: mid.into(), kind: WantKind::Data }
    }
}

/// Describes what we want, for the other side to answer (RFC 8829, 5.2). It may take either DTLS role.
///
/// At least one line is wanted, and at most [`MAX_LINES`](super::MAX_LINES). One that an earlier description of the
/// session had stays in its place: whoever drops a track sets [`Line::is_rejected`].
///
/// ```
/// use lllsi_rtc::sdp::{Credentials, Description, Feedback, Local, Origin, Want, offer};
///
/// let local = Local {
///     origin: Origin::new(7),
///     credentials: Credentials::from_random(&[7; 24]),
///     fingerprint: [7; 32],
///     candidates: vec!["candidate:1 1 udp 2130706175 192.0.2.1 5000 typ host".into()],
///     extensions: Vec::new(),
///     feedback: Feedback { nack: true, pli: true, ..Feedback::default() },
///     opus: String::new(),
///     max_message_size: 262_144,
///     sctp_init: None,
/// };
/// let offer = offer(&local, &[Want::video("0"), Want::data("1")]);
/// assert!(offer.to_string().contains("m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\n"));
/// assert_eq!(Description::parse(&offer.to_string())?, offer);
/// # Ok::<(), lllsi_rtc::sdp::ParseError>(())
/// ```
pub fn offer(local: &Local, wants: &[Want]) -> Description {
    let lines = wants.iter().map(|want| {
        let body = match &want.kind {
            WantKind::Video(take) => Body::Video(local.offered(take, video_codec(local), false)),
            WantKind::Audio(take) => Body::Audio(local.offered(take, audio_codec(local), true)),
            WantKind::Data => Body::Application(local.application(true)),
        };
        Line { mid: want.mid.clone(), is_rejected: false, body }
    });
    local.describe(Setup::ActPass, lines.collect())
}

fn video_codec(local: &Local) -> Codec {
    Codec {
        payload_type: H264_TYPE,
        format: Format::H264(H264::CONSTRAINED_BASELINE),
        clock_rate: 90_000,
        channels: 1,
        rtx: Some(RTX_TYPE),
        feedback: local.feedback,
    }
}

fn audio_codec(local: &Local) -> Codec {
    // Pictures are asked for on video lines only.
    let feedback = Feedback { pli: false, fir: false, ..local.feedback };
    Codec {
        payload_type: OPUS_TYPE,
        format: Format::Opus(local.opus.clone()),
        // Whatever is sent is described so (RFC 7587, 7).
        clock_rate: 48_000,
        channels: 2,
        rtx: None,
        feedback,
    }
}

/// Answers an offer (RFC 8829, 5.3), as the DTLS server.
///
/// `take` is asked for each line that can be taken: a video line with H.264 in constrained baseline and packetization
/// mode 1, an audio line with Opus, data channels. `None` rejects it, and what is [`Take`]n of it is cut to what the
/// offer allows. A taken media line has one format, and FlexFEC if we send and the offer has it, with the offer's payload types, and the offer's numbers for the
/// extensions that we know.
///
/// # Errors
/// [`AnswerError`] if the offer insists on being the DTLS server, or if no line is taken.
///
/// ```
/// # let text = include_str!("fixtures/native.sdp");
/// use lllsi_rtc::sdp::{Credentials, Description, Direction, ExtensionUri, Feedback, Local, Origin};
/// use lllsi_rtc::sdp::{Sender, Source, Take, answer};
///
/// let local = Local {
///     origin: Origin::new(9),
///     credentials: Credentials::from_random(&[9; 24]),
///     fingerprint: [9; 32],
///     candidates: Vec::new(),
///     extensions: vec![ExtensionUri::PlayoutDelay],
///     feedback: Feedback { nack: true, pli: true, fir: true, transport_cc: false },
///     opus: String::new(),
///     max_message_size: 262_144,
///     sctp_init: None,
/// };
/// let source = Source { ssrc: 1, rtx: Some(2), fec: None, cname: "host".into() };
/// let send = Some(Sender { source, msid: None });
/// let offer = Description::parse(text)?;
/// let answer = answer(&offer, &local, |_| Some(Take { send: send.clone(), is_receiving: false }))?;
/// let media = answer.lines[0].media().expect("the first line is video");
/// assert_eq!((media.direction, media.codecs[0].payload_type), (Direction::SendOnly, 102));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn answer(
    offer: &Description,
    local: &Local,
    mut take: impl FnMut(&Line) -> Option<Take>,
) -> Result<Description, AnswerError> {
    if offer.setup == Setup::Passive {
        return Err(AnswerError::Setup);
    }
    let lines = offer.lines.iter().map(|line| {
        let body = if line.is_rejected { None } else { local.answered(line, &mut take) };
        match body {
            Some(body) => Line { mid: line.mid.clone(), is_rejected: false, body },
            None => line.rejected(),
        }
    });
    let lines: Vec<_> = lines.collect();
    if lines.iter().all(|line| line.is_rejected) {
        return Err(AnswerError::NothingTaken);
    }
    Ok(local.describe(Setup::Passive, lines))
}

impl Local {
    fn describe(&self, setup: Setup, lines: Vec<Line>) -> Description {
        Description {
            origin: self.origin,
            credentials: self.credentials.clone(),
            fingerprint: self.fingerprint,
            setup,
            candidates: self.candidates.iter().take(MAX_CANDIDATES).cloned().collect(),
            candidates_left_out: 0,
            lines,
        }
    }

    fn application(&self, has_init: bool) -> Application {
        Application {
            sctp_port: SCTP_PORT,
            max_message_size: Some(self.max_message_size),
            sctp_init: self.sctp_init.clone().filter(|_| has_init),
        }
    }

    fn offered(&self, take: &Take, codec: Codec, is_audio: bool) -> Media {
        let numbered = self.extensions.iter().zip(1..=MAX_ONE_BYTE_ID);
        let fitting = numbered.filter(|(uri, _)| match uri {
            ExtensionUri::PlayoutDelay => !is_audio,
            ExtensionUri::AudioLevel => is_audio,
            _ => true,
        });
        let extensions = fitting.map(|(uri, id)| Extension {
            id,
            direction: Direction::SendRecv,
            uri: uri.clone(),
        });
        let media = Media {
            direction: Direction::new(take.send.is_some(), take.is_receiving),
            extensions: extensions.collect(),
            has_reduced_rtcp: true,
            ..Media::default()
        };
        with_sender(media, vec![codec], take.send.clone())
    }

    fn answered(&self, line: &Line, take: &mut impl FnMut(&Line) -> Option<Take>) -> Option<Body> {
        match &line.body {
            Body::Video(media) => {
                let codec = media.constrained_baseline()?;
                Some(Body::Video(self.taken(media, codec.clone(), take(line)?)))
            }
            Body::Audio(media) => {
                let is_opus = |codec: &&Codec| matches!(codec.format, Format::Opus(_));
                let mut codec = media.codecs.iter().find(is_opus)?.clone();
                codec.format = Format::Opus(self.opus.clone());
                Some(Body::Audio(self.taken(media, codec, take(line)?)))
            }
            Body::Application(offered) => {
                take(line)?;
                Some(Body::Application(self.application(offered.sctp_init.is_some())))
            }
            Body::Other { .. } => None,
        }
    }

    fn taken(&self, offered: &Media, codec: Codec, take: Take) -> Media {
        let theirs = offered.direction.reversed();
        let send = take.send.filter(|_| theirs.sends());
        let is_known = |e: &&Extension| e.id <= MAX_ONE_BYTE_ID && self.extensions.contains(&e.uri);
        let extensions = offered.extensions.iter().filter(is_known).map(|extension| Extension {
            direction: extension.direction.reversed(),
            ..extension.clone()
        });
        let media = Media {
            direction: Direction::new(send.is_some(), take.is_receiving && theirs.receives()),
            extensions: extensions.collect(),
            has_reduced_rtcp: offered.has_reduced_rtcp,
            ..Media::default()
        };
        // What we send may have parity that the other side takes.
        let fec = offered.flexfec().filter(|_| send.is_some()).cloned();
        let common = |codec: Codec| Codec { feedback: codec.feedback.and(self.feedback), ..codec };
        with_sender(media, std::iter::once(codec).chain(fec).map(common).collect(), send)
    }
}

fn with_sender(media: Media, codecs: Vec<Codec>, send: Option<Sender>) -> Media {
    let media = Media { codecs, ..media };
    let (has_rtx, has_fec) =
        (media.codecs.iter().any(|codec| codec.rtx.is_some()), media.flexfec().is_some());
    let (source, msid) = send.map(|sender| (sender.source, sender.msid)).unzip();
    let source = source.map(|source| Source {
        rtx: source.rtx.filter(|_| has_rtx),
        fec: source.fec.filter(|_| has_fec),
        ..source
    });
    Media { sources: source.into_iter().collect(), msid: msid.flatten(), ..media }
}
