//! RTP packets: the fixed header, header extensions, padding and sequence numbers
//! (RFC 3550 §5.1, RFC 8285, RFC 3711 §3.3.1).

mod unwrapper;

pub use unwrapper::Unwrapper;

/// Bytes of the RTP header without CSRCs and extension.
pub const FIXED_HEADER_LEN: usize = 12;

const VERSION: u8 = 2;
const PADDING_BIT: u8 = 0x20;
const EXTENSION_BIT: u8 = 0x10;
const MARKER_BIT: u8 = 0x80;
const ONE_BYTE_PROFILE: u16 = 0xbede;
const TWO_BYTE_PROFILE: u16 = 0x1000;

/// An RTP header (RFC 3550 §5.1). SRTP leaves it readable, so it is parsed before decryption.
///
/// ```
/// use lllsi_rtc::rtp::{self, Header};
///
/// let header = Header { payload_type: 96, sequence: 7, ssrc: 0xcafe, ..Header::default() };
/// let mut packet = Vec::new();
/// let header_len = header.write(&mut packet, &[(3, &[1, 2, 3])]);
/// packet.extend_from_slice(b"frame");
///
/// let parsed = Header::parse(&packet).unwrap();
/// assert_eq!((parsed.sequence, parsed.len), (7, header_len));
/// assert_eq!(rtp::extension(&packet, 3), Some(&[1, 2, 3][..]));
/// assert_eq!(rtp::payload(&parsed, &packet), Some(&b"frame"[..]));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The marker bit; video sets it on the last packet of a frame.
    pub marker: bool,
    /// The payload type, 0..=127.
    pub payload_type: u8,
    /// The sequence number, which [`Unwrapper`] extends to 48 bits.
    pub sequence: u16,
    /// The media time in units of the payload type's clock rate.
    pub timestamp: u32,
    /// The synchronization source.
    pub ssrc: u32,
    /// Bytes from the packet's start to its payload, CSRCs and extension included.
    /// [`Header::write`] ignores it.
    pub len: usize,
    /// Whether the (decrypted) payload ends with padding, see [`payload`].
    pub has_padding: bool,
}

impl Header {
    /// Parses the header of an RTP or SRTP packet. `None` if the version is not 2 or if the
    /// CSRCs or the extension reach beyond the packet.
    pub fn parse(packet: &[u8]) -> Option<Header> {
        let fixed: &[u8; FIXED_HEADER_LEN] = packet.first_chunk()?;
        if fixed[0] >> 6 != VERSION {
            return None;
        }
        let mut len = extension_start(fixed);
        if fixed[0] & EXTENSION_BIT != 0 {
            let words = u16_at(packet, len + 2)?;
            len += 4 + usize::from(words) * 4;
        }
        if len > packet.len() {
            return None;
        }
        Some(Header {
            marker: fixed[1] & MARKER_BIT != 0,
            payload_type: fixed[1] & !MARKER_BIT,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            len,
            has_padding: fixed[0] & PADDING_BIT != 0,
        })
    }

    /// Appends the header to `out`, with `extensions` as (id, value) in the one-byte form of
    /// RFC 8285 §4.2, and returns how many bytes it appended.
    ///
    /// Ids are 1..=14 and values have 1..=16 bytes; anything else is left out, as the form cannot
    /// hold it. The length depends on the ids and the lengths of the values alone: packets of one
    /// track that carry the same extensions have headers of one length, as GSO segments need.
    /// There are no CSRCs. `has_padding` only sets the bit: the caller appends the padding.
    pub fn write(&self, out: &mut Vec<u8>, extensions: &[(u8, &[u8])]) -> usize {
        self.write_padded(out, extensions, 0)
    }

