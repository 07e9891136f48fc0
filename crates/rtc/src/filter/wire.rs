//! SCTP packets as bytes (RFC 9260 section 3).
//!
//! The association behind the filter finds the end of a chunk by adding up what it understood of
//! it, not by the length field. A chunk whose length field says more than its contents would make
//! the association read the surplus as further chunks that the filter never saw. So this parser
//! takes only chunks whose contents fill them exactly.

/// Bytes of the common header (RFC 9260 section 3.1).
pub const HEADER_BYTES: usize = 12;
/// Bytes of a DATA chunk's header (RFC 9260 section 3.3.1).
pub const DATA_HEADER_BYTES: usize = 16;

const CHUNK_HEADER_BYTES: usize = 4;
/// Largest receive window a peer may announce in INIT: the association takes it for its slow
/// start threshold, and its congestion window is a `u32` that would overflow above it.
const MAX_WINDOW: u32 = 1 << 30;

/// Chunk types (RFC 9260 section 3.2, RFC 3758, RFC 6525, RFC 8260).
pub mod chunk_type {
    #![allow(missing_docs)]
    pub const DATA: u8 = 0;
    pub const INIT: u8 = 1;
    pub const INIT_ACK: u8 = 2;
    pub const SACK: u8 = 3;
    pub const HEARTBEAT: u8 = 4;
    pub const ABORT: u8 = 6;
    pub const SHUTDOWN: u8 = 7;
    pub const SHUTDOWN_ACK: u8 = 8;
    pub const ERROR: u8 = 9;
    pub const COOKIE_ECHO: u8 = 10;
    pub const COOKIE_ACK: u8 = 11;
    pub const SHUTDOWN_COMPLETE: u8 = 14;
    pub const I_DATA: u8 = 64;
    pub const RECONFIG: u8 = 130;
    pub const FORWARD_TSN: u8 = 192;
    pub const I_FORWARD_TSN: u8 = 194;
}

/// Payload protocol identifiers (RFC 8831 section 8).
pub mod payload_type {
    #![allow(missing_docs)]
    pub const DCEP: u8 = 50;
    pub const STRING: u8 = 51;
    pub const BINARY: u8 = 53;
    pub const STRING_EMPTY: u8 = 56;
    pub const BINARY_EMPTY: u8 = 57;
}

/// A chunk that the association could not read, or would read differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Whether the chunk is DATA or I-DATA.
    pub is_data: bool,
}

/// A chunk, with what the filter looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// DATA (RFC 9260 section 3.3.1).
    Data(Data),
    /// INIT.
    Init(Init),
    /// INIT ACK.
    InitAck(Init),
    /// SACK (RFC 9260 section 3.3.4).
    Sack(Sack),
    /// FORWARD TSN (RFC 3758 section 3.2).
    ForwardTsn(ForwardTsn<'a>),
    /// RE-CONFIG (RFC 6525 section 3.1), with the outgoing reset request in it if there is one.
    Reconfig(Option<ResetRequest<'a>>),
    /// HEARTBEAT, COOKIE ECHO, ABORT and so on, by type: nothing in them concerns the filter.
    Other(u8),
}

/// A DATA chunk's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    /// Transmission sequence number.
    pub tsn: u32,
    /// Stream identifier.
    pub stream: u16,
    /// Stream sequence number.
    pub ssn: u16,
    /// Payload protocol identifier.
    pub payload_type: u32,
    /// The U bit: delivered without regard to order.
    pub unordered: bool,
    /// The B bit: first fragment of a message.
    pub begins: bool,
    /// The E bit: last fragment of a message.
    pub ends: bool,
    /// Bytes of user data, at least 1.
    pub len: u16,
}

/// An INIT or INIT ACK chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// First TSN that the sender will use.
    pub initial_tsn: u32,
}

/// A SACK chunk. Its gap blocks are in ascending order and do not overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sack {
    /// Cumulative TSN.
    pub cumulative: u32,
    /// TSNs in all gap blocks.
    pub gap_acked: u32,
}

/// A FORWARD TSN chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardTsn<'a> {
    /// New cumulative TSN.
    pub new_cumulative: u32,
    skipped: &'a [u8],
}

impl ForwardTsn<'_> {
    /// Streams in which ordered messages were skipped, each with the last skipped SSN.
    pub fn skipped(&self) -> impl Iterator<Item = (u16, u16)> {
        self.skipped.chunks_exact(4).map(|entry| (be16(entry, 0), be16(entry, 2)))
    }
}

