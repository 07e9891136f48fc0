use super::split_u32;

/// Bytes of one report block.
pub(super) const BLOCK_LEN: usize = 24;

/// The sender's part of a sender report (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// The SSRC of the sender.
    pub sender: u32,
    /// The wall clock when the report was sent: seconds since 1900 in units of 2^-32 s.
    pub ntp: u64,
    /// The same instant in the units of the sender's RTP timestamps.
    pub timestamp: u32,
    /// RTP packets sent so far.
    pub packets: u32,
    /// Payload bytes sent so far, without headers and padding.
    pub octets: u32,
}

impl SenderInfo {
    pub(super) fn parse(body: &[u8]) -> Option<(Self, &[u8])> {
        let (sender, rest) = split_u32(body)?;
        let (ntp, rest) = rest.split_first_chunk()?;
        let (timestamp, rest) = split_u32(rest)?;
        let (packets, rest) = split_u32(rest)?;
        let (octets, rest) = split_u32(rest)?;
        Some((
            SenderInfo { sender, ntp: u64::from_be_bytes(*ntp), timestamp, packets, octets },
            rest,
        ))
    }
}

/// What a receiver reports of one source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source that is reported on.
    pub ssrc: u32,
    /// Packets lost since the last report, in 1/256 of those expected.
    pub fraction_lost: u8,
    /// Packets lost in all; negative if duplicates arrived. The wire has 24 bits, and the writer
    /// clamps to them.
    pub cumulative_lost: i32,
    /// The low 32 bits of the highest packet index received, see [`crate::rtp::Unwrapper`].
    pub highest_sequence: u32,
    /// The variation of arrival times in timestamp units.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time in the source's last sender report, or 0.
    pub last_report: u32,
    /// The time since that report arrived, in 1/65,536 s, or 0.
    pub delay: u32,
}

impl ReportBlock {
    fn parse(block: &[u8; BLOCK_LEN]) -> Self {
        let word = |at: usize| {
            u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        ReportBlock {
            ssrc: word(0),
            fraction_lost: block[4],
            // Shifting the fraction out and back extends the sign of the 24 bits.
            cumulative_lost: (word(4) << 8) as i32 >> 8,
            highest_sequence: word(8),
            jitter: word(12),
            last_report: word(16),
            delay: word(20),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let lost = self.cumulative_lost.clamp(-(1 << 23), (1 << 23) - 1) as u32 & 0x00ff_ffff;
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&(u32::from(self.fraction_lost) << 24 | lost).to_be_bytes());
        out.extend_from_slice(&self.highest_sequence.to_be_bytes());
        out.extend_from_slice(&self.jitter.to_be_bytes());
        out.extend_from_slice(&self.last_report.to_be_bytes());
        out.extend_from_slice(&self.delay.to_be_bytes());
    }
}

/// Iterator over the report blocks of a report, 31 at most.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    blocks: std::slice::Iter<'a, [u8; BLOCK_LEN]>,
}

impl<'a> Blocks<'a> {
    /// What follows the blocks is a profile's extension (RFC 3550 §6.4.3), of which WebRTC has none.
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let (blocks, _) = body.as_chunks();
        Some(Blocks { blocks: blocks.get(..usize::from(count))?.iter() })
    }
}

impl Iterator for Blocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        self.blocks.next().map(ReportBlock::parse)
    }
}
