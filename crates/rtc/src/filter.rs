//! Inspects SCTP packets before the association sees them, so that a hostile peer cannot make it
//! hold or compute more than a fixed amount.
//!
//! The filter keeps its own copy of the receiver's state (RFC 9260 section 6.2): which TSNs have
//! come, which message is incomplete, which SSN is next. It treats a packet in one of three ways:
//!
//! - **Pass**: the association will accept every chunk in it, and the copy stays exact.
//! - **Drop**: the association does not see it, so it is not acknowledged and the peer sends it
//!   again. This is what happens to chunks too far above a gap: the peer can fill the gap first.
//! - **Violation**: the link ends. This is for what no retransmission could put right.
//!
//! Why each bound is what it is stands at the constants.

mod scan;
pub mod streams;
pub mod window;
pub mod wire;

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests;

use std::time::Instant;

use self::scan::{FILL_BYTES, SACK_BURST, Scan, known_payload_type};
use self::streams::{Messages, Phase, Streams, skip_ssn};
use self::window::{Slot, TSN_WINDOW, Window};
use self::wire::{Chunk, Chunks, Data, ResetRequest, chunk_type};

/// Longest packet. Held chunks keep their packet in memory, so its size is what one held byte can
/// cost; browsers send at most about 1,280 bytes.
pub const MAX_PACKET_BYTES: usize = 2048;
/// Whole messages above a gap. Each costs the association a pass over all of them for every
/// further chunk; a game controller at 1 kHz sends this many in a second.
pub const MAX_WAITING_MESSAGES: usize = 1024;
/// Gap ack blocks that a SACK may need: 4 bytes each, so 540 bytes of SACK.
pub const MAX_GAPS: usize = 128;
/// Bytes that may come on streams this end has closed, until the peer resets them.
pub const MAX_UNREAD_BYTES: usize = 512 * 1024;
/// Fragments beyond those that [`BYTES_PER_FRAGMENT`] allows.
const SPARE_FRAGMENTS: usize = 64;
/// Least average size of fragments. dcSCTP fills packets with fragments from 10 bytes up, which
/// makes two per packet, and a third when the congestion window ends within a packet.
const BYTES_PER_FRAGMENT: usize = 384;

/// How many fragments may wait when the chunks waiting have `bytes` of user data.
pub(crate) fn pending_fragments(bytes: usize) -> usize {
    SPARE_FRAGMENTS + bytes / BYTES_PER_FRAGMENT
}

/// What a peer did that ends the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// DATA or FORWARD TSN for a stream that is neither configured nor opened, or one stream more
    /// than the peer may open.
    #[error("stream {0} is not open")]
    UnknownStream(u16),
    /// More short fragments wait for the rest of their messages than honest peers send.
    #[error("too many fragments")]
    TooManyFragments,
    /// A message longer than [`Limits::max_message`].
    #[error("message on stream {0} is too large")]
    MessageTooLarge(u16),
    /// Fragments or stream sequence numbers that can never make a message (RFC 9260 section 6.9).
    #[error("fragments on stream {0} do not make a message")]
    BrokenMessage(u16),
    /// DATA with a payload protocol identifier that RFC 8831 section 8 does not list.
    #[error("payload protocol identifier {0}")]
    PayloadType(u32),
    /// DATA in a packet that the association cannot read.
    #[error("malformed packet")]
    Malformed,
    /// A packet longer than [`MAX_PACKET_BYTES`].
    #[error("packet of {0} bytes")]
    PacketTooLarge(usize),
    /// A chunk type that was not negotiated: I-DATA, I-FORWARD-TSN (RFC 8260).
    #[error("chunk type {0} was not negotiated")]
    NotNegotiated(u8),
    /// More than [`MAX_UNREAD_BYTES`] on streams that this end has closed.
    #[error("too much data on closed streams")]
    ClosedStream,
    /// A DCEP message that is malformed or comes where none belongs (RFC 8832).
    #[error("DCEP message on stream {0}")]
    Dcep(u16),
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it to the association, and then call [`Filter::commit`].
    Pass,
    /// Do nothing.
    Drop,
    /// The peer ended the association: ABORT, or ERROR together with other chunks.
    Lost,
}

/// How the association is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// This end sends INIT.
    Initiator,
    /// The peer sends INIT.
    Responder,
    /// Both INITs went through signalling; the peer's said `initial_tsn`.
    Snap {
        /// First TSN the peer will use.
        initial_tsn: u32,
    },
}

/// Bounds that depend on the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes.
    pub max_message: usize,
    /// Streams that the peer may open with DCEP.
    pub peer_streams: usize,
    /// Whether the peer's DCEP streams have odd ids: it is the DTLS server (RFC 8832 section 6).
    pub peer_is_odd: bool,
    /// Receive buffer of the association in bytes.
    pub receive_buffer: usize,
}

impl Limits {
    /// Least receive buffer that leaves room above a gap for one message and as much again.
    pub fn least_receive_buffer(max_message: usize) -> usize {
        3 * max_message + MAX_UNREAD_BYTES + FILL_BYTES + MAX_PACKET_BYTES
    }

