//! What stands under a media line.

use super::Direction;

/// As it is called in `a=rtpmap`.
const FLEXFEC: &str = "flexfec-03";

/// A video or audio line's RTP part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Which way it goes, as the describer sees it.
    pub direction: Direction,
    /// Formats in the describer's order of preference. An RTX format (RFC 4588) is part of the one that it repairs; one
    /// without `a=rtpmap` is left out.
    pub codecs: Vec<Codec>,
    /// Header extensions. A known one occurs once; an identifier means the same on every line of a description.
    pub extensions: Vec<Extension>,
    /// Streams that the describer says it sends, at most [`MAX_SOURCES`](super::MAX_SOURCES). Browsers list one on
    /// lines on which they only receive too: the source of their reports.
    pub sources: Vec<Source>,
    /// Which stream and track of the describer it is.
    pub msid: Option<Msid>,
    /// `a=rtcp-rsize`: RTCP packets need not be compound (RFC 5506).
    pub has_reduced_rtcp: bool,
}

impl Default for Media {
    /// A line that goes neither way and has nothing.
    fn default() -> Self {
        Self {
            direction: Direction::Inactive,
            codecs: Vec::new(),
            extensions: Vec::new(),
            sources: Vec::new(),
            msid: None,
            has_reduced_rtcp: false,
        }
    }
}

impl Media {
    /// The format of this payload type; not RTX.
    pub fn codec(&self, payload_type: u8) -> Option<&Codec> {
        self.codecs.iter().find(|codec| codec.payload_type == payload_type)
    }

    /// The first FlexFEC format (draft-ietf-payload-flexible-fec-scheme-03).
    pub fn flexfec(&self) -> Option<&Codec> {
        let is_it = |codec: &&Codec| codec.format.name().eq_ignore_ascii_case(FLEXFEC);
        self.codecs.iter().find(is_it)
    }

    /// The identifier of an extension.
    pub fn extension(&self, uri: &ExtensionUri) -> Option<u8> {
        self.extensions.iter().find(|extension| extension.uri == *uri).map(|found| found.id)
    }

    /// The first H.264 format that every implementation of WebRTC video knows (RFC 7742, 6.2): constrained baseline,
    /// packetization mode 1. Level 3.1 in the usual form, `42e01f`, comes first, other levels of `42e0` next.
    pub fn constrained_baseline(&self) -> Option<&Codec> {
        let rank = |codec: &Codec| match codec.format {
            Format::H264(h264)
                if h264.is_constrained_baseline() && h264.packetization_mode == 1 =>
            {
                match h264.profile_level_id {
                    [0x42, 0xe0, 0x1f] => Some(0),
                    [0x42, 0xe0, _] => Some(1),
                    _ => Some(2),
                }
            }
            _ => None,
        };
        let known = self.codecs.iter().filter_map(|codec| Some((rank(codec)?, codec)));
        known.min_by_key(|(rank, _)| *rank).map(|(_, codec)| codec)
    }
}

/// A format: `a=rtpmap` and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// RTP payload type: 0 to 127 without 64 to 95, which would look like RTCP (RFC 5761, 4).
    pub payload_type: u8,
    /// What it is, with its parameters.
    pub format: Format,
    /// Ticks of RTP timestamps in a second.
    pub clock_rate: u32,
    /// Channels of audio; 1 for video.
    pub channels: u8,
    /// Payload type of retransmissions: the `rtx` format whose `apt` names this one (RFC 4588, 8.6).
    pub rtx: Option<u8>,
    /// RTCP feedback.
    pub feedback: Feedback,
}

/// Name and parameters (`a=fmtp`) of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// H.264 (RFC 6184). Parameters other than these are left out: they are not needed to decode it.
    H264(H264),
    /// Opus (RFC 7587), with its parameters as given.
    Opus(String),
    /// Another.
    Other {
        /// Its encoding name.
        name: String,
        /// Its parameters as given; empty if there are none.
        parameters: String,
    },
}

/// Parameters of an H.264 format (RFC 6184, 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct H264 {
    /// `profile-level-id`: `profile_idc`, `profile_iop`, `level_idc`.
    pub profile_level_id: [u8; 3],
    /// `packetization-mode`: 0, 1 or 2.
    pub packetization_mode: u8,
    /// `level-asymmetry-allowed`: what is sent may have another level than what is received.
    pub is_level_asymmetry_allowed: bool,
}