/// An Outgoing SSN Reset Request parameter (RFC 6525 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetRequest<'a> {
    /// Re-configuration request sequence number.
    pub sequence: u32,
    /// Last TSN sent before the reset.
    pub last_tsn: u32,
    streams: &'a [u8],
}

impl ResetRequest<'_> {
    /// Streams to be reset, at least one.
    pub fn streams(&self) -> impl Iterator<Item = u16> {
        self.streams.chunks_exact(2).map(|id| be16(id, 0))
    }
}

/// The chunks of a packet. Ends after the first malformed one.
#[derive(Debug, Clone)]
pub struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    /// The chunks of `packet`; none when it is shorter than the common header.
    pub fn new(packet: &'a [u8]) -> Self {
        Self { rest: packet.get(HEADER_BYTES..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<Chunk<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let kind = *self.rest.first()?;
        let chunk = take_tlv(&mut self.rest, 1)
            .and_then(|whole| parse_chunk(kind, whole[1], &whole[CHUNK_HEADER_BYTES..]));
        if chunk.is_none() {
            self.rest = &[];
        }
        let is_data = matches!(kind, chunk_type::DATA | chunk_type::I_DATA);
        Some(chunk.ok_or(Malformed { is_data }))
    }
}

/// Reads a SNAP token (draft-hancke-tsvwg-snap): an INIT chunk without a packet around it, and
/// perhaps without the padding after its last parameter.
pub fn parse_token(token: &[u8]) -> Option<Init> {
    let (&[kind, flags, ..], len) = (token.first_chunk::<4>()?, usize::from(be16(token, 2)));
    let value = token.get(CHUNK_HEADER_BYTES..len)?;
    let padding = &token[len..];
    if kind != chunk_type::INIT || padding.len() > 3 || padding.iter().any(|&byte| byte != 0) {
        return None;
    }
    // The association refuses a first TSN of zero in a token.
    parse_init(flags, value).filter(|init| init.initial_tsn != 0)
}

/// CRC32c of a packet whose checksum field counts as zero (RFC 9260 appendix A). Slow path only.
pub fn checksum(packet: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for (index, &byte) in packet.iter().enumerate() {
        let byte = if (8..HEADER_BYTES).contains(&index) { 0 } else { byte };
        crc = (crc >> 8) ^ CRC_TABLE[usize::from(crc as u8 ^ byte)];
    }
    !crc
}

/// Splits a packet of more than `max` bytes at chunk borders. The association counts neither
/// padding nor the last chunk's header when it bundles small chunks.
pub fn split(packet: &[u8], max: usize, mut emit: impl FnMut(Vec<u8>)) {
    let Some((header, mut rest)) = packet.split_at_checked(HEADER_BYTES) else { return };
    let mut part = header.to_vec();
    while let Some(chunk) = take_tlv(&mut rest, 1) {
        let padded = chunk.len().next_multiple_of(4);
        if part.len() > HEADER_BYTES && part.len() + padded > max {
            emit(sealed(std::mem::replace(&mut part, header.to_vec())));
        }
        part.extend_from_slice(chunk);
        part.resize(part.len().next_multiple_of(4), 0);
    }
    emit(sealed(part));
}

/// Writes the checksum into a packet.
pub fn sealed(mut packet: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&packet);
    if let Some(field) = packet.get_mut(8..HEADER_BYTES) {
        field.copy_from_slice(&sum.to_le_bytes());
    }
    packet
}

/// Takes a chunk (`type_bytes` 1) or parameter (2) and its padding off the front. `None` unless
/// its padding is there; zero padding is demanded after the last, as the association does.
fn take_tlv<'a>(rest: &mut &'a [u8], type_bytes: usize) -> Option<&'a [u8]> {
    let all = *rest;
    if all.len() < CHUNK_HEADER_BYTES {
        return None;
    }
    let len = usize::from(be16(all, 2));
    let padded = len.next_multiple_of(4);
    // The last parameter's padding may belong to the chunk's padding instead.
    let end = if type_bytes == 2 { padded.min(all.len()) } else { padded };
    if len < CHUNK_HEADER_BYTES || len > all.len() || end > all.len() {
        return None;
    }
    if end == all.len() && all[len..end].iter().any(|&byte| byte != 0) {
        return None;
    }
    *rest = &all[end..];
    Some(&all[..len])
}