    /// Bytes above a gap at which packets are dropped. The receive buffer is never exhausted:
    /// the association would drop chunks by a rule of its own, and close itself.
    fn bytes_above_gap(&self) -> usize {
        let reserved = self.max_message + MAX_UNREAD_BYTES + FILL_BYTES + 2 * MAX_PACKET_BYTES;
        self.receive_buffer.saturating_sub(reserved)
    }
}

/// Counts of what was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Packets the association could not have read.
    pub malformed: u64,
    /// Packets with chunks too far above a gap, or for a stream that is being reset.
    pub held_back: u64,
    /// Handshake packets that do not belong to the state of the association, and ERROR.
    pub unexpected: u64,
}

/// The filter of one association.
///
/// ```
/// use lllsi_rtc::filter::{Filter, Limits, Setup, Verdict};
/// let limits = Limits { max_message: 1000, peer_streams: 0, peer_is_odd: true, receive_buffer: 1 << 20 };
/// let mut filter = Filter::new(Setup::Initiator, limits);
/// assert_eq!(filter.check(std::time::Instant::now(), &[0; 12], 0), Ok(Verdict::Drop));
/// ```
#[derive(Debug)]
pub struct Filter {
    setup: Setup,
    limits: Limits,
    established: bool,
    inits: u8,
    cookies: u8,
    window: Option<Window>,
    messages: Messages,
    streams: Streams,
    unread: usize,
    reset: Option<PendingReset>,
    last_reset: u32,
    acknowledged: Option<u32>,
    sack_lookups: u64,
    refilled: Option<Instant>,
    dropped: Dropped,
}

/// A reset that waits for chunks sent before it (RFC 6525 section 5.2.2, E2).
#[derive(Debug)]
struct PendingReset {
    last_tsn: u32,
    streams: Vec<u16>,
}

impl Filter {
    /// A filter for an association that begins.
    pub fn new(setup: Setup, limits: Limits) -> Self {
        let mut filter = Self {
            setup,
            limits,
            established: false,
            inits: 0,
            cookies: 0,
            window: None,
            messages: Messages::default(),
            streams: Streams::default(),
            unread: 0,
            reset: None,
            last_reset: 0,
            acknowledged: None,
            sack_lookups: SACK_BURST,
            refilled: None,
            dropped: Dropped::default(),
        };
        if let Setup::Snap { initial_tsn } = setup {
            filter.begin(initial_tsn);
        }
        filter
    }

    /// To be called when the association is established.
    pub fn established(&mut self) {
        self.established = true;
    }

    /// Lets the peer send on stream `id`.
    pub fn allow(&mut self, id: u16) {
        self.streams.insert(id, Phase::Open);
    }

    /// The DCEP OPEN on stream `id` was read and taken.
    pub fn accept(&mut self, id: u16) {
        if let Some(stream) = self.streams.get_mut(id)
            && stream.phase == Phase::Offered
        {
            stream.phase = Phase::Open;
        }
    }

    /// This end closes stream `id`: what comes on it cannot be read any more.
    pub fn close(&mut self, id: u16) {
        if let Some(stream) = self.streams.get_mut(id)
            && stream.phase != Phase::Resetting
        {
            stream.phase = Phase::Closing;
        }
    }

    /// Stream `id` is reset in both directions, and its id free.
    pub fn release(&mut self, id: u16) {
        let unread = self.streams.get(id).map_or(0, |stream| stream.unread);
        self.unread = self.unread.saturating_sub(unread);
        self.streams.remove(id);
    }

    /// Where stream `id` stands.
    pub fn phase(&self, id: u16) -> Option<Phase> {
        self.streams.get(id).map(|stream| stream.phase)
    }

    /// Highest cumulative TSN that the peer has acknowledged.
    pub fn acknowledged(&self) -> Option<u32> {
        self.acknowledged
    }

    /// The peer's last TSN up to which all has come.
    pub fn cumulative(&self) -> Option<u32> {
        self.window.as_ref().map(Window::cumulative)
    }

    /// What was dropped so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Judges a packet without changing the copy of the receiver's state. `in_flight` is the
    /// number of chunks that this end has sent and the peer has not acknowledged.
    ///
    /// # Errors
    /// The packet ends the link.
    pub fn check(
        &mut self,
        now: Instant,
        packet: &[u8],
        in_flight: u32,
    ) -> Result<Verdict, Violation> {
        if packet.len() > MAX_PACKET_BYTES {
            return Err(Violation::PacketTooLarge(packet.len()));
        }
        let mut scan = Scan::default();
        for chunk in Chunks::new(packet) {
            match chunk {
                Ok(chunk) => self.scan(&chunk, &mut scan)?,
                Err(malformed) => {
                    scan.is_unreadable = true;
                    scan.has_data |= malformed.is_data;
                }
            }
            scan.chunks += 1;
        }
        let verdict = self.judge(&scan)?;
        if let Some(sack) = scan.sack.filter(|_| verdict == Verdict::Pass)
            && !self.pay_for(now, &sack, in_flight)
        {
            self.dropped.held_back += 1;
            return Ok(Verdict::Drop);
        }
        Ok(verdict)
    }