    /// As [`Self::write`], with so many zero bytes more after the extensions (RFC 8285 §4.1.1), rounded up to a multiple of
    /// 4, if there are extensions: so a packet grows that is to be as long as others.
    pub fn write_padded(
        &self,
        out: &mut Vec<u8>,
        extensions: &[(u8, &[u8])],
        zeros: usize,
    ) -> usize {
        let start = out.len();
        let padding = if self.has_padding { PADDING_BIT } else { 0 };
        let extension = if extensions.is_empty() { 0 } else { EXTENSION_BIT };
        let marker = if self.marker { MARKER_BIT } else { 0 };
        out.push(VERSION << 6 | padding | extension);
        out.push(marker | (self.payload_type & !MARKER_BIT));
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        if !extensions.is_empty() {
            write_one_byte_extensions(out, extensions, zeros);
        }
        out.len() - start
    }
}

fn write_one_byte_extensions(out: &mut Vec<u8>, extensions: &[(u8, &[u8])], zeros: usize) {
    let start = out.len();
    out.extend_from_slice(&ONE_BYTE_PROFILE.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    // 14 elements of 17 bytes are all that distinct ids can need; the bound keeps the block's
    // length within its 16-bit field whatever the caller passes.
    for &(id, value) in extensions.iter().take(14) {
        let fits = (1..=14).contains(&id) && (1..=16).contains(&value.len());
        debug_assert!(fits, "extension {id} with {} bytes does not fit", value.len());
        if fits {
            out.push(id << 4 | (value.len() - 1) as u8);
            out.extend_from_slice(value);
        }
    }
    let len = (out.len() - start).next_multiple_of(4) + zeros.next_multiple_of(4);
    out.resize(start + len, 0);
    let words = ((out.len() - start) / 4 - 1) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

/// The value of the header extension element `id`, in the one-byte or the two-byte form
/// (RFC 8285 §4.2, §4.3). A two-byte element may be empty. `None` if there is none, or if the
/// packet or an element before it is malformed.
pub fn extension(packet: &[u8], id: u8) -> Option<&[u8]> {
    extensions(packet).find(|&(found, _)| found == id).map(|(_, value)| value)
}

/// All header extension elements of a packet as (id, value), up to the first malformed one.
/// A receiver that wants several of them needs one pass only.
pub fn extensions(packet: &[u8]) -> Extensions<'_> {
    extension_block(packet).unwrap_or(Extensions { block: &[], two_byte: false })
}

fn extension_block(packet: &[u8]) -> Option<Extensions<'_>> {
    let header = Header::parse(packet)?;
    let fixed: &[u8; FIXED_HEADER_LEN] = packet.first_chunk()?;
    if fixed[0] & EXTENSION_BIT == 0 {
        return None;
    }
    let start = extension_start(fixed);
    let profile = u16_at(packet, start)?;
    // The two-byte form's lowest four bits are the application's ("appbits").
    let two_byte = profile & 0xfff0 == TWO_BYTE_PROFILE;
    if !two_byte && profile != ONE_BYTE_PROFILE {
        return None;
    }
    Some(Extensions { block: packet.get(start + 4..header.len)?, two_byte })
}

/// Iterator over header extension elements, see [`extensions`].
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    block: &'a [u8],
    two_byte: bool,
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while let [0, rest @ ..] = self.block {
            self.block = rest;
        }
        let element =
            if self.two_byte { two_byte_element(self.block) } else { one_byte_element(self.block) };
        let Some((id, value, rest)) = element else {
            self.block = &[];
            return None;
        };
        self.block = rest;
        Some((id, value))
    }
}

type Element<'a> = (u8, &'a [u8], &'a [u8]);

fn one_byte_element(block: &[u8]) -> Option<Element<'_>> {
    let (&first, rest) = block.split_first()?;
    let id = first >> 4;
    // RFC 8285 §4.2: id 15, and id 0 with a length, end the processing of the whole block.
    if id == 0 || id == 15 {
        return None;
    }
    let (value, rest) = rest.split_at_checked(usize::from(first & 0x0f) + 1)?;
    Some((id, value, rest))
}