impl H264 {
    /// Constrained baseline, level 3.1 (`42e01f`), packetization mode 1.
    pub const CONSTRAINED_BASELINE: Self = Self {
        profile_level_id: [0x42, 0xe0, 0x1f],
        packetization_mode: 1,
        is_level_asymmetry_allowed: true,
    };

    /// Whether it is constrained baseline written as profile 66 (RFC 6184, table 5): `42` and bits `x1xx0000`.
    pub fn is_constrained_baseline(&self) -> bool {
        let [idc, iop, _] = self.profile_level_id;
        idc == 0x42 && iop & 0x4f == 0x40
    }
}

/// RTCP feedback of a format: `a=rtcp-fb`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// `nack`: lost packets are named (RFC 4585, 6.2.1).
    pub nack: bool,
    /// `nack pli`: a picture is asked for (RFC 4585, 6.3.1).
    pub pli: bool,
    /// `ccm fir`: a full picture is asked for (RFC 5104, 4.3.1).
    pub fir: bool,
    /// `transport-cc`: arrival times are told (draft-holmer-rmcat-transport-wide-cc-extensions).
    pub transport_cc: bool,
}

impl Feedback {
    /// What both have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            nack: self.nack && other.nack,
            pli: self.pli && other.pli,
            fir: self.fir && other.fir,
            transport_cc: self.transport_cc && other.transport_cc,
        }
    }
}

/// An RTP header extension: `a=extmap` (RFC 8285, 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its identifier in packets: 1 to 14, or 16 to 255 with two-byte headers.
    pub id: u8,
    /// Who writes it, as the describer sees it.
    pub direction: Direction,
    /// What it is.
    pub uri: ExtensionUri,
}

/// What a header extension is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtensionUri {
    /// Identification of the media line (RFC 8843, 15).
    Mid,
    /// Limits of a receiver's playout delay.
    PlayoutDelay,
    /// Sequence numbers over all streams of a transport.
    TransportCc,
    /// Absolute time of capture.
    AbsCaptureTime,
    /// Audio level (RFC 6464).
    AudioLevel,
    /// Another.
    Other(String),
}

const URIS: [(ExtensionUri, &str); 5] = [
    (ExtensionUri::Mid, "urn:ietf:params:rtp-hdrext:sdes:mid"),
    (ExtensionUri::PlayoutDelay, "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"),
    (
        ExtensionUri::TransportCc,
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    ),
    (ExtensionUri::AbsCaptureTime, "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"),
    (ExtensionUri::AudioLevel, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
];

impl ExtensionUri {
    /// As SDP writes it.
    pub fn as_str(&self) -> &str {
        if let Self::Other(uri) = self {
            return uri;
        }
        URIS.iter().find(|(known, _)| known == self).map_or("", |(_, uri)| uri)
    }

    /// From SDP.
    pub fn new(uri: &str) -> Self {
        let known = URIS.iter().find(|(_, text)| *text == uri);
        known.map_or_else(|| Self::Other(uri.to_owned()), |(known, _)| known.clone())
    }
}

/// A stream: `a=ssrc` (RFC 5576).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its SSRC.
    pub ssrc: u32,
    /// SSRC of its retransmissions: `a=ssrc-group:FID` (RFC 5576, 4.2).
    pub rtx: Option<u32>,
    /// SSRC of its FlexFEC: `a=ssrc-group:FEC-FR` (RFC 5956, 4.3).
    pub fec: Option<u32>,
    /// Canonical name: sources with the same one share a clock (RFC 3550, 6.5.1). Empty if it is not told.
    pub cname: String,
}

/// Names of a stream and a track in it: `a=msid` (RFC 8830).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msid {
    /// The stream: browsers play its tracks in step. `-` is none.
    pub stream: String,
    /// The track; empty if it is not told.
    pub track: String,
}

/// Data channels: an SCTP association over DTLS (RFC 8841).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// `a=sctp-port`.
    pub sctp_port: u16,
    /// `a=max-message-size`: bytes of the greatest message that the describer takes. `None` is 65,536, and 0 is any.
    pub max_message_size: Option<u32>,
    /// `a=sctp-init`: the describer's INIT chunk (draft-hancke-tsvwg-snap), at most
    /// [`MAX_SCTP_INIT_BYTES`](super::MAX_SCTP_INIT_BYTES). Its content is not looked at.
    pub sctp_init: Option<Vec<u8>>,
}