    /// Takes a packet that passed [`Filter::check`] into the copy, before the association handles
    /// it.
    ///
    /// # Errors
    /// The packet ends the link, and must not reach the association.
    pub fn commit(&mut self, packet: &[u8]) -> Result<(), Violation> {
        for chunk in Chunks::new(packet).flatten() {
            match chunk {
                Chunk::Data(data) => self.take_data(&data)?,
                Chunk::Init(init) | Chunk::InitAck(init) => {
                    self.inits = self.inits.saturating_add(1);
                    self.begin(init.initial_tsn);
                }
                Chunk::Other(chunk_type::COOKIE_ECHO) => {
                    self.cookies = self.cookies.saturating_add(1);
                }
                Chunk::Sack(sack) => {
                    if self.acknowledged.is_none_or(|old| is_after(sack.cumulative, old)) {
                        self.acknowledged = Some(sack.cumulative);
                    }
                }
                Chunk::ForwardTsn(forward) => self.take_forward(&forward)?,
                Chunk::Reconfig(Some(request)) => self.take_reset(&request)?,
                Chunk::Reconfig(None) | Chunk::Other(_) => {}
            }
        }
        Ok(())
    }

    fn begin(&mut self, initial_tsn: u32) {
        self.window = Some(Window::new(initial_tsn));
        self.last_reset = initial_tsn.wrapping_sub(1);
    }

    fn take_data(&mut self, data: &Data) -> Result<(), Violation> {
        let Some(window) = &mut self.window else { return Ok(()) };
        let Some(ahead) = window.ahead(data.tsn) else { return Ok(()) };
        if window.has(ahead) {
            return Ok(());
        }
        if ahead > TSN_WINDOW {
            return Err(Violation::BrokenMessage(data.stream));
        }
        let kind = known_payload_type(data.payload_type)?;
        if self.streams.get(data.stream).is_none() {
            if self.streams.by_peer() >= self.limits.peer_streams {
                return Err(Violation::UnknownStream(data.stream));
            }
            self.streams.insert(data.stream, Phase::Offered);
        }
        if let Some(stream) = self.streams.get_mut(data.stream)
            && stream.phase == Phase::Closing
        {
            stream.unread += usize::from(data.len);
            self.unread += usize::from(data.len);
            if self.unread > MAX_UNREAD_BYTES {
                return Err(Violation::ClosedStream);
            }
        }
        window.insert(ahead, Slot::new(data, kind));
        self.advance()?;
        self.check_fragments()
    }

    fn check_fragments(&self) -> Result<(), Violation> {
        let load = self.window.as_ref().map(Window::load).unwrap_or_default();
        if load.fragments > pending_fragments(load.bytes) {
            return Err(Violation::TooManyFragments);
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<(), Violation> {
        self.perform_reset()?;
        while let Some(slot) = self.window.as_mut().and_then(Window::take_next) {
            self.messages.take(slot, &mut self.streams, self.limits.max_message)?;
            self.perform_reset()?;
        }
        Ok(())
    }

    fn take_forward(&mut self, forward: &wire::ForwardTsn<'_>) -> Result<(), Violation> {
        let Some(window) = &mut self.window else { return Ok(()) };
        if window.ahead(forward.new_cumulative).is_none() {
            return Ok(());
        }
        for (id, last_ssn) in forward.skipped() {
            skip_ssn(&mut self.streams, id, last_ssn);
        }
        self.messages.skip_to(forward.new_cumulative, window, &mut self.streams)?;
        self.advance()?;
        self.check_fragments()
    }

    /// A request that was handled before is answered again by the association, and otherwise
    /// ignored; so is one while another waits, and one out of sequence. Streams that are not
    /// there do no harm: a reset may cross one from this end.
    fn take_reset(&mut self, request: &ResetRequest<'_>) -> Result<(), Violation> {
        if self.reset.is_some() || request.sequence != self.last_reset.wrapping_add(1) {
            return Ok(());
        }
        self.last_reset = request.sequence;
        let streams = request.streams().collect();
        self.reset = Some(PendingReset { last_tsn: request.last_tsn, streams });
        self.perform_reset()
    }

    fn perform_reset(&mut self) -> Result<(), Violation> {
        let Some(window) = &self.window else { return Ok(()) };
        let due = |reset: &mut PendingReset| !is_after(reset.last_tsn, window.cumulative());
        let Some(reset) = self.reset.take_if(due) else { return Ok(()) };
        for id in reset.streams {
            if self.messages.open_on() == Some(id) {
                return Err(Violation::BrokenMessage(id));
            }
            if let Some(stream) = self.streams.get_mut(id) {
                stream.phase = Phase::Resetting;
                stream.next_ssn = 0;
                self.unread = self.unread.saturating_sub(std::mem::take(&mut stream.unread));
            }
        }
        Ok(())
    }
}

/// Serial number comparison (RFC 1982) as the association does it.
fn is_after(a: u32, b: u32) -> bool {
    (1..=1 << 31).contains(&a.wrapping_sub(b))
}