fn two_byte_element(block: &[u8]) -> Option<Element<'_>> {
    let (&[id, len], rest) = block.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(usize::from(len))?;
    Some((id, value, rest))
}

/// The payload of a decrypted packet without its padding (RFC 3550 §5.1). `None` if the padding
/// count is zero or larger than what follows the header.
pub fn payload<'a>(header: &Header, plaintext: &'a [u8]) -> Option<&'a [u8]> {
    let body = plaintext.get(header.len..)?;
    if !header.has_padding {
        return Some(body);
    }
    let padding = usize::from(*body.last()?);
    if padding == 0 {
        return None;
    }
    body.get(..body.len().checked_sub(padding)?)
}

/// Where the extension would start: after the CSRCs.
fn extension_start(fixed: &[u8; FIXED_HEADER_LEN]) -> usize {
    FIXED_HEADER_LEN + usize::from(fixed[0] & 0x0f) * 4
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: [u8; 14] = [0x80, 0xe0, 0x12, 0x34, 0, 0, 0, 9, 0xca, 0xfe, 0xba, 0xbe, 1, 2];

    fn with_block(profile: u16, block: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        packet.extend_from_slice(&profile.to_be_bytes());
        packet.extend_from_slice(&((block.len() / 4) as u16).to_be_bytes());
        packet.extend_from_slice(block);
        packet
    }

    #[test]
    fn fixed_header_fields_are_where_rfc_3550_puts_them() {
        let header = Header::parse(&PLAIN).unwrap();
        let expected = Header {
            marker: true,
            payload_type: 96,
            sequence: 0x1234,
            timestamp: 9,
            ssrc: 0xcafe_babe,
            len: 12,
            has_padding: false,
        };
        assert_eq!(header, expected);
        assert_eq!(payload(&header, &PLAIN), Some(&[1, 2][..]));
    }

    #[test]
    fn csrcs_and_extension_count_into_the_length() {
        let mut packet = vec![0x92, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        packet.extend_from_slice(&[0; 8]);
        packet.extend_from_slice(&[0xbe, 0xde, 0, 1, 0x20, 0xaa, 0, 0, 7]);
        let header = Header::parse(&packet).unwrap();
        assert_eq!(header.len, 28);
        assert_eq!(extension(&packet, 2), Some(&[0xaa][..]));
        assert_eq!(payload(&header, &packet), Some(&[7][..]));
    }

    #[test]
    fn header_that_reaches_beyond_the_packet_is_refused() {
        for len in 0..12 {
            assert_eq!(Header::parse(&PLAIN[..len]), None);
        }
        let mut version_1 = PLAIN;
        version_1[0] = 0x40;
        assert_eq!(Header::parse(&version_1), None);
        let mut one_csrc_too_many = PLAIN;
        one_csrc_too_many[0] = 0x81;
        assert_eq!(Header::parse(&one_csrc_too_many), None);
        let packet = with_block(ONE_BYTE_PROFILE, &[0x10, 1, 0, 0]);
        for len in 12..packet.len() {
            assert_eq!(Header::parse(&packet[..len]), None);
        }
    }

    #[test]
    fn one_byte_elements_are_found_between_padding() {
        let packet = with_block(ONE_BYTE_PROFILE, &[0x10, 0xaa, 0, 0, 0x21, 1, 2, 0]);
        assert_eq!(extension(&packet, 1), Some(&[0xaa][..]));
        assert_eq!(extension(&packet, 2), Some(&[1, 2][..]));
        assert_eq!(extension(&packet, 3), None);
        assert_eq!(extensions(&packet).count(), 2);
    }

    #[test]
    fn id_15_and_a_long_id_0_end_the_one_byte_block() {
        for end in [0xf0, 0x01] {
            let packet = with_block(ONE_BYTE_PROFILE, &[0x10, 9, end, 0x30, 0x40, 1, 0, 0]);
            assert_eq!(extensions(&packet).collect::<Vec<_>>(), [(1, &[9][..])]);
        }
    }

    #[test]
    fn element_longer_than_its_block_is_not_returned() {
        // The packet has payload after the block, which a lax parser would hand out.
        let mut packet = with_block(ONE_BYTE_PROFILE, &[0x13, 1, 2, 3]);
        packet.extend_from_slice(&[4; 20]);
        assert_eq!(extension(&packet, 1), None);
        let mut packet = with_block(TWO_BYTE_PROFILE, &[1, 3, 1, 2]);
        packet.extend_from_slice(&[4; 20]);
        assert_eq!(extension(&packet, 1), None);
    }

    #[test]
    fn two_byte_elements_may_be_empty_and_have_large_ids() {
        let packet = with_block(TWO_BYTE_PROFILE | 5, &[200, 0, 0, 15, 2, 8, 9, 0]);
        assert_eq!(extension(&packet, 200), Some(&[][..]));
        assert_eq!(extension(&packet, 15), Some(&[8, 9][..]));
        assert_eq!(extension(&with_block(0x1234, &[0x10, 1, 0, 0]), 1), None);
    }

    #[test]
    fn padding_is_removed_and_must_lie_within_the_payload() {
        let mut packet = PLAIN;
        packet[0] |= PADDING_BIT;
        let header = Header::parse(&packet).unwrap();
        assert_eq!(payload(&header, &packet), Some(&[][..]));
        packet[13] = 1;
        assert_eq!(payload(&header, &packet), Some(&[1][..]));
        for count in [0, 3, 255] {
            packet[13] = count;
            assert_eq!(payload(&header, &packet), None);
        }
        assert_eq!(payload(&header, &packet[..12]), None);
        assert_eq!(payload(&header, &packet[..5]), None);
    }

    #[test]
    fn written_length_depends_on_ids_and_lengths_alone() {
        let mut one = Vec::new();
        let header = Header { sequence: 1, ..Header::default() };
        let len = header.write(&mut one, &[(1, &[0; 3]), (14, &[0; 16])]);
        let mut other = vec![0xff; 5];
        let header = Header { marker: true, sequence: 0xffff, ..Header::default() };
        assert_eq!(header.write(&mut other, &[(1, &[255; 3]), (14, &[255; 16])]), len);
        assert_eq!(len, 12 + 4 + 24);
        assert_eq!(one.len(), len);
        assert_eq!(header.write(&mut one, &[]), 12);
    }

    proptest! {
        #[test]
        fn written_header_parses_to_the_same(
            marker: bool, payload_type in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
            has_padding: bool,
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=16), 0..=14),
        ) {
            let header =
                Header { marker, payload_type, sequence, timestamp, ssrc, len: 0, has_padding };
            let elements: Vec<(u8, &[u8])> =
                values.iter().enumerate().map(|(i, v)| (i as u8 + 1, &v[..])).collect();
            let mut packet = Vec::new();
            let len = header.write(&mut packet, &elements);
            prop_assert_eq!(Header::parse(&packet), Some(Header { len, ..header }));
            prop_assert_eq!(extensions(&packet).collect::<Vec<_>>(), elements);
        }

        #[test]
        fn random_bytes_never_panic(
            mut packet in prop::collection::vec(any::<u8>(), 0..80),
            valid_start: bool, one_byte: bool, id: u8,
        ) {
            if valid_start && packet.len() >= 16 {
                packet[0] = 0x90;
                let profile = if one_byte { ONE_BYTE_PROFILE } else { TWO_BYTE_PROFILE };
                packet[12..14].copy_from_slice(&profile.to_be_bytes());
                packet[14] = 0;
                packet[15] %= 16;
            }
            let _ = extension(&packet, id);
            prop_assert!(extensions(&packet).count() <= packet.len());
            if let Some(header) = Header::parse(&packet) {
                prop_assert!(header.len <= packet.len());
                let _ = payload(&header, &packet);
            }
        }
    }
}
