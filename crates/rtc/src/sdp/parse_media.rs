//! A media line's meaning.

use super::parse::{direction, direction_named, hex_byte, number, set};
use super::sections::{Attribute, Section};
use super::{
    Application, Body, Codec, Direction, Extension, ExtensionUri, Feedback, Format, H264, Line,
    MAX_EXTENSIONS, MAX_MID_BYTES, MAX_SCTP_INIT_BYTES, MAX_SOURCES, Media, Msid, ParseError,
    Source,
};

/// Identifiers which an offer with more extensions than identifiers uses for some (RFC 8285, 7).
const PROVISIONAL_IDS: std::ops::RangeInclusive<u16> = 4096..=4351;
/// Bytes of an `a=msid` part (RFC 8830, 2), of a canonical name, and of a format's name.
const MAX_NAME_BYTES: usize = 64;
/// Bytes of a media line's own line: room for all payload types. An answer repeats part of it.
const MAX_HEAD_BYTES: usize = 512;

/// Reads a media line, whose direction is the session's unless it tells its own.
pub(super) fn line(section: &Section<'_>, default: Direction) -> Result<Line, ParseError> {
    let head = Head::of(section)?;
    let is_bundle_only = section.attributes.iter().any(|a| a.name == "bundle-only");
    let is_rejected = head.port == 0 && !is_bundle_only;
    let mut mid = None;
    for attribute in section.attributes.iter().filter(|a| a.name == "mid") {
        if attribute.value.len() > MAX_MID_BYTES || !is_token(attribute.value) {
            return Err(attribute.wrong("mid", "is not a token of at most 32 bytes"));
        }
        set(&mut mid, attribute.value, attribute, "mid")?;
    }
    let body = match (head.medium, head.protocol, head.formats) {
        ("video", RTP, formats) => Body::Video(media(section, formats, default)?),
        ("audio", RTP, formats) => Body::Audio(media(section, formats, default)?),
        // What is rejected may have lost its format.
        ("application", SCTP, formats) if formats != DATA_CHANNELS && !is_rejected => {
            let problem = "has another format than webrtc-datachannel";
            return Err(ParseError::Line { line: section.line, problem });
        }
        ("application", SCTP, _) => Body::Application(application(section, is_rejected)?),
        (medium, protocol, formats) => Body::Other {
            medium: medium.to_owned(),
            protocol: protocol.to_owned(),
            formats: formats.to_owned(),
        },
    };
    let is_media = matches!(body, Body::Video(_) | Body::Audio(_));
    let has_mux = section.attributes.iter().any(|a| a.name == "rtcp-mux");
    if is_media && !has_mux && !is_rejected {
        return Err(ParseError::Missing { line: section.line, attribute: "rtcp-mux" });
    }
    Ok(Line { mid: mid.unwrap_or_default().to_owned(), is_rejected, body })
}

/// The protocol of RTP lines (RFC 8829, 5.1.2).
pub(super) const RTP: &str = "UDP/TLS/RTP/SAVPF";
/// The protocol of data channels (RFC 8841, 4).
pub(super) const SCTP: &str = "UDP/DTLS/SCTP";
pub(super) const DATA_CHANNELS: &str = "webrtc-datachannel";

/// `<media> <port> <proto> <fmt> …`
struct Head<'a> {
    medium: &'a str,
    port: u16,
    protocol: &'a str,
    formats: &'a str,
}

impl<'a> Head<'a> {
    fn of(section: &Section<'a>) -> Result<Self, ParseError> {
        if section.head.len() > MAX_HEAD_BYTES {
            return Err(ParseError::Line {
                line: section.line,
                problem: "has more than 512 bytes",
            });
        }
        let mut fields = section.head.splitn(4, ' ');
        let mut field = || fields.next().filter(|field| !field.is_empty());
        let parts = (field(), field().and_then(number), field(), field());
        let is_list = |formats: &str| formats.split(' ').all(|format| !format.is_empty());
        match parts {
            (Some(medium), Some(port), Some(protocol), Some(formats))
                if is_token(medium) && is_list(formats) =>
            {
                Ok(Self { medium, port, protocol, formats })
            }
            _ => Err(ParseError::Line {
                line: section.line,
                problem: "is not of the form m=<media> <port> <proto> <fmt>",
            }),
        }
    }
}

/// RFC 8866, 9.
fn is_token(text: &str) -> bool {
    let is_token_char = |b: u8| b.is_ascii_graphic() && !br#""(),/:;<=>?@[\]"#.contains(&b);
    !text.is_empty() && text.bytes().all(is_token_char)
}

