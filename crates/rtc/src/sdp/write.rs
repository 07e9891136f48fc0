//! A description as text.

use std::fmt::{self, Display, Formatter};

use super::parse_media::{DATA_CHANNELS, RTP, SCTP};
use super::{
    Application, Body, Codec, Description, Direction, Format, H264, Line, Media, Setup, Source,
};

impl Display for Description {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let origin = self.origin;
        write!(f, "v=0\r\no=- {} {} IN IP4 0.0.0.0\r\n", origin.session, origin.version)?;
        f.write_str("s=-\r\nt=0 0\r\na=group:BUNDLE")?;
        for line in self.lines.iter().filter(|line| !line.is_rejected) {
            write!(f, " {}", line.mid)?;
        }
        f.write_str("\r\n")?;
        let first = self.lines.iter().position(|line| !line.is_rejected);
        for (index, line) in self.lines.iter().enumerate() {
            head(f, line)?;
            if first == Some(index) {
                self.candidates.iter().try_for_each(|candidate| write!(f, "a={candidate}\r\n"))?;
            }
            if !line.is_rejected {
                self.transport(f)?;
            }
            if !line.mid.is_empty() {
                write!(f, "a=mid:{}\r\n", line.mid)?;
            }
            match &line.body {
                Body::Video(body) | Body::Audio(body) => media(f, body)?,
                Body::Application(body) => application(f, body)?,
                Body::Other { .. } => {}
            }
        }
        Ok(())
    }
}

impl Description {
    fn transport(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (ufrag, pwd) = (self.credentials.ufrag(), self.credentials.pwd());
        write!(f, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=ice-options:trickle\r\n")?;
        f.write_str("a=fingerprint:sha-256 ")?;
        for (index, byte) in self.fingerprint.iter().enumerate() {
            write!(f, "{}{byte:02X}", if index == 0 { "" } else { ":" })?;
        }
        write!(f, "\r\na=setup:{}\r\n", self.setup)
    }
}

impl Display for Setup {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        })
    }
}

impl Display for Direction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        })
    }
}

fn head(f: &mut Formatter<'_>, line: &Line) -> fmt::Result {
    let port = if line.is_rejected { 0 } else { 9 };
    match &line.body {
        Body::Video(media) => {
            write!(f, "m=video {port} {RTP}")?;
            payload_types(f, media)?;
        }
        Body::Audio(media) => {
            write!(f, "m=audio {port} {RTP}")?;
            payload_types(f, media)?;
        }
        Body::Application(_) => write!(f, "m=application {port} {SCTP} {DATA_CHANNELS}")?,
        Body::Other { medium, protocol, formats } => {
            write!(f, "m={medium} {port} {protocol} {formats}")?;
        }
    }
    f.write_str("\r\nc=IN IP4 0.0.0.0\r\n")
}

fn payload_types(f: &mut Formatter<'_>, media: &Media) -> fmt::Result {
    if media.codecs.is_empty() {
        // The grammar wants one.
        return f.write_str(" 0");
    }
    for codec in &media.codecs {
        write!(f, " {}", codec.payload_type)?;
        if let Some(rtx) = codec.rtx {
            write!(f, " {rtx}")?;
        }
    }
    Ok(())
}

fn media(f: &mut Formatter<'_>, media: &Media) -> fmt::Result {
    for extension in &media.extensions {
        write!(f, "a=extmap:{}", extension.id)?;
        if extension.direction != Direction::SendRecv {
            write!(f, "/{}", extension.direction)?;
        }
        write!(f, " {}\r\n", extension.uri.as_str())?;
    }
    write!(f, "a={}\r\n", media.direction)?;
    if let Some(msid) = &media.msid {
        let space = if msid.track.is_empty() { "" } else { " " };
        write!(f, "a=msid:{}{space}{}\r\n", msid.stream, msid.track)?;
    }
    f.write_str("a=rtcp-mux\r\n")?;
    if media.has_reduced_rtcp {
        f.write_str("a=rtcp-rsize\r\n")?;
    }
    media.codecs.iter().try_for_each(|format| codec(f, format))?;
    media.sources.iter().try_for_each(|stream| source(f, stream))
}

fn codec(f: &mut Formatter<'_>, codec: &Codec) -> fmt::Result {
    let (payload_type, clock_rate) = (codec.payload_type, codec.clock_rate);
    write!(f, "a=rtpmap:{payload_type} {}/{clock_rate}", codec.format.name())?;
    if codec.channels != 1 {
        write!(f, "/{}", codec.channels)?;
    }
    f.write_str("\r\n")?;
    let feedback = codec.feedback;
    for (is_there, name) in [
        (feedback.nack, "nack"),
        (feedback.pli, "nack pli"),
        (feedback.fir, "ccm fir"),
        (feedback.transport_cc, "transport-cc"),
    ] {
        if is_there {
            write!(f, "a=rtcp-fb:{payload_type} {name}\r\n")?;
        }
    }
    match &codec.format {
        Format::H264(h264) => write!(f, "a=fmtp:{payload_type} {h264}\r\n")?,
        Format::Opus(parameters) | Format::Other { parameters, .. } if !parameters.is_empty() => {
            write!(f, "a=fmtp:{payload_type} {parameters}\r\n")?;
        }
        Format::Opus(_) | Format::Other { .. } => {}
    }
    match codec.rtx {
        Some(rtx) => {
            write!(f, "a=rtpmap:{rtx} rtx/{clock_rate}\r\na=fmtp:{rtx} apt={payload_type}\r\n")
        }
        None => Ok(()),
    }
}

impl Format {
    /// Its encoding name, as SDP writes it.
    pub fn name(&self) -> &str {
        match self {
            Self::H264(_) => "H264",
            Self::Opus(_) => "opus",
            Self::Other { name, .. } => name,
        }
    }
}

/// As `a=fmtp` writes it.
impl Display for H264 {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_level_asymmetry_allowed {
            f.write_str("level-asymmetry-allowed=1;")?;
        }
        let [idc, iop, level] = self.profile_level_id;
        let mode = self.packetization_mode;
        write!(f, "packetization-mode={mode};profile-level-id={idc:02x}{iop:02x}{level:02x}")
    }
}

fn source(f: &mut Formatter<'_>, source: &Source) -> fmt::Result {
    if let Some(rtx) = source.rtx {
        write!(f, "a=ssrc-group:FID {} {rtx}\r\n", source.ssrc)?;
    }
    if let Some(fec) = source.fec {
        write!(f, "a=ssrc-group:FEC-FR {} {fec}\r\n", source.ssrc)?;
    }
    for ssrc in [Some(source.ssrc), source.rtx, source.fec].into_iter().flatten() {
        write!(f, "a=ssrc:{ssrc} cname:{}\r\n", source.cname)?;
    }
    Ok(())
}

fn application(f: &mut Formatter<'_>, application: &Application) -> fmt::Result {
    use base64::{display::Base64Display, prelude::BASE64_STANDARD};
    write!(f, "a=sctp-port:{}\r\n", application.sctp_port)?;
    if let Some(bytes) = application.max_message_size {
        write!(f, "a=max-message-size:{bytes}\r\n")?;
    }
    match &application.sctp_init {
        Some(chunk) => {
            write!(f, "a=sctp-init:{}\r\n", Base64Display::new(chunk, &BASE64_STANDARD))
        }
        None => Ok(()),
    }
}
