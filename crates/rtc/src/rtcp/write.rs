use super::{
    APPLICATION, BYE, FORMAT_FIR, FORMAT_NACK, FORMAT_PLI, PAYLOAD_FEEDBACK, RECEIVER_REPORT,
    ReportBlock, SENDER_REPORT, SOURCE_DESCRIPTION, SenderInfo, TRANSPORT_FEEDBACK, VERSION,
};

/// The most report blocks of one report: their count has 5 bits.
pub const MAX_REPORT_BLOCKS: usize = 31;
/// The most (PID, BLP) entries of one NACK: 1,024 bytes in all, so that it fits a datagram of
/// 1,200 bytes together with a report, a CNAME and the SRTCP trailer.
pub const MAX_NACK_ENTRIES: usize = 253;
/// The SDES item type of the canonical name (RFC 3550 §6.5.1).
const CNAME: u8 = 1;

/// Appends a receiver report (RFC 3550 §6.4.2) with the first [`MAX_REPORT_BLOCKS`] blocks.
pub fn receiver_report(out: &mut Vec<u8>, sender: u32, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(MAX_REPORT_BLOCKS)];
    let start = begin(out, RECEIVER_REPORT, blocks.len() as u8);
    out.extend_from_slice(&sender.to_be_bytes());
    blocks.iter().for_each(|block| block.write(out));
    finish(out, start);
}

/// Appends a sender report (RFC 3550 §6.4.1) with the first [`MAX_REPORT_BLOCKS`] blocks.
pub fn sender_report(out: &mut Vec<u8>, info: &SenderInfo, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(MAX_REPORT_BLOCKS)];
    let start = begin(out, SENDER_REPORT, blocks.len() as u8);
    out.extend_from_slice(&info.sender.to_be_bytes());
    out.extend_from_slice(&info.ntp.to_be_bytes());
    out.extend_from_slice(&info.timestamp.to_be_bytes());
    out.extend_from_slice(&info.packets.to_be_bytes());
    out.extend_from_slice(&info.octets.to_be_bytes());
    blocks.iter().for_each(|block| block.write(out));
    finish(out, start);
}

/// Appends a source description with the canonical name of `ssrc` (RFC 3550 §6.5.1), which each
/// compound packet has after its report. A name of more than 255 bytes is cut.
pub fn cname(out: &mut Vec<u8>, ssrc: u32, name: &str) {
    let end = (0..=name.len().min(255)).rfind(|end| name.is_char_boundary(*end)).unwrap_or(0);
    let name = &name.as_bytes()[..end];
    let start = begin(out, SOURCE_DESCRIPTION, 1);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&[CNAME, name.len() as u8]);
    out.extend_from_slice(name);
    // RFC 3550 §6.5: at least one zero byte ends the list of items.
    out.push(0);
    while !(out.len() - start).is_multiple_of(4) {
        out.push(0);
    }
    finish(out, start);
}

/// Appends a generic NACK (RFC 4585 §6.2.1) for `lost`, which is sorted in sequence order
/// (across a wrap 65,535 comes before 0), and returns how many of them it holds: fewer than all if
/// they need more than [`MAX_NACK_ENTRIES`] entries. Appends nothing if `lost` is empty.
pub fn nack(out: &mut Vec<u8>, sender: u32, media_ssrc: u32, lost: &[u16]) -> usize {
    if lost.is_empty() {
        return 0;
    }
    let start = begin(out, TRANSPORT_FEEDBACK, FORMAT_NACK);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media_ssrc.to_be_bytes());
    let mut rest = lost;
    for _ in 0..MAX_NACK_ENTRIES {
        let Some((&first, mut following)) = rest.split_first() else { break };
        let mut mask = 0u16;
        while let [next, after @ ..] = following {
            match next.wrapping_sub(first) {
                0 => {}
                distance @ 1..=16 => mask |= 1 << (distance - 1),
                _ => break,
            }
            following = after;
        }
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&mask.to_be_bytes());
        rest = following;
    }
    finish(out, start);
    lost.len() - rest.len()
}

/// Appends a picture loss indication (RFC 4585 §6.3.1).
pub fn pli(out: &mut Vec<u8>, sender: u32, media_ssrc: u32) {
    let start = begin(out, PAYLOAD_FEEDBACK, FORMAT_PLI);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media_ssrc.to_be_bytes());
    finish(out, start);
}

/// Appends a full intra request for one source (RFC 5104 §4.3.1). `number` rises by one for each
/// new request and stays for a repetition.
pub fn fir(out: &mut Vec<u8>, sender: u32, media_ssrc: u32, number: u8) {
    let start = begin(out, PAYLOAD_FEEDBACK, FORMAT_FIR);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&media_ssrc.to_be_bytes());
    out.extend_from_slice(&[number, 0, 0, 0]);
    finish(out, start);
}

/// Appends the end of the first 31 sources (RFC 3550 §6.6).
pub fn bye(out: &mut Vec<u8>, sources: &[u32]) {
    let sources = &sources[..sources.len().min(31)];
    let start = begin(out, BYE, sources.len() as u8);
    sources.iter().for_each(|source| out.extend_from_slice(&source.to_be_bytes()));
    finish(out, start);
}

/// Appends something of the application's own (RFC 3550 §6.7): a name, and data that zeros fill up to whole words. It
/// belongs to no subtype.
pub fn app(out: &mut Vec<u8>, sender: u32, name: [u8; 4], data: &[u8]) {
    let start = begin(out, APPLICATION, 0);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&name);
    out.extend_from_slice(data);
    out.resize(start + (out.len() - start).next_multiple_of(4), 0);
    finish(out, start);
}

/// Appends a packet's first word, whose length [`finish`] fills in, and returns where it starts.
pub(super) fn begin(out: &mut Vec<u8>, packet_type: u8, count: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[VERSION << 6 | count, packet_type, 0, 0]);
    start
}

/// Fills in the length of the packet from `start` to the end of `out`, in words without the first.
pub(super) fn finish(out: &mut [u8], start: usize) {
    let words = ((out.len() - start) / 4 - 1) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}