fn application(section: &Section<'_>, is_rejected: bool) -> Result<Application, ParseError> {
    let (mut port, mut size, mut init) = (None, None, None);
    for attribute in &section.attributes {
        match attribute.name {
            "sctp-port" => {
                let value = number(attribute.value).filter(|port: &u16| *port != 0);
                let problem = "is not a port from 1 to 65535";
                let value = value.ok_or_else(|| attribute.wrong("sctp-port", problem))?;
                set(&mut port, value, attribute, "sctp-port")?;
            }
            "max-message-size" => {
                let value: Option<u64> = number(attribute.value);
                let problem = "is not a number of 64 bits";
                let value = value.ok_or_else(|| attribute.wrong("max-message-size", problem))?;
                let value = u32::try_from(value).unwrap_or(u32::MAX);
                set(&mut size, value, attribute, "max-message-size")?;
            }
            "sctp-init" => set(&mut init, sctp_init(attribute)?, attribute, "sctp-init")?,
            _ => {}
        }
    }
    let sctp_port = match port {
        Some(port) => port,
        // What is rejected tells nothing.
        None if is_rejected => 5000,
        None => return Err(ParseError::Missing { line: section.line, attribute: "sctp-port" }),
    };
    Ok(Application { sctp_port, max_message_size: size, sctp_init: init })
}

fn sctp_init(attribute: &Attribute<'_>) -> Result<Vec<u8>, ParseError> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let chunk = BASE64_STANDARD.decode(attribute.value).unwrap_or_default();
    if chunk.is_empty() || chunk.len() > MAX_SCTP_INIT_BYTES {
        return Err(attribute.wrong("sctp-init", "is not 1 to 2048 bytes in base64"));
    }
    Ok(chunk)
}

fn media(section: &Section<'_>, formats: &str, default: Direction) -> Result<Media, ParseError> {
    let mut media = Media {
        direction: direction(section)?.unwrap_or(default),
        codecs: codecs(section, formats)?,
        sources: sources(section)?,
        ..Media::default()
    };
    for attribute in &section.attributes {
        match attribute.name {
            "extmap" => add_extension(&mut media.extensions, attribute)?,
            "msid" if media.msid.is_none() => media.msid = Some(msid(attribute)?),
            "rtcp-rsize" => media.has_reduced_rtcp = true,
            _ => {}
        }
    }
    Ok(media)
}

/// `<id>[/<direction>] <uri> [<attributes>]`
fn add_extension(
    extensions: &mut Vec<Extension>,
    attribute: &Attribute<'_>,
) -> Result<(), ParseError> {
    let wrong = |problem| attribute.wrong("extmap", problem);
    let mut fields = attribute.value.split(' ');
    let (head, uri) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    let (id, direction) = head.split_once('/').unwrap_or((head, "sendrecv"));
    let direction = direction_named(direction).ok_or_else(|| wrong("has no such direction"))?;
    let id: u16 = number(id).ok_or_else(|| wrong("has no number"))?;
    if PROVISIONAL_IDS.contains(&id) {
        return Ok(());
    }
    let id = u8::try_from(id).ok().filter(|id| !matches!(id, 0 | 15));
    let id = id.ok_or_else(|| wrong("is numbered outside 1 to 14 and 16 to 255"))?;
    if uri.is_empty() {
        return Err(wrong("has no URI"));
    }
    let uri = ExtensionUri::new(uri);
    let is_known = !matches!(uri, ExtensionUri::Other(_));
    if extensions.iter().any(|earlier| earlier.id == id || is_known && earlier.uri == uri) {
        return Err(wrong("comes twice"));
    }
    if extensions.len() == MAX_EXTENSIONS {
        let (line, most) = (attribute.line, MAX_EXTENSIONS);
        return Err(ParseError::TooMany { line, what: "header extensions", most });
    }
    extensions.push(Extension { id, direction, uri });
    Ok(())
}

fn msid(attribute: &Attribute<'_>) -> Result<Msid, ParseError> {
    let (stream, track) = attribute.value.split_once(' ').unwrap_or((attribute.value, ""));
    let is_name = |name: &str| name.len() <= MAX_NAME_BYTES && is_token(name);
    if !is_name(stream) || !(track.is_empty() || is_name(track)) {
        return Err(attribute.wrong("msid", "is not one or two names of at most 64 bytes"));
    }
    Ok(Msid { stream: stream.to_owned(), track: track.to_owned() })
}

/// A payload type, and what attributes say about it.
#[derive(Debug, Default)]
struct Draft<'a> {
    payload_type: u8,
    /// Name, clock rate and channels.
    map: Option<(&'a str, u32, u8)>,
    /// Parameters and their line.
    parameters: Option<Attribute<'a>>,
    feedback: Feedback,
}

impl<'a> Draft<'a> {
    /// What follows the payload type.
    fn parameters(&self) -> &'a str {
        self.parameters.and_then(|fmtp| fmtp.value.split_once(' ')).map_or("", |(_, text)| text)
    }

    /// Value of a parameter (RFC 6838: names have no case).
    fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self.parameters().split(';').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

