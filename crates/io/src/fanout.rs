//! What one packet to one viewer costs a host, and what the machine itself allows: `lllsi bench fanout`.
//!
//! The host is the one that programs run: its machine, its net thread, its sockets. Viewers are real ones too, in another
//! process; they take packets and report, and drop what arrives.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lllsi_core::client::{self, Client, Entry};
use lllsi_core::host::{self, Host};
use lllsi_core::seal::HostIdentity;
use lllsi_core::{Certificate, CodedFrame};
use lllsi_proto::h264::{FrameInfo, packetize};
use lllsi_proto::invite::Invite;
use lllsi_rtc::rtp::Header;
use lllsi_rtc::srtp;

use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};

use crate::peer::{self, Ends, Inlet, Nudge, Outbox, Overflow, Peer};
use crate::socket::{Endpoint, Received};
use crate::{Error, local_addresses, random};

pub use lllsi_rtc::srtp::Profile;

/// Full packets of one frame.
pub const BURST: usize = 14;
/// Bytes of a packet in the bare measurements, as on the wire.
const PACKET_BYTES: usize = 1200;
/// RTP payload of a full packet, and of what a fragment of a NAL unit holds of it.
const PAYLOAD_BYTES: usize = 1160;
const FRAGMENT_BYTES: usize = PAYLOAD_BYTES - 2;
/// Rounds of the bare measurements.
const ROUNDS: usize = 20_000;

/// A host that sends what it is told to.
pub struct Publisher {
    peer: Peer<Host>,
    connected: Arc<AtomicU32>,
    frame: Arc<Vec<u8>>,
    number: u32,
}

impl Publisher {
    /// Opens a room at a server of this machine.
    ///
    /// # Errors
    /// [`Error`] if the system refuses sockets, threads or randomness.
    pub fn start(server: &str, max_viewers: u32) -> Result<(Self, Invite), Error> {
        let identity = HostIdentity::from_random(random()?);
        let invite = Invite {
            server: server.to_owned(),
            room: identity.room(),
            host_key: identity.public_key(),
            secret: identity.secret,
            certificate: None,
        };
        let random_seed = random()?;
        let make = move |port| {
            let config = host::Config {
                identity,
                locals: local_addresses(port, true),
                certificate: Certificate::generate(),
                random_seed,
                lobby: false,
                max_viewers,
                terms: Default::default(),
                room: None,
                max_bitrate: u32::MAX,
            };
            Host::new(Instant::now(), config)
        };
        let connected = Arc::new(AtomicU32::new(0));
        let rendezvous = peer::Rendezvous { url: server.to_owned(), certificate: None };
        let peer = peer::spawn(rendezvous, make, ends(Count(Arc::clone(&connected))))?;
        let parameters = [0, 0, 0, 1, 0x67, 66, 0, 31, 0, 0, 0, 1, 0x68, 206, 0, 0, 0, 1, 0x65];
        let frame = [&parameters[..], &[1; BURST * FRAGMENT_BYTES]].concat();
        Ok((Self { peer, connected, frame: Arc::new(frame), number: 0 }, invite))
    }

    /// Viewers that have connected so far.
    pub fn connected(&self) -> u32 {
        self.connected.load(Ordering::Relaxed)
    }

    /// Packets of one frame to one viewer: [`BURST`] full ones, and a small one with what is known of the frame.
    pub fn packets(&self) -> usize {
        packetize(&self.frame, &FrameInfo::default(), PAYLOAD_BYTES).len()
    }

    /// Sends a frame to all viewers. `false` if the host is gone.
    pub fn send(&mut self) -> bool {
        self.number += 1;
        let now = Instant::now();
        let info = FrameInfo { number: self.number, ..FrameInfo::default() };
        let data = Arc::clone(&self.frame);
        self.peer.act(host::Action::Send(CodedFrame {
            data,
            keyframe: true,
            captured_at: now,
            encoded_at: now,
            info,
        }))
    }

    /// Says goodbye to all viewers.
    pub fn close(mut self) {
        self.peer.act(host::Action::Close);
        self.peer.join();
    }
}

/// Viewers that drop what they get, and sockets that datagrams may be thrown at.
pub struct Sinks {
    _viewers: Vec<Peer<Client>>,
    drains: Vec<SocketAddr>,
}

impl Sinks {
    /// Begins to join with so many viewers. They end with the process.
    ///
    /// # Errors
    /// [`Error`] if the system refuses sockets, threads or randomness.
    pub fn start(invite: &Invite, viewers: u32) -> Result<Self, Error> {
        let mut peers = Vec::new();
        for number in 0..viewers {
            let (random_seed, entry) = (random()?, Entry::from(invite));
            let make = move |port| {
                let config = client::Config {
                    entry,
                    name: format!("sink {number}"),
                    locals: local_addresses(port, true),
                    certificate: Certificate::generate(),
                    random_seed,
                    patience: Duration::ZERO,
                };
                Client::new(Instant::now(), config)
            };
            let rendezvous = peer::Rendezvous { url: invite.server.clone(), certificate: None };
            peers.push(peer::spawn(rendezvous, make, ends(Drop))?);
        }
        let drains = (0..viewers.min(64)).map(|_| drain()).collect::<Result<_, _>>()?;
        Ok(Self { _viewers: peers, drains })
    }

    /// Where datagrams are read and dropped.
    pub fn drains(&self) -> &[SocketAddr] {
        &self.drains
    }
}