fn parse_chunk(kind: u8, flags: u8, value: &[u8]) -> Option<Chunk<'_>> {
    let exact = |fits: bool| fits.then_some(Chunk::Other(kind));
    match kind {
        chunk_type::DATA => parse_data(flags, value).map(Chunk::Data),
        chunk_type::INIT => parse_init(flags, value).map(Chunk::Init),
        chunk_type::INIT_ACK => parse_init(flags, value).map(Chunk::InitAck),
        chunk_type::SACK => parse_sack(value).map(Chunk::Sack),
        chunk_type::FORWARD_TSN => {
            let fits = value.len() >= 4 && value.len().is_multiple_of(4);
            fits.then(|| {
                let (new_cumulative, skipped) = (be32(value, 0), &value[4..]);
                Chunk::ForwardTsn(ForwardTsn { new_cumulative, skipped })
            })
        }
        chunk_type::RECONFIG => parse_reconfig(value).map(Chunk::Reconfig),
        chunk_type::HEARTBEAT => exact(
            value.len() >= 4 && be16(value, 0) == 1 && usize::from(be16(value, 2)) == value.len(),
        ),
        chunk_type::SHUTDOWN => exact(value.len() == 4),
        chunk_type::SHUTDOWN_ACK | chunk_type::COOKIE_ACK | chunk_type::SHUTDOWN_COMPLETE => {
            exact(value.is_empty())
        }
        _ => exact(true),
    }
}

fn parse_data(flags: u8, value: &[u8]) -> Option<Data> {
    let len = value.len().checked_sub(DATA_HEADER_BYTES - CHUNK_HEADER_BYTES)?;
    // RFC 9260 section 3.3.1: a DATA chunk without user data is an error.
    if len == 0 {
        return None;
    }
    Some(Data {
        tsn: be32(value, 0),
        stream: be16(value, 4),
        ssn: be16(value, 6),
        payload_type: be32(value, 8),
        unordered: flags & 4 != 0,
        begins: flags & 2 != 0,
        ends: flags & 1 != 0,
        len: u16::try_from(len).ok()?,
    })
}

fn parse_init(flags: u8, value: &[u8]) -> Option<Init> {
    let (fixed, mut rest) = value.split_at_checked(16)?;
    if flags != 0 || be32(fixed, 4) > MAX_WINDOW {
        return None;
    }
    while !rest.is_empty() {
        let parameter = take_tlv(&mut rest, 2)?;
        let len = parameter.len();
        let fits = match be16(parameter, 0) {
            // State cookie, random, chunk list, supported extensions: any length.
            7 | 32_770 | 32_771 | 32_776 => true,
            // Supported address types and HMAC algorithms are lists of two bytes each.
            12 | 32_772 => len.is_multiple_of(2),
            49_152 => len == CHUNK_HEADER_BYTES,
            // RFC 9260 section 3.2.1: unknown ones with the highest bit set are skipped.
            other => other >= 0x8000,
        };
        if !fits {
            return None;
        }
    }
    Some(Init { initial_tsn: be32(fixed, 12) })
}

/// Gap blocks in any order, or overlapping, would let one packet make the association look
/// through all it has in flight some three hundred times.
fn parse_sack(value: &[u8]) -> Option<Sack> {
    let (fixed, lists) = value.split_at_checked(12)?;
    let (gaps, duplicates) = (usize::from(be16(fixed, 8)), usize::from(be16(fixed, 10)));
    if lists.len() != 4 * (gaps + duplicates) {
        return None;
    }
    let (mut end, mut gap_acked) = (0, 0);
    for block in lists.chunks_exact(4).take(gaps) {
        let (first, last) = (be16(block, 0), be16(block, 2));
        if first <= end || last < first {
            return None;
        }
        end = last;
        gap_acked += u32::from(last - first) + 1;
    }
    Some(Sack { cumulative: be32(fixed, 0), gap_acked })
}

/// Takes the combinations of RFC 6525 section 3.1 that the association handles: one request, one
/// response, a response then a request, two responses.
fn parse_reconfig(value: &[u8]) -> Option<Option<ResetRequest<'_>>> {
    let mut rest = value;
    let mut request = None;
    let mut parameters = 0;
    while !rest.is_empty() {
        let parameter = take_tlv(&mut rest, 2)?;
        parameters += 1;
        match (be16(parameter, 0), parameter.len()) {
            (16, 12) if request.is_none() => {}
            (13, len) if request.is_none() && len > 16 && len.is_multiple_of(2) => {
                request = Some(ResetRequest {
                    sequence: be32(parameter, 4),
                    last_tsn: be32(parameter, 12),
                    streams: &parameter[16..],
                });
            }
            _ => return None,
        }
    }
    (1..=2).contains(&parameters).then_some(request)
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};