fn codecs(section: &Section<'_>, formats: &str) -> Result<Vec<Codec>, ParseError> {
    let drafts = drafts(section, formats)?;
    let is_rtx = |draft: &Draft<'_>| draft.map.is_some_and(|map| map.0.eq_ignore_ascii_case("rtx"));
    let (repairs, others): (Vec<_>, Vec<_>) = drafts.iter().partition(|draft| is_rtx(draft));
    let mut codecs = Vec::with_capacity(others.len());
    for draft in others {
        // A static payload type (RFC 3551, 6), which no one needs here.
        let Some((name, clock_rate, channels)) = draft.map else { continue };
        let repair = repairs
            .iter()
            .find(|repair| repair.parameter("apt").and_then(number) == Some(draft.payload_type));
        codecs.push(Codec {
            payload_type: draft.payload_type,
            format: format(draft, name)?,
            clock_rate,
            channels,
            rtx: repair.map(|repair| repair.payload_type),
            feedback: draft.feedback,
        });
    }
    Ok(codecs)
}

fn drafts<'a>(section: &Section<'a>, formats: &str) -> Result<Vec<Draft<'a>>, ParseError> {
    let wrong = |problem| ParseError::Line { line: section.line, problem };
    let mut drafts: Vec<Draft<'a>> = Vec::new();
    for format in formats.split(' ') {
        let payload_type: u8 = number(format).ok_or_else(|| wrong("has no payload types"))?;
        if payload_type > 127 || (64..96).contains(&payload_type) {
            return Err(wrong("has a payload type outside 0 to 63 and 96 to 127"));
        }
        if drafts.iter().any(|draft| draft.payload_type == payload_type) {
            return Err(wrong("has a payload type twice"));
        }
        drafts.push(Draft { payload_type, ..Draft::default() });
    }
    for attribute in &section.attributes {
        let (key, rest) = attribute.value.split_once(' ').unwrap_or((attribute.value, ""));
        let mut named =
            drafts.iter_mut().filter(|draft| key == "*" || number(key) == Some(draft.payload_type));
        match attribute.name {
            "rtcp-fb" => named.for_each(|draft| add_feedback(&mut draft.feedback, rest)),
            "rtpmap" if key != "*" => {
                let problem = "is not of the form <payload type> <name>/<clock rate>";
                let map = map(rest).ok_or_else(|| attribute.wrong("rtpmap", problem))?;
                // One of a payload type that the media line does not list says nothing.
                if let Some(draft) = named.next() {
                    set(&mut draft.map, map, attribute, "rtpmap")?;
                }
            }
            "fmtp" if key != "*" => {
                if let Some(draft) = named.next() {
                    set(&mut draft.parameters, *attribute, attribute, "fmtp")?;
                }
            }
            _ => {}
        }
    }
    Ok(drafts)
}

/// `<name>/<clock rate>[/<channels>]`
fn map(text: &str) -> Option<(&str, u32, u8)> {
    let mut fields = text.split('/');
    let (name, clock_rate) = (fields.next()?, number(fields.next()?)?);
    let channels = fields.next().map_or(Some(1), number)?;
    let is_name = name.len() <= MAX_NAME_BYTES && is_token(name);
    let is_complete = is_name && clock_rate > 0 && channels > 0 && fields.next().is_none();
    is_complete.then_some((name, clock_rate, channels))
}

fn add_feedback(feedback: &mut Feedback, text: &str) {
    match text {
        "nack" => feedback.nack = true,
        "nack pli" => feedback.pli = true,
        "ccm fir" => feedback.fir = true,
        "transport-cc" => feedback.transport_cc = true,
        _ => {}
    }
}

fn format(draft: &Draft<'_>, name: &str) -> Result<Format, ParseError> {
    let parameters = draft.parameters();
    if name.eq_ignore_ascii_case("H264") {
        return Ok(Format::H264(h264(draft)?));
    }
    if name.eq_ignore_ascii_case("opus") {
        return Ok(Format::Opus(parameters.to_owned()));
    }
    Ok(Format::Other { name: name.to_owned(), parameters: parameters.to_owned() })
}

