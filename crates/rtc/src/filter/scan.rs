//! What a packet would do to the association, found out without a change.

use std::time::Instant;

use super::streams::Phase;
use super::window::TSN_WINDOW;
use super::wire::{Chunk, Data, ForwardTsn, Sack, chunk_type, payload_type};
use super::{Filter, MAX_GAPS, MAX_WAITING_MESSAGES, Setup, Verdict, Violation, is_after};

/// Room beyond these bounds for packets that also bring the next TSN.
pub(super) const FILL_BYTES: usize = 64 * 1024;
const FILL_MESSAGES: usize = 256;
const FILL_GAPS: usize = 64;
/// Chunks in flight that SACKs may make the association look up, at once and per second: some
/// 80 ms of a core, and 4 % of one. Each SACK costs the TSNs in its gap blocks and, if it
/// acknowledges nothing cumulatively, all in flight.
pub(super) const SACK_BURST: u64 = 4_000_000;
const SACK_LOOKUPS_PER_SECOND: u64 = 2_000_000;
const MAX_INITS: u8 = 16;
const MAX_COOKIES: u8 = 64;

/// What a packet would add.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) chunks: usize,
    pub(super) controls: u32,
    pub(super) has_data: bool,
    pub(super) is_unreadable: bool,
    pub(super) has_error: bool,
    pub(super) has_abort: bool,
    pub(super) hold_back: bool,
    pub(super) unexpected: bool,
    pub(super) has_cookie: bool,
    pub(super) sack: Option<Sack>,
    pub(super) fills: bool,
    pub(super) whole: usize,
    pub(super) bytes: usize,
    pub(super) runs: usize,
    pub(super) last_tsn: Option<u32>,
}

impl Filter {
    pub(super) fn scan(&self, chunk: &Chunk<'_>, scan: &mut Scan) -> Result<(), Violation> {
        let kind = match chunk {
            Chunk::Data(data) => {
                scan.has_data = true;
                return self.scan_data(data, scan);
            }
            Chunk::Init(_) => {
                let early = !self.established && self.streams_are_untouched();
                scan.unexpected |=
                    self.setup != Setup::Responder || !early || self.inits >= MAX_INITS;
                chunk_type::INIT
            }
            Chunk::InitAck(_) => {
                scan.unexpected |= self.setup != Setup::Initiator || self.window.is_some();
                chunk_type::INIT_ACK
            }
            Chunk::Sack(sack) => {
                scan.sack = Some(*sack);
                chunk_type::SACK
            }
            Chunk::ForwardTsn(forward) => {
                self.scan_forward(forward, scan)?;
                chunk_type::FORWARD_TSN
            }
            Chunk::Reconfig(_) => {
                scan.unexpected |= !self.established;
                chunk_type::RECONFIG
            }
            Chunk::Other(kind) => {
                self.scan_other(*kind, scan)?;
                *kind
            }
        };
        // Each control chunk is answered by a packet of its own, so a packet may hold only one of
        // each kind.
        scan.is_unreadable |= scan.controls & control_bit(kind) != 0;
        scan.controls |= control_bit(kind);
        Ok(())
    }

    fn scan_other(&self, kind: u8, scan: &mut Scan) -> Result<(), Violation> {
        match kind {
            chunk_type::I_DATA | chunk_type::I_FORWARD_TSN => {
                return Err(Violation::NotNegotiated(kind));
            }
            chunk_type::ABORT => scan.has_abort = true,
            chunk_type::ERROR => scan.has_error = true,
            chunk_type::COOKIE_ECHO => {
                scan.has_cookie = true;
                scan.unexpected |= self.setup != Setup::Responder || self.cookies >= MAX_COOKIES;
            }
            chunk_type::COOKIE_ACK => scan.unexpected |= self.setup != Setup::Initiator,
            chunk_type::HEARTBEAT
            | chunk_type::SHUTDOWN
            | chunk_type::SHUTDOWN_ACK
            | chunk_type::SHUTDOWN_COMPLETE => {}
            _ => scan.is_unreadable = true,
        }
        Ok(())
    }

    fn scan_forward(&self, forward: &ForwardTsn<'_>, scan: &mut Scan) -> Result<(), Violation> {
        let Some(window) = self.window.as_ref().filter(|_| self.established) else {
            scan.unexpected = true;
            return Ok(());
        };
        if window.ahead(forward.new_cumulative).is_some() {
            for (id, _) in forward.skipped() {
                self.streams.get(id).ok_or(Violation::UnknownStream(id))?;
            }
        }
        Ok(())
    }