fn drain() -> Result<SocketAddr, Error> {
    let thread = |source| Error::Thread { name: "drain", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(thread)?;
    let endpoint = runtime.block_on(async { Endpoint::bind() }).map_err(Error::Socket)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, endpoint.local().port()));
    let read = move || runtime.block_on(read(endpoint));
    std::thread::Builder::new().name("drain".into()).spawn(read).map_err(thread)?;
    Ok(address)
}

async fn read(mut endpoint: Endpoint) {
    while endpoint.readable().await.is_ok() {
        while let Ok(Received::Some) = endpoint.receive(|_, _, _| ()) {}
    }
}

fn ends<A, O>(outbox: O) -> Ends<A, O, Nothing> {
    Ends { outbox, on_overflow: None, inlet: Nothing, nudge: Nudge::default() }
}

struct Nothing;

impl<A> Inlet<A> for Nothing {
    fn take(&mut self) -> Option<A> {
        None
    }
}

struct Count(Arc<AtomicU32>);

impl Outbox<host::Event> for Count {
    fn put(&mut self, event: host::Event) -> Result<(), Overflow> {
        if let host::Event::ViewerConnected { .. } = event {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

struct Drop;

impl Outbox<client::Event> for Drop {
    fn put(&mut self, _: client::Event) -> Result<(), Overflow> {
        Ok(())
    }
}

// --- The machine itself ---

/// Processor time of this process's threads of a name, or of the calling thread. Linux counts it in nanoseconds.
///
/// # Errors
/// [`Error::Load`] where the system does not tell.
pub fn processor_time(thread: Option<&str>) -> Result<Duration, Error> {
    let unknown = |detail: String| Error::Load { detail };
    let read = |path: &str| {
        std::fs::read_to_string(path).map_err(|error| unknown(format!("{path}: {error}")))
    };
    let time = |path: &str| -> Result<u64, Error> {
        let text = read(path)?;
        let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
        first.ok_or_else(|| unknown(format!("{path}: no number in it")))
    };
    let Some(name) = thread else {
        return time("/proc/thread-self/schedstat").map(Duration::from_nanos);
    };
    let tasks = std::fs::read_dir("/proc/self/task");
    let tasks = tasks.map_err(|error| unknown(format!("/proc/self/task: {error}")))?;
    let mut sum = 0;
    for task in tasks.flatten() {
        let path = task.path().display().to_string();
        if read(&format!("{path}/comm")).is_ok_and(|comm| comm.trim() == name) {
            sum += time(&format!("{path}/schedstat"))?;
        }
    }
    Ok(Duration::from_nanos(sum))
}

/// Microseconds of processor time to seal one packet of 1,200 bytes, with so many keys in turn, 14 packets with each.
///
/// # Errors
/// [`Error::Load`] where the system does not tell processor times.
pub fn bare_seal(profile: Profile, keys: usize) -> Result<f64, Error> {
    let keying = |n: usize| vec![n as u8; profile.keying_material_len()];
    let mut sealers: Vec<_> = (0..keys.max(1))
        .map(|n| srtp::sessions(profile, &keying(n), true).expect("the length is right").0)
        .collect();
    let payload = [7; PACKET_BYTES - 12 - 16];
    let mut buffer = Vec::with_capacity(BURST * PACKET_BYTES);
    let (bursts, began) = (ROUNDS / BURST, processor_time(None)?);
    for burst in 0..bursts {
        let (round, turn) = (burst / sealers.len(), burst % sealers.len());
        buffer.clear();
        for n in 0..BURST {
            let index = (round * BURST + n) as u64;
            let header = Header { sequence: index as u16, ssrc: 1, ..Header::default() };
            let start = buffer.len();
            let len = header.write(&mut buffer, &[]);
            buffer.extend_from_slice(&payload);
            sealers[turn].seal_rtp(&mut buffer, start, len, 1, index);
        }
        std::hint::black_box(&buffer);
    }
    each(began, bursts * BURST)
}

/// Microseconds of processor time to send one packet of 1,200 bytes to these sockets in turn: 14 in one call (GSO), or each
/// by itself.
///
/// # Errors
/// [`Error::Socket`]; [`Error::Load`] where the system does not tell processor times.
pub fn bare_send(drains: &[SocketAddr], in_batches: bool) -> Result<f64, Error> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::Socket)?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket)).map_err(Error::Socket)?;
    let contents = vec![7; BURST * PACKET_BYTES];
    let calls = if in_batches { ROUNDS / BURST } else { ROUNDS };
    let began = processor_time(None)?;
    for (call, destination) in (0..calls).zip(drains.iter().cycle()) {
        let transmit = Transmit {
            destination: *destination,
            ecn: None,
            contents: if in_batches { &contents } else { &contents[..PACKET_BYTES] },
            segment_size: in_batches.then_some(PACKET_BYTES),
            src_ip: None,
        };
        // A full buffer at the other end is no error here, and neither is a full one at this.
        let _ = state.try_send(UdpSockRef::from(&socket), &transmit);
        if call % 64 == 63 {
            // Those that read share the processors.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let packets = if in_batches { calls * BURST } else { calls };
    each(began, packets)
}

fn each(began: Duration, packets: usize) -> Result<f64, Error> {
    let took = processor_time(None)?.saturating_sub(began);
    Ok(took.as_secs_f64() * 1e6 / packets as f64)
}