/// With the defaults of RFC 6184, 8.1: baseline, level 1, one NAL unit a packet.
fn h264(draft: &Draft<'_>) -> Result<H264, ParseError> {
    let mut h264 = H264 {
        profile_level_id: [0x42, 0x00, 0x0a],
        packetization_mode: 0,
        is_level_asymmetry_allowed: draft.parameter("level-asymmetry-allowed") == Some("1"),
    };
    let Some(attribute) = draft.parameters else { return Ok(h264) };
    if let Some(digits) = draft.parameter("profile-level-id") {
        let byte = |at: usize| digits.get(at..at + 2).and_then(hex_byte);
        h264.profile_level_id = match (byte(0), byte(2), byte(4), digits.len()) {
            (Some(idc), Some(iop), Some(level), 6) => [idc, iop, level],
            _ => return Err(attribute.wrong("fmtp", "has no profile-level-id of 3 bytes in hex")),
        };
    }
    if let Some(mode) = draft.parameter("packetization-mode") {
        let mode = number(mode).filter(|mode| *mode <= 2);
        let problem = "has no packetization-mode from 0 to 2";
        h264.packetization_mode = mode.ok_or_else(|| attribute.wrong("fmtp", problem))?;
    }
    Ok(h264)
}

/// From `a=ssrc` and `a=ssrc-group` lines, in whichever order they come.
fn sources(section: &Section<'_>) -> Result<Vec<Source>, ParseError> {
    // SSRCs with their canonical names, and pairs of a stream and what repairs it.
    let mut names: Vec<(u32, &str)> = Vec::new();
    let mut pairs: Vec<Pair> = Vec::new();
    for attribute in &section.attributes {
        match attribute.name {
            "ssrc" => add_name(&mut names, attribute)?,
            "ssrc-group" => add_pair(&mut pairs, attribute)?,
            _ => {}
        }
        if names.len() > 3 * MAX_SOURCES || pairs.len() > 2 * MAX_SOURCES {
            let (line, most) = (attribute.line, MAX_SOURCES);
            return Err(ParseError::TooMany { line, what: "sources", most });
        }
    }
    for Pair { of, by, .. } in &pairs {
        for ssrc in [of, by] {
            if names.iter().all(|(known, _)| known != ssrc) {
                names.push((*ssrc, ""));
            }
        }
    }
    let is_repair = |ssrc: u32| pairs.iter().any(|pair| pair.by == ssrc);
    let by = |ssrc: u32, kind| {
        pairs.iter().find(|pair| pair.of == ssrc && pair.kind == kind).map(|pair| pair.by)
    };
    let sources = names.iter().filter(|(ssrc, _)| !is_repair(*ssrc)).map(|(ssrc, cname)| Source {
        ssrc: *ssrc,
        rtx: by(*ssrc, "FID"),
        fec: by(*ssrc, "FEC-FR"),
        cname: (*cname).to_owned(),
    });
    let sources: Vec<_> = sources.collect();
    if sources.len() > MAX_SOURCES {
        let line = section.line;
        return Err(ParseError::TooMany { line, what: "sources", most: MAX_SOURCES });
    }
    Ok(sources)
}

/// `<ssrc> [<attribute>[:<value>]]`
fn add_name<'a>(
    names: &mut Vec<(u32, &'a str)>,
    attribute: &Attribute<'a>,
) -> Result<(), ParseError> {
    let (ssrc, rest) = attribute.value.split_once(' ').unwrap_or((attribute.value, ""));
    let ssrc = number(ssrc).ok_or_else(|| attribute.wrong("ssrc", "has no number of 32 bits"))?;
    let cname = rest.strip_prefix("cname:").unwrap_or_default();
    if cname.len() > MAX_NAME_BYTES {
        return Err(attribute.wrong("ssrc", "has a cname of more than 64 bytes"));
    }
    match names.iter_mut().find(|(known, _)| *known == ssrc) {
        Some((_, name)) if name.is_empty() => *name = cname,
        Some(_) => {}
        None => names.push((ssrc, cname)),
    }
    Ok(())
}

/// A stream and what repairs it: its retransmissions (`FID`), or its FlexFEC (`FEC-FR`).
struct Pair<'a> {
    kind: &'a str,
    of: u32,
    by: u32,
}

/// `<kind> <ssrc> <ssrc of what repairs it>`; groups of other semantics are not used.
fn add_pair<'a>(pairs: &mut Vec<Pair<'a>>, attribute: &Attribute<'a>) -> Result<(), ParseError> {
    let wrong = |problem| attribute.wrong("ssrc-group", problem);
    let mut fields = attribute.value.split(' ');
    let Some(kind @ ("FID" | "FEC-FR")) = fields.next() else { return Ok(()) };
    let ssrcs = (fields.next().and_then(number), fields.next().and_then(number), fields.next());
    let (Some(of), Some(by), None) = ssrcs else {
        return Err(wrong("pairs other than two numbers of 32 bits"));
    };
    // A stream may be in a pair of each kind.
    let is_taken = |pair: &Pair<'_>| {
        pair.by == of || pair.by == by || pair.of == by || pair.of == of && pair.kind == kind
    };
    if of == by || pairs.iter().any(is_taken) {
        return Err(wrong("has an SSRC twice"));
    }
    pairs.push(Pair { kind, of, by });
    Ok(())
}