    fn scan_data(&self, data: &Data, scan: &mut Scan) -> Result<(), Violation> {
        let ready = self.established || self.setup == Setup::Initiator || scan.has_cookie;
        let Some(window) = self.window.as_ref().filter(|_| ready) else {
            scan.unexpected = true;
            return Ok(());
        };
        let Some(ahead) = window.ahead(data.tsn) else { return Ok(()) };
        if ahead > TSN_WINDOW {
            scan.hold_back = true;
            return Ok(());
        }
        if window.has(ahead) {
            return Ok(());
        }
        let kind = known_payload_type(data.payload_type)?;
        let next_ssn = match self.streams.get(data.stream) {
            // RFC 8832 section 6: messages are ordered until the ACK of the OPEN has come.
            Some(stream) if stream.phase == Phase::Offered && data.unordered => {
                return Err(Violation::UnknownStream(data.stream));
            }
            Some(stream) => {
                scan.hold_back |= self.is_reset(stream.phase, data);
                stream.next_ssn
            }
            // Chunks that follow a lost OPEN may come before it; whether OPEN was the first is
            // seen when the gap is filled.
            None => {
                let named = self.limits.peer_streams > 0
                    && (data.stream % 2 == 1) == self.limits.peer_is_odd
                    && data.stream != u16::MAX;
                let offered = !data.unordered && (kind == payload_type::DCEP || ahead > 1);
                if !named || !offered {
                    return Err(Violation::UnknownStream(data.stream));
                }
                0
            }
        };
        // Each message before this one takes a TSN, so its SSN cannot be further ahead than its
        // TSN. The association sorts by SSN, and sorting fails if they span half of their range.
        if !data.unordered && u32::from(data.ssn.wrapping_sub(next_ssn)) >= ahead {
            return Err(Violation::BrokenMessage(data.stream));
        }
        let follows = scan.last_tsn == Some(data.tsn.wrapping_sub(1)) || window.has(ahead - 1);
        scan.runs += usize::from(!follows && !window.has(ahead + 1));
        scan.last_tsn = Some(data.tsn);
        scan.fills |= ahead == 1;
        scan.whole += usize::from(data.begins && data.ends);
        scan.bytes += usize::from(data.len);
        Ok(())
    }

    /// Whether `data` was sent on a stream after its reset, before that is complete. The
    /// association would keep it aside, at a cost that grows with the square of what it keeps.
    fn is_reset(&self, phase: Phase, data: &Data) -> bool {
        phase == Phase::Resetting
            || self.reset.as_ref().is_some_and(|reset| {
                is_after(data.tsn, reset.last_tsn) && reset.streams.contains(&data.stream)
            })
    }

    pub(super) fn judge(&mut self, scan: &Scan) -> Result<Verdict, Violation> {
        if scan.has_abort {
            return Ok(Verdict::Lost);
        }
        let inits = control_bit(chunk_type::INIT) | control_bit(chunk_type::INIT_ACK);
        let bundled_init = scan.controls & inits != 0 && scan.chunks > 1;
        if scan.is_unreadable || bundled_init || scan.chunks == 0 {
            self.dropped.malformed += 1;
            return if scan.has_data { Err(Violation::Malformed) } else { Ok(Verdict::Drop) };
        }
        if scan.has_error && scan.chunks > 1 {
            return Ok(Verdict::Lost);
        }
        if scan.unexpected || scan.has_error {
            self.dropped.unexpected += 1;
            return Ok(Verdict::Drop);
        }
        if scan.hold_back || self.is_too_much(scan) {
            self.dropped.held_back += 1;
            return Ok(Verdict::Drop);
        }
        Ok(Verdict::Pass)
    }

    /// A packet with the next TSN helps to get rid of what waits, so it has more room.
    fn is_too_much(&self, scan: &Scan) -> bool {
        let Some(window) = &self.window else { return false };
        if scan.bytes == 0 {
            return false;
        }
        let load = window.load();
        let spare = |room: usize| if scan.fills { room } else { 0 };
        let in_order = load.runs == 0 && scan.fills && scan.runs <= 1;
        let messages = MAX_WAITING_MESSAGES + spare(FILL_MESSAGES);
        let bytes = self.limits.bytes_above_gap() + spare(FILL_BYTES);
        let gaps = MAX_GAPS + spare(FILL_GAPS);
        !in_order
            && ((scan.whole > 0 && load.whole + scan.whole > messages)
                || load.bytes + scan.bytes > bytes
                || (scan.runs > 0 && load.runs + scan.runs > gaps))
    }

    /// A SACK says all that earlier ones said, so one that is dropped is made good by the next.
    pub(super) fn pay_for(&mut self, now: Instant, sack: &Sack, in_flight: u32) -> bool {
        let since = now.saturating_duration_since(*self.refilled.get_or_insert(now));
        let gain = (since.as_micros() as u64).saturating_mul(SACK_LOOKUPS_PER_SECOND) / 1_000_000;
        if gain > 0 {
            self.refilled = Some(now);
            self.sack_lookups = self.sack_lookups.saturating_add(gain).min(SACK_BURST);
        }
        let advances = self.acknowledged.is_none_or(|old| is_after(sack.cumulative, old));
        let idle = if advances { 0 } else { in_flight };
        let paid = self.sack_lookups.checked_sub(u64::from(sack.gap_acked + idle));
        self.sack_lookups = paid.unwrap_or(self.sack_lookups);
        paid.is_some()
    }

    fn streams_are_untouched(&self) -> bool {
        self.window
            .as_ref()
            .is_none_or(|window| window.load().bytes == 0 && window.cumulative() == self.last_reset)
    }
}

fn control_bit(kind: u8) -> u32 {
    match kind {
        chunk_type::RECONFIG => 1 << 16,
        chunk_type::FORWARD_TSN => 1 << 17,
        0..16 => 1 << kind,
        _ => 1 << 18,
    }
}

pub(super) fn known_payload_type(value: u32) -> Result<u8, Violation> {
    match u8::try_from(value) {
        Ok(
            kind @ (payload_type::DCEP
            | payload_type::STRING
            | payload_type::BINARY
            | payload_type::STRING_EMPTY
            | payload_type::BINARY_EMPTY),
        ) => Ok(kind),
        _ => Err(Violation::PayloadType(value)),
    }
}
