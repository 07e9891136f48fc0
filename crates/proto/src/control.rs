//! Control messages of an established link, over its two data channels, or with the feedback of its media.
//!
//! | channel | SCTP stream | delivery | carries |
//! |---|---|---|---|
//! | `control` | 0 | reliable, ordered | [`Message::Goodbye`] |
//! | `pulse` | 1 | unordered, never resent | [`Message::Confirm`]; with a browser also what stands in the next line |
//! | RTCP APP ([`APP_NAME`]) | | unordered, never resent | [`Message::Ping`], [`Message::Pong`], [`Message::Report`] |
//!
//! What must be quick after a loss goes over `pulse` and is repeated by its sender: SCTP's own repair waits a second
//! or more. All integers are big-endian. A receiver ignores types it does not know and bytes after the last field it
//! knows, so that later versions can add both.
//!
//! ```
//! use lllsi_proto::control::Message;
//!
//! let ping = Message::Ping { sent_us: 5 };
//! assert_eq!(Message::parse(&ping.to_bytes()).unwrap(), Some(ping));
//! ```

use crate::Error;
use crate::fields::Fields;
use crate::h264::FrameInfo;
use crate::sealed::PartReason;

/// SCTP stream of the reliable channel.
pub const CONTROL_CHANNEL: u16 = 0;
/// SCTP stream of the unreliable channel.
pub const PULSE_CHANNEL: u16 = 1;

/// Name of the RTCP packets (APP; RFC 3550, 6.7) that carry what `pulse` carries, between peers that both can send them.
pub const APP_NAME: [u8; 4] = *b"LLLS";

/// Name of those that find out how large packets may be: see `docs/control.md`, section 4.6.
pub const SIZE_NAME: [u8; 4] = *b"LLSZ";

/// The largest control message that is looked at, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// One control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Proof that both ends of this transport are the ends of the sealed signalling: see `docs/control.md`.
    /// Before it is verified nothing else is accepted or sent.
    Confirm {
        /// HMAC-SHA256 over role and fingerprints.
        mac: [u8; 32],
        /// Whether the sender has verified the other side's.
        verified: bool,
    },
    /// Asks for the other side's clock.
    Ping {
        /// The sender's clock, microseconds.
        sent_us: u64,
    },
    /// Answers a [`Message::Ping`].
    Pong {
        /// As in the ping.
        sent_us: u64,
        /// The answerer's clock when the ping came, microseconds.
        received_us: u64,
        /// The newest frame that it has sent on this link.
        newest: SentFrame,
    },
    /// What arrived at a viewer: with each whole frame, or ten times a second.
    Report(Report),
    /// The sender closes the link.
    Goodbye {
        /// Why.
        reason: PartReason,
    },
}

/// A frame as its sender knows it, for viewers that cannot read what stands in the frame itself: browsers hand their
/// pages pictures and RTP timestamps. All zero before the first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SentFrame {
    /// Its RTP timestamp, which tells the capture time of all frames: they run at 90 kHz.
    pub timestamp: u32,
    /// As in the frame itself.
    pub info: FrameInfo,
}

/// What arrived at a viewer since the link was made. Counters wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Newest complete frame.
    pub frame: u32,
    /// RTP packets received, repairs included.
    pub packets: u32,
    /// RTP packets that were missing when a later one came, repaired since or not.
    pub missed: u32,
    /// RTP payload received, bytes.
    pub bytes: u64,
    /// How much longer than the shortest of the last ten seconds the newest frame was under way, microseconds.
    pub queued_us: u32,
    /// Time from capture to complete arrival of the newest frame, microseconds; 0 while the clocks are not synchronised.
    pub latency_us: u32,
    /// When the newest frame arrived, once there is one and if the viewer knows.
    pub arrival: Option<Arrival>,
}

/// When a frame arrived, on the viewer's clock, which begins anywhere and wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrival {
    /// Its first packet, microseconds.
    pub first_us: u32,
    /// Its last packet, microseconds.
    pub last_us: u32,
    /// Whether one of its packets had to be repaired: then its arrival says little about the path.
    pub is_repaired: bool,
}

const CONFIRM: u8 = 1;
const PING: u8 = 2;
const PONG: u8 = 3;
const REPORT: u8 = 4;
const GOODBYE: u8 = 5;

/// How the frame of an [`Arrival`] arrived. Whatever stands in place of it in zeros that fill a word is no arrival.
const ARRIVAL_BYTES: usize = 9;
const WHOLE: u8 = 1;
const REPAIRED: u8 = 2;

