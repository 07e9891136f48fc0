//! What one packet to one viewer costs a host: the loop that ships, over real sockets, with viewers in another process whose
//! feedback comes in, beside the least that it can cost.

mod bare;
mod meter;
mod sinks;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use lllsi_core::host::{self, Action, Event, Host};
use lllsi_core::seal::HostIdentity;
use lllsi_core::{Certificate, CodedFrame};
use lllsi_proto::h264::{FrameInfo, PREFIX_BYTES};
use lllsi_proto::invite::Invite;
use lllsi_rtc::srtp::Profile;

use crate::peer::{self, Ends, Inlet, Nudge, Outbox, Overflow, Peer};
use bare::{Sealers, Sender, each, pace};
use meter::Thread;
use sinks::{Ready, Tally};

/// A full packet: header, extensions, payload and tag.
const PACKET_BYTES: usize = 1200;
/// RTP payload of a full packet, as hosts make them.
const PAYLOAD_BYTES: usize = 1148;
/// Packets of a frame, all of them full. A keyframe has a small one before them.
const BURST_PACKETS: usize = 14;
/// Viewers that join at once.
const JOINING: usize = 8;
/// For one viewer to join, and the first word of the other process.
const PATIENCE: Duration = Duration::from_secs(30);
/// After all have joined: first pings are frequent, and lookups end.
const SETTLE: Duration = Duration::from_secs(3);
/// After frames were sent: they arrive, and are reported.
const ARRIVE: Duration = Duration::from_millis(150);
/// Each thing is measured so often, in turn: other load on the machine meets all of them alike. The median counts.
const ROUNDS: u32 = 5;
/// Bit rate of the stream that `viewers_per_core` counts viewers of, bit/s.
const STREAM: f64 = 4e6;

/// What is to be measured.
#[derive(Debug)]
pub struct Config {
    /// Viewers.
    pub viewers: u32,
    /// How long frames are sent, in all.
    pub time: Duration,
    /// Frames that each viewer gets in a second.
    pub fps: f64,
    /// Starts the process that calls [`sinks`] for as many viewers.
    pub sinks: Command,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// All viewers are connected, after so long.
    Connected(Duration),
    /// Frames are sent from now on: so many packets in a second to all viewers.
    Sending(f64),
}

/// What was measured. Microseconds are processor time.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Viewers.
    pub viewers: u32,
    /// Frames sent to each of them in a second.
    pub fps: f64,
    /// Packets sent to all of them.
    pub packets: u64,
    /// Frames sent to all of them.
    pub frames: u64,
    /// Those that arrived whole.
    pub arrived: u64,
    /// Packets that were missing when a later one came.
    pub missed: u64,
    /// The host's net thread, for each packet.
    pub us_per_packet: f64,
    /// The same in each round.
    pub rounds: Vec<f64>,
    /// Memory of the host for each viewer.
    pub kb_per_viewer: f64,
    /// The net thread for each link in a second in which nothing is sent.
    pub idle_us_per_link_second: f64,
    /// Sealing a packet, AES-GCM with keys of 256 bits: what links of this library agree on.
    pub bare_seal_us: f64,
    /// Sealing a packet, AES in counter mode with HMAC-SHA1.
    pub seal_cm_us: f64,
    /// Handing a packet to the kernel, a burst at a time.
    pub bare_gso_us: f64,
    /// Handing a packet to the kernel by itself.
    pub bare_sendto_us: f64,
}

impl Figures {
    /// How many times the least that it can cost.
    pub fn ratio(&self) -> f64 {
        self.us_per_packet / (self.bare_seal_us + self.bare_gso_us)
    }

    /// Viewers of a stream of 4 Mbit/s that one core could serve.
    pub fn viewers_per_core(&self) -> f64 {
        1e6 / (self.us_per_packet * STREAM / (PACKET_BYTES * 8) as f64)
    }

