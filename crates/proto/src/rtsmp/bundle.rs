//! Whole messages in one datagram, between peers that both send and take such.

use bytes::Bytes;

use crate::fields::Fields;

/// Name of the RTCP packets (APP; RFC 3550, 6.7) that carry bundles.
pub const BUNDLE_NAME: [u8; 4] = *b"LLSD";
/// The longest bundle, in bytes.
pub const BUNDLE_BYTES: usize = 1100;
/// Bytes before the first message of a bundle.
pub const BUNDLE_HEAD_BYTES: usize = 14;
/// Bytes before each message.
pub const BUNDLED_BYTES: usize = 2;

/// The head of a bundle: its number, and an acknowledgement of the bundles that the other side has sent.
///
/// ```
/// use lllsi_proto::rtsmp::BundleHead;
///
/// let head = BundleHead { number: 7, highest: 5, received: 4, held_ms: 20 };
/// let bundle = head.with([&b"one"[..], b"two"]);
/// let (parsed, messages) = BundleHead::parse(bundle.into()).unwrap();
/// assert_eq!(parsed, head);
/// assert_eq!(messages.collect::<Vec<_>>(), ["one", "two"]);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BundleHead {
    /// From 1 on.
    pub number: u32,
    /// The highest number of a bundle that was received; 0 before the first.
    pub highest: u32,
    /// How many bundles were received.
    pub received: u32,
    /// How long ago the one with the highest number was received, in milliseconds.
    pub held_ms: u16,
}

impl BundleHead {
    /// A bundle of these messages, each of at most 65,535 bytes.
    pub fn with<'a>(&self, messages: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BUNDLE_BYTES);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.highest.to_be_bytes());
        bytes.extend_from_slice(&self.received.to_be_bytes());
        bytes.extend_from_slice(&self.held_ms.to_be_bytes());
        for message in messages {
            bytes.extend_from_slice(&(message.len() as u16).to_be_bytes());
            bytes.extend_from_slice(message);
        }
        bytes
    }

    /// Reads a bundle. Its messages end with it, with one that is empty, or with one that is longer than what is left.
    pub fn parse(mut bundle: Bytes) -> Option<(Self, impl Iterator<Item = Bytes>)> {
        let mut fields = Fields { what: "bundle", rest: &bundle };
        let head = Self {
            number: fields.u32().ok()?,
            highest: fields.u32().ok()?,
            received: fields.u32().ok()?,
            held_ms: u16::from_be_bytes(fields.array().ok()?),
        };
        let mut messages = bundle.split_off(BUNDLE_HEAD_BYTES);
        let next = move || {
            let length = u16::from_be_bytes(*messages.first_chunk()?).into();
            if length == 0 || messages.len() - BUNDLED_BYTES < length {
                return None;
            }
            let mut message = messages.split_to(BUNDLED_BYTES + length);
            Some(message.split_off(BUNDLED_BYTES))
        };
        Some((head, std::iter::from_fn(next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_fills_it_up_and_what_is_cut_off_is_no_message() {
        let head = BundleHead { number: 1, ..BundleHead::default() };
        let mut bundle = head.with([&b"one"[..]]);
        bundle.extend([0, 0, 0]);
        assert_eq!(BundleHead::parse(bundle.into()).unwrap().1.count(), 1);
        let bundle = head.with([&b"one"[..], b"two"]);
        let cut = Bytes::from(bundle).slice(..BUNDLE_HEAD_BYTES + 9);
        assert_eq!(BundleHead::parse(cut).unwrap().1.count(), 1);
        assert!(BundleHead::parse(Bytes::from_static(&[0; BUNDLE_HEAD_BYTES - 1])).is_none());
    }

    proptest! {
        #[test]
        fn whatever_comes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let length = bytes.len();
            if let Some((_, messages)) = BundleHead::parse(bytes.into()) {
                let all: usize = messages.map(|message| BUNDLED_BYTES + message.len()).sum();
                prop_assert!(BUNDLE_HEAD_BYTES + all <= length);
            }
        }
    }
}