impl Message {
    /// Parses one data channel message; `None` for a type of a newer version.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Error> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            let (got, max) = (bytes.len(), MAX_MESSAGE_BYTES);
            return Err(Error::TooLong { what: "control message", got, max });
        }
        let mut fields = Fields { what: "control message", rest: bytes };
        let message = match fields.u8()? {
            CONFIRM => Self::Confirm { mac: fields.array()?, verified: fields.u8()? != 0 },
            PING => Self::Ping { sent_us: fields.u64()? },
            PONG => Self::Pong {
                sent_us: fields.u64()?,
                received_us: fields.u64()?,
                newest: SentFrame { timestamp: fields.u32()?, info: FrameInfo::read(&mut fields)? },
            },
            REPORT => Self::Report(Report {
                frame: fields.u32()?,
                packets: fields.u32()?,
                missed: fields.u32()?,
                bytes: fields.u64()?,
                queued_us: fields.u32()?,
                latency_us: fields.u32()?,
                arrival: Self::arrival(&mut fields)?,
            }),
            GOODBYE => Self::Goodbye { reason: reason_from_code(fields.u8()?) },
            _ => return Ok(None),
        };
        Ok(Some(message))
    }

    /// What stands at the end of the reports of some viewers.
    fn arrival(fields: &mut Fields<'_>) -> Result<Option<Arrival>, Error> {
        if fields.rest.len() < ARRIVAL_BYTES {
            return Ok(None);
        }
        let (first_us, last_us) = (fields.u32()?, fields.u32()?);
        Ok(match fields.u8()? {
            WHOLE => Some(Arrival { first_us, last_us, is_repaired: false }),
            REPAIRED => Some(Arrival { first_us, last_us, is_repaired: true }),
            _ => None,
        })
    }

    /// As the bytes of a data channel message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Confirm { mac, verified } => {
                out.push(CONFIRM);
                out.extend_from_slice(mac);
                out.push(u8::from(*verified));
            }
            Self::Ping { sent_us } => {
                out.push(PING);
                out.extend_from_slice(&sent_us.to_be_bytes());
            }
            Self::Pong { sent_us, received_us, newest } => {
                out.push(PONG);
                out.extend_from_slice(&sent_us.to_be_bytes());
                out.extend_from_slice(&received_us.to_be_bytes());
                out.extend_from_slice(&newest.timestamp.to_be_bytes());
                newest.info.write(&mut out);
            }
            Self::Report(report) => {
                out.push(REPORT);
                for field in [report.frame, report.packets, report.missed] {
                    out.extend_from_slice(&field.to_be_bytes());
                }
                out.extend_from_slice(&report.bytes.to_be_bytes());
                out.extend_from_slice(&report.queued_us.to_be_bytes());
                out.extend_from_slice(&report.latency_us.to_be_bytes());
                if let Some(Arrival { first_us, last_us, is_repaired }) = report.arrival {
                    out.extend_from_slice(&first_us.to_be_bytes());
                    out.extend_from_slice(&last_us.to_be_bytes());
                    out.push(if is_repaired { REPAIRED } else { WHOLE });
                }
            }
            Self::Goodbye { reason } => out.extend_from_slice(&[GOODBYE, code_of(*reason)]),
        }
        out
    }
}

fn code_of(reason: PartReason) -> u8 {
    match reason {
        PartReason::Unknown => 0,
        PartReason::RoomFull => 1,
        PartReason::Kicked => 2,
        PartReason::HostClosed => 3,
        PartReason::ClientLeft => 4,
        PartReason::Protocol => 5,
        PartReason::SourceLost => 6,
        PartReason::InviteExpired => 7,
        PartReason::Replaced => 8,
    }
}

fn reason_from_code(code: u8) -> PartReason {
    match code {
        1 => PartReason::RoomFull,
        2 => PartReason::Kicked,
        3 => PartReason::HostClosed,
        4 => PartReason::ClientLeft,
        5 => PartReason::Protocol,
        6 => PartReason::SourceLost,
        7 => PartReason::InviteExpired,
        8 => PartReason::Replaced,
        _ => PartReason::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples() -> Vec<Message> {
        let mut samples = vec![
            Message::Confirm { mac: [7; 32], verified: true },
            Message::Ping { sent_us: u64::MAX },
            Message::Pong {
                sent_us: 1,
                received_us: 2,
                newest: SentFrame {
                    timestamp: 3,
                    info: FrameInfo {
                        number: 4,
                        captured_us: 5,
                        encode_us: 6,
                        ..FrameInfo::default()
                    },
                },
            },
            Message::Report(Report {
                frame: 1,
                packets: 2,
                missed: 3,
                bytes: 4,
                queued_us: 5,
                latency_us: 6,
                arrival: None,
            }),
        ];
        samples.extend((0..=8).map(|c| Message::Goodbye { reason: reason_from_code(c) }));
        samples
    }

    #[test]
    fn messages_survive_a_round_trip_and_tolerate_new_fields() {
        for message in samples() {
            let mut bytes = message.to_bytes();
            assert_eq!(Message::parse(&bytes), Ok(Some(message.clone())));
            bytes.extend_from_slice(b"from the future");
            assert_eq!(Message::parse(&bytes), Ok(Some(message)));
        }
        assert_eq!(Message::parse(&[200, 1, 2]), Ok(None));
    }

    #[test]
    fn an_arrival_is_read_where_there_is_one() {
        let arrival = Arrival { first_us: u32::MAX, last_us: 7, is_repaired: true };
        let report = Message::Report(Report { arrival: Some(arrival), ..Report::default() });
        let bytes = report.to_bytes();
        assert_eq!(Message::parse(&bytes), Ok(Some(report.clone())));
        for end in bytes.len() - ARRIVAL_BYTES..bytes.len() {
            let without = Message::Report(Report::default());
            assert_eq!(Message::parse(&bytes[..end]), Ok(Some(without)), "cut at {end}");
        }
    }

    #[test]
    fn truncated_messages_are_refused() {
        for message in samples() {
            let bytes = message.to_bytes();
            for end in 0..bytes.len() {
                let parsed = Message::parse(&bytes[..end]);
                assert!(matches!(parsed, Err(Error::Truncated { .. })), "{message:?} cut at {end}");
            }
        }
        assert!(matches!(Message::parse(&[2; 2000]), Err(Error::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Message::parse(&bytes);
        }
    }
}