    /// What [`Self::us_per_packet`] would be with the other profile, by the difference of sealing alone: links of this library
    /// agree on AES-GCM.
    pub fn us_per_packet_cm_estimated(&self) -> f64 {
        self.us_per_packet - self.bare_seal_us + self.seal_cm_us
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Socket, thread or server could not be set up.
    #[error(transparent)]
    Shell(#[from] crate::Error),
    /// The system does not tell what a thread has used.
    #[error("this system does not tell the processor time of a thread: {detail}")]
    NoClock {
        /// Why not.
        detail: String,
    },
    /// The kernel cuts no batches apart.
    #[error("this kernel has no segmentation offload for UDP")]
    NoSegmentation,
    /// A socket failed.
    #[error("a socket failed: {0}")]
    Socket(#[source] std::io::Error),
    /// The other process did not start, or does not listen.
    #[error("the process with the viewers cannot be reached: {0}")]
    Pipe(#[source] std::io::Error),
    /// The other process does not do what it is for.
    #[error("the process with the viewers failed: {detail}")]
    Sinks {
        /// How.
        detail: String,
    },
    /// Not all viewers came.
    #[error("{connected} of {viewers} viewers were connected in time")]
    Absent {
        /// Those that came.
        connected: u32,
        /// All.
        viewers: u32,
    },
    /// A viewer left while frames were sent, or the host's session ended.
    #[error("a link ended: {reason}")]
    Ended {
        /// Why.
        reason: String,
    },
    /// A key does not seal.
    #[error("a packet could not be sealed")]
    Keys,
}

/// The process with the viewers: ends with its standard input.
///
/// # Errors
/// [`Error::Shell`] and [`Error::Socket`] for what the system refuses; [`Error::Pipe`] if nobody reads what it says.
pub fn sinks(viewers: u32) -> Result<(), Error> {
    sinks::run(viewers, sinks::lines()?)
}

/// Measures.
///
/// # Errors
/// See [`Error`].
pub fn measure(config: Config, mut progress: impl FnMut(Progress)) -> Result<Figures, Error> {
    let Config { viewers, time, fps, sinks } = config;
    crate::raise_file_limit();
    let (mut sinks, ready) = Sinks::start(sinks)?;
    let (host, link, events, wanted) = start_host(&ready, viewers)?;
    // From now on its thread runs, with its name.
    wait_for_room(&events)?;
    let net = Thread::named("net")?;
    let before = meter::memory()?;
    let began = Instant::now();
    sinks.write(&link)?;
    wait_for_all(viewers, &events)?;
    progress(Progress::Connected(began.elapsed()));

    std::thread::sleep(SETTLE);
    let rested = time.div_f64(2.0).clamp(Duration::from_secs(1), Duration::from_secs(10));
    let idle = net.used()?;
    std::thread::sleep(rested);
    let idle = (net.used()? - idle).div_f64(rested.as_secs_f64());

    progress(Progress::Sending(fps * f64::from(viewers) * BURST_PACKETS as f64));
    let sender = Sender::new(&ready.ports)?;
    let mut gcm = Sealers::new(Profile::AeadAes256Gcm, viewers)?;
    let mut cm = Sealers::new(Profile::Aes128CmSha1_80, viewers)?;
    let mut rounds = [const { Vec::new() }; 5];
    let (mut number, mut packets, mut memory) = (0, 0, 0);
    let part = time / ROUNDS;
    wanted.store(true, Ordering::Relaxed);
    for _ in 0..ROUNDS {
        let (used, sent) = (net.used()?, packets);
        pace(fps, part, || {
            let is_keyframe = wanted.swap(false, Ordering::Relaxed);
            number += 1;
            packets += viewers * (BURST_PACKETS as u32 + u32::from(is_keyframe));
            host.act(Action::Send(frame(number, is_keyframe)))
        });
        std::thread::sleep(ARRIVE);
        let used = net.used()? - used;
        memory = memory.max(meter::memory()?);
        let measured = [
            each(used, packets - sent),
            gcm.measure(fps, part / 4)?,
            sender.measure_batches(fps, part / 2)?,
            sender.measure_singles(fps, part / 4)?,
            cm.measure(fps, part / 4)?,
        ];
        rounds.iter_mut().zip(measured).for_each(|(all, one)| all.push(one));
    }
    let tally = sinks.tally()?;
    has_none_left(&events)?;
    end(host);
    let [real, ..] = &rounds;
    let real = real.clone();
    let [us_per_packet, bare_seal_us, bare_gso_us, bare_sendto_us, seal_cm_us] = rounds.map(median);
    Ok(Figures {
        viewers,
        fps,
        packets: u64::from(packets),
        frames: u64::from(number * viewers),
        arrived: tally.frames,
        missed: tally.missed,
        us_per_packet,
        rounds: real,
        kb_per_viewer: memory.saturating_sub(before) as f64 / f64::from(viewers) / 1000.0,
        idle_us_per_link_second: each(idle, viewers),
        bare_seal_us,
        seal_cm_us,
        bare_gso_us,
        bare_sendto_us,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A slice that fills the packets of a burst; a keyframe has parameter sets before it.
fn frame(number: u32, keyframe: bool) -> CodedFrame {
    const SETS: [u8; 16] = [0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80];
    let mut data = if keyframe { SETS.to_vec() } else { Vec::new() };
    data.extend([0, 0, 0, 1, if keyframe { 0x65 } else { 0x41 }]);
    // Each fragment has two bytes of its own, and the first of a frame leaves room for the information.
    let room = if keyframe { 0 } else { PREFIX_BYTES };
    data.resize(data.len() + BURST_PACKETS * (PAYLOAD_BYTES - 2) - room, 0xb7);
    let now = Instant::now();
    let info = FrameInfo { number, ..FrameInfo::default() };
    let data = Arc::new(data);
    CodedFrame { layer: host::LayerId(0), data, keyframe, captured_at: now, encoded_at: now, info }
}

// --- The host ---

/// Nothing comes in but what is handed in.
struct Nothing;

impl<A> Inlet<A> for Nothing {
    fn take(&mut self) -> Option<A> {
        None
    }
}

/// Tells who comes and goes, and whether a keyframe is wanted.
struct Told(SyncSender<Event>, Arc<AtomicBool>);

impl Outbox<Event> for Told {
    fn put(&mut self, event: Event) -> Result<(), Overflow> {
        match event {
            Event::RoomOpen
            | Event::ViewerConnected { .. }
            | Event::ViewerLeft { .. }
            | Event::Refused(_)
            | Event::Closed(_) => self.0.try_send(event).map_err(|_| Overflow),
            Event::KeyframeWanted(_) => {
                self.1.store(true, Ordering::Relaxed);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

type Started = (Peer<Host>, String, Receiver<Event>, Arc<AtomicBool>);

fn start_host(ready: &Ready, viewers: u32) -> Result<Started, Error> {
    let identity = HostIdentity::from_random(crate::random()?);
    let server = format!("http://{}", ready.server);
    let invite = Invite {
        server: server.clone(),
        room: identity.room(),
        host_key: identity.public_key(),
        secret: identity.secret,
        certificate: None,
    };
    let random_seed = crate::random()?;
    let make = move |mut locals: Vec<SocketAddr>| {
        locals.retain(|address| address.ip() == Ipv4Addr::LOCALHOST);
        let config = host::Config {
            identity,
            locals,
            certificate: Certificate::generate(),
            random_seed,
            lobby: false,
            max_viewers: viewers,
            max_bitrate: 100_000_000,
            max_uplink: None,
            layers: 1,
            terms: host::Terms::default(),
            room: None,
        };
        Host::new(Instant::now(), config)
    };
    let (told, events) = sync_channel(2 * viewers as usize + 2);
    let wanted = Arc::new(AtomicBool::new(true));
    let outbox = Told(told, Arc::clone(&wanted));
    let ends = Ends { outbox, on_overflow: None, inlet: Nothing, nudge: Nudge::default() };
    let server = peer::Rendezvous { url: server, certificate: None };
    let host = peer::spawn(server, peer::Place::default(), make, ends)?;
    Ok((host, invite.to_string(), events, wanted))
}

fn wait_for_room(events: &Receiver<Event>) -> Result<(), Error> {
    match events.recv_timeout(PATIENCE) {
        Ok(Event::RoomOpen) => Ok(()),
        other => Err(Error::Ended { reason: format!("{other:?}") }),
    }
}

fn wait_for_all(viewers: u32, events: &Receiver<Event>) -> Result<(), Error> {
    for connected in 0..viewers {
        match events.recv_timeout(PATIENCE) {
            Ok(Event::ViewerConnected { .. }) => {}
            Ok(other) => return Err(Error::Ended { reason: format!("{other:?}") }),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Err(Error::Absent { connected, viewers });
            }
        }
    }
    Ok(())
}

fn has_none_left(events: &Receiver<Event>) -> Result<(), Error> {
    match events.try_recv() {
        Ok(event) => Err(Error::Ended { reason: format!("{event:?}") }),
        Err(_) => Ok(()),
    }
}

fn end(mut host: Peer<Host>) {
    host.act(Action::Close);
    host.join();
}

// --- The other process ---

struct Sinks {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Sinks {
    fn start(mut command: Command) -> Result<(Self, Ready), Error> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(Error::Pipe)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("it is piped");
        let mut sinks = Self { child, stdin, stdout: BufReader::new(stdout) };
        let ready = sinks.read()?;
        Ok((sinks, ready))
    }

    fn write(&mut self, line: &str) -> Result<(), Error> {
        let stdin = self.stdin.as_mut().expect("it is open until this is dropped");
        writeln!(stdin, "{line}").map_err(Error::Pipe)
    }

    fn read<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Error> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).map_err(Error::Pipe)?;
        serde_json::from_str(&line).map_err(|e| Error::Sinks { detail: e.to_string() })
    }

    fn tally(&mut self) -> Result<Tally, Error> {
        self.write("")?;
        self.read()
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        // It ends with its input; if it hangs, it is ended.
        self.stdin = None;
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lllsi_proto::h264::packetize;

    #[test]
    fn a_burst_is_full_packets_after_a_small_one_of_a_keyframe() {
        let lens = |keyframe| -> Vec<_> {
            let frame = frame(1, keyframe);
            packetize(&frame.data, PAYLOAD_BYTES).iter().map(|p| p.len()).collect()
        };
        let mut full = [PAYLOAD_BYTES; BURST_PACKETS];
        let key = lens(true);
        assert!(key[0] < 200 && key[1..] == full, "{key:?}");
        full[0] -= PREFIX_BYTES;
        assert_eq!(lens(false), full);
    }
}
