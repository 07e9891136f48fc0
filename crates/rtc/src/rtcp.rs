//! RTCP packets (RFC 3550 §6, RFC 4585, RFC 5104, draft-holmer-rmcat-transport-wide-cc-extensions-01),
//! in compound or reduced-size form (RFC 5506).
//!
//! Reading borrows from the decrypted packet and allocates nothing: [`packets`]. Writing appends
//! to a buffer, packet after packet, so that a compound one results: [`receiver_report`],
//! [`sender_report`], [`cname`], [`nack`], [`pli`], [`fir`], [`bye`], [`app`], [`transport_feedback`].

mod feedback;
mod report;
mod transport;
mod write;

pub use feedback::{App, Bye, Fir, Nack};
pub use report::{Blocks, ReportBlock, SenderInfo};
pub use transport::{MAX_STATUSES, Statuses, TransportFeedback, transport_feedback};
pub use write::{
    MAX_NACK_ENTRIES, MAX_REPORT_BLOCKS, app, bye, cname, fir, nack, pli, receiver_report,
    sender_report,
};

/// The most packets that [`packets`] reads of one compound packet.
pub const MAX_PACKETS: usize = 32;

const VERSION: u8 = 2;
const PADDING_BIT: u8 = 0x20;
const HEADER_LEN: usize = 4;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const APPLICATION: u8 = 204;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

const FORMAT_NACK: u8 = 1;
const FORMAT_TRANSPORT_CC: u8 = 15;
const FORMAT_PLI: u8 = 1;
const FORMAT_FIR: u8 = 4;

/// Whether a datagram of an RTP/RTCP socket is RTCP (RFC 5761 §4): its packet type lies in
/// 192..=223, which as RTP would be a payload type of 64..=95 with the marker set.
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [first, 192..=223, ..] if first >> 6 == VERSION)
}

/// Whether a packet begins with a report, as a compound one does (RFC 3550 §6.1).
pub fn is_compound(packet: &[u8]) -> bool {
    matches!(packet, [_, SENDER_REPORT | RECEIVER_REPORT, ..])
}

/// The packets of a decrypted compound packet, in order.
///
/// The iterator ends at the first malformed one, after [`MAX_PACKETS`], and where the transport
/// feedback of all packets together would report more than [`MAX_STATUSES`] packets: one
/// datagram of run-length chunks could otherwise claim a quarter of a million.
///
/// ```
/// use lllsi_rtc::rtcp::{self, Packet};
///
/// let mut compound = Vec::new();
/// rtcp::receiver_report(&mut compound, 1, &[]);
/// rtcp::pli(&mut compound, 1, 2);
/// let last = rtcp::packets(&compound).last();
/// assert!(matches!(last, Some(Packet::Pli { sender: 1, media_ssrc: 2 })));
/// ```
pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound, packets_left: MAX_PACKETS, statuses_left: MAX_STATUSES }
}

/// Iterator over the packets of a compound packet, see [`packets`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
    packets_left: usize,
    statuses_left: usize,
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        self.packets_left = self.packets_left.checked_sub(1)?;
        let packet = self.read();
        if packet.is_none() {
            self.packets_left = 0;
        }
        packet
    }
}

impl<'a> Packets<'a> {
    fn read(&mut self) -> Option<Packet<'a>> {
        let &[first, packet_type, high, low] = self.rest.first_chunk()?;
        if first >> 6 != VERSION {
            return None;
        }
        let len = HEADER_LEN + usize::from(u16::from_be_bytes([high, low])) * 4;
        let (packet, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        let mut body = &packet[HEADER_LEN..];
        if first & PADDING_BIT != 0 {
            body = without_padding(body)?;
        }
        let packet = Packet::parse(packet_type, first & 0x1f, body)?;
        if let Packet::TransportCc(feedback) = &packet {
            self.statuses_left = self.statuses_left.checked_sub(feedback.status_count())?;
        }
        Some(packet)
    }
}

/// The last byte counts the padding. RFC 3550 §6.4.1 wants a multiple of 4 and padding in the last
/// packet alone; Chromium pads each transport feedback by 1 to 3 bytes, so neither is asked for.
fn without_padding(body: &[u8]) -> Option<&[u8]> {
    let padding = usize::from(*body.last()?);
    if padding == 0 {
        return None;
    }
    body.get(..body.len().checked_sub(padding)?)
}

/// One RTCP packet.
#[derive(Clone, Debug)]
pub enum Packet<'a> {
    /// A sender report (RFC 3550 §6.4.1).
    SenderReport {
        /// Who sent what until when.
        info: SenderInfo,
        /// What this sender received of others.
        blocks: Blocks<'a>,
    },
    /// A receiver report (RFC 3550 §6.4.2).
    ReceiverReport {
        /// The SSRC of the reporter.
        sender: u32,
        /// What it received.
        blocks: Blocks<'a>,
    },
    /// A generic NACK (RFC 4585 §6.2.1): lost packets.
    Nack(Nack<'a>),
    /// A picture loss indication (RFC 4585 §6.3.1): a request for a key frame.
    Pli {
        /// The SSRC of the requester.
        sender: u32,
        /// The video's SSRC.
        media_ssrc: u32,
    },
    /// A full intra request (RFC 5104 §4.3.1): a request for a key frame.
    Fir(Fir<'a>),
    /// Transport-wide congestion control feedback: arrival times.
    TransportCc(TransportFeedback<'a>),
    /// The end of sources (RFC 3550 §6.6).
    Bye(Bye<'a>),
    /// Something of the application's own (RFC 3550 §6.7).
    App(App<'a>),
    /// A well-framed packet of another type or format, for example SDES, REMB or XR.
    Other,
}

impl<'a> Packet<'a> {
    fn parse(packet_type: u8, count: u8, body: &'a [u8]) -> Option<Self> {
        Some(match (packet_type, count) {
            (SENDER_REPORT, _) => {
                let (info, rest) = SenderInfo::parse(body)?;
                Packet::SenderReport { info, blocks: Blocks::parse(count, rest)? }
            }
            (RECEIVER_REPORT, _) => {
                let (sender, rest) = split_u32(body)?;
                Packet::ReceiverReport { sender, blocks: Blocks::parse(count, rest)? }
            }
            (BYE, _) => Packet::Bye(Bye::parse(count, body)?),
            (APPLICATION, _) => Packet::App(App::parse(count, body)?),
            (TRANSPORT_FEEDBACK, FORMAT_NACK) => Packet::Nack(Nack::parse(body)?),
            (TRANSPORT_FEEDBACK, FORMAT_TRANSPORT_CC) => {
                Packet::TransportCc(TransportFeedback::parse(body)?)
            }
            (PAYLOAD_FEEDBACK, FORMAT_PLI) => {
                let (sender, rest) = split_u32(body)?;
                let (media_ssrc, rest) = split_u32(rest)?;
                rest.is_empty().then_some(Packet::Pli { sender, media_ssrc })?
            }
            (PAYLOAD_FEEDBACK, FORMAT_FIR) => Packet::Fir(Fir::parse(body)?),
            _ => Packet::Other,
        })
    }
}

fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (value, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*value), rest))
}

#[cfg(test)]
mod tests;
