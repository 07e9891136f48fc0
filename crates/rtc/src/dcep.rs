//! Data Channel Establishment Protocol (RFC 8832 section 5): OPEN and ACK.

use std::time::Duration;

use crate::channels::{Channel, Reliability};

/// Longest label and longest protocol name in bytes that [`parse`] accepts. RFC 8832 would allow
/// 65,535 bytes; a label is kept for the life of its channel, so a peer may not choose its size.
pub const MAX_NAME_BYTES: usize = 1024;

/// The ACK message (RFC 8832 section 5.2).
pub const ACK: [u8; 1] = [TYPE_ACK];

const TYPE_ACK: u8 = 0x02;
const TYPE_OPEN: u8 = 0x03;
const OPEN_HEADER_BYTES: usize = 12;
const UNORDERED: u8 = 0x80;
const KIND_RELIABLE: u8 = 0x00;
const KIND_RETRANSMITS: u8 = 0x01;
const KIND_LIFETIME: u8 = 0x02;

/// A DCEP message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// DATA_CHANNEL_OPEN: the channel the peer opens, with the stream's id filled in.
    Open(Channel),
    /// DATA_CHANNEL_ACK.
    Ack,
}

/// Reads a DCEP message that came on stream `id`. `None` when it is malformed, of an unknown type,
/// not UTF-8, or when a name is longer than [`MAX_NAME_BYTES`].
///
/// ```
/// use lllsi_rtc::dcep::{ACK, Message, parse};
/// assert_eq!(parse(1, &ACK), Some(Message::Ack));
/// ```
pub fn parse(id: u16, message: &[u8]) -> Option<Message> {
    match *message.first()? {
        TYPE_ACK if message.len() == ACK.len() => Some(Message::Ack),
        TYPE_OPEN => parse_open(id, message).map(Message::Open),
        _ => None,
    }
}

/// Writes the OPEN message for `channel` (RFC 8832 section 5.1). `None` when a name is longer than
/// [`MAX_NAME_BYTES`], which the other end would refuse.
pub fn open_message(channel: &Channel) -> Option<Vec<u8>> {
    if channel.label.len() > MAX_NAME_BYTES || channel.protocol.len() > MAX_NAME_BYTES {
        return None;
    }
    let (kind, parameter) = match channel.reliability {
        Reliability::Reliable => (KIND_RELIABLE, 0),
        Reliability::MaxRetransmits(count) => (KIND_RETRANSMITS, u32::from(count)),
        Reliability::MaxLifetime(time) => {
            (KIND_LIFETIME, u32::try_from(time.as_millis()).unwrap_or(u32::MAX))
        }
    };
    let kind = if channel.ordered { kind } else { kind | UNORDERED };
    let names = channel.label.len() + channel.protocol.len();
    let mut message = Vec::with_capacity(OPEN_HEADER_BYTES + names);
    message.extend_from_slice(&[TYPE_OPEN, kind, 0, 0]);
    message.extend_from_slice(&parameter.to_be_bytes());
    for name in [&channel.label, &channel.protocol] {
        // The cast is exact because both names are at most MAX_NAME_BYTES long.
        message.extend_from_slice(&(name.len() as u16).to_be_bytes());
    }
    message.extend_from_slice(channel.label.as_bytes());
    message.extend_from_slice(channel.protocol.as_bytes());
    Some(message)
}

fn parse_open(id: u16, message: &[u8]) -> Option<Channel> {
    let (header, names) = message.split_at_checked(OPEN_HEADER_BYTES)?;
    let parameter = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let label_bytes = usize::from(u16::from_be_bytes([header[8], header[9]]));
    let protocol_bytes = usize::from(u16::from_be_bytes([header[10], header[11]]));
    if label_bytes > MAX_NAME_BYTES || protocol_bytes > MAX_NAME_BYTES {
        return None;
    }
    let (label, protocol) = names.split_at_checked(label_bytes)?;
    if protocol.len() != protocol_bytes {
        return None;
    }
    let reliability = match header[1] & !UNORDERED {
        KIND_RELIABLE => Reliability::Reliable,
        KIND_RETRANSMITS => {
            Reliability::MaxRetransmits(u16::try_from(parameter).unwrap_or(u16::MAX))
        }
        KIND_LIFETIME => Reliability::MaxLifetime(Duration::from_millis(parameter.into())),
        _ => return None,
    };
    Some(Channel {
        id,
        label: String::from_utf8(label.to_vec()).ok()?,
        protocol: String::from_utf8(protocol.to_vec()).ok()?,
        ordered: header[1] & UNORDERED == 0,
        reliability,
        negotiated: false,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn channel(ordered: bool, reliability: Reliability) -> Channel {
        Channel {
            id: 7,
            label: "ä chat".into(),
            protocol: "p".into(),
            ordered,
            reliability,
            negotiated: false,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for ordered in [true, false] {
            for reliability in [
                Reliability::Reliable,
                Reliability::MaxRetransmits(0),
                Reliability::MaxRetransmits(65_535),
                Reliability::MaxLifetime(Duration::from_millis(1234)),
            ] {
                let channel = channel(ordered, reliability);
                let bytes = open_message(&channel).unwrap();
                assert_eq!(parse(7, &bytes), Some(Message::Open(channel)));
            }
        }
    }

    #[test]
    fn an_open_message_has_the_layout_of_rfc_8832() {
        let bytes = open_message(&channel(false, Reliability::MaxRetransmits(3))).unwrap();
        assert_eq!(bytes[..12], [3, 0x81, 0, 0, 0, 0, 0, 3, 0, 7, 0, 1]);
        assert_eq!(&bytes[12..], "ä chatp".as_bytes());
    }

    #[test]
    fn long_names_bad_lengths_and_unknown_kinds_are_refused() {
        let good = open_message(&channel(true, Reliability::Reliable)).unwrap();
        for cut in 0..good.len() {
            assert_eq!(parse(7, &good[..cut]), None);
        }
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(parse(7, &longer), None);
        let mut kind = good.clone();
        kind[1] = 3;
        assert_eq!(parse(7, &kind), None);
        let mut text = good;
        text[12] = 0xff;
        assert_eq!(parse(7, &text), None);
        let mut wide = channel(true, Reliability::Reliable);
        wide.label = "x".repeat(MAX_NAME_BYTES + 1);
        assert_eq!(open_message(&wide), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(0, &bytes);
        }
    }
}
