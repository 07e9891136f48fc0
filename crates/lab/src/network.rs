//! A machine, others, and a [line](mod@lllsi_sim::line) to each of them: network namespaces, and a forwarder in user space. Needs
//! root.
#![allow(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lllsi_sim::{Line, LineState, Rng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl::{Setter, ioctl};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How soon a dropped network ends.
const LOOK_UP: Duration = Duration::from_millis(100);
/// The most bytes of a packet.
const MTU: usize = 1500;
/// Where an IPv4 header has the last byte of its destination, and what follows it, and TCP's number (RFC 791).
const DESTINATION: usize = 19;
const PROTOCOL: usize = 9;
const TCP: u8 = 6;
/// `TUNSETIFF` of linux/if_tun.h.
const SET_INTERFACE: u32 = 0x4004_54ca;
/// `IFF_TUN | IFF_NO_PI`: IP packets without anything before them.
const PLAIN_PACKETS: u16 = 0x0001 | 0x1000;

/// Which of the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one at whose end all lines begin.
    Near,
    /// One of the others, counted from 0.
    Far(usize),
}

impl Side {
    /// Its address.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 1 + self.number() as u8)
    }

    fn number(self) -> usize {
        match self {
            Self::Near => 0,
            Self::Far(which) => 1 + which,
        }
    }
}

/// Machines with lines between them, until it is dropped.
#[derive(Debug)]
pub struct Network {
    name: String,
    sides: Vec<Side>,
    stop: Arc<AtomicBool>,
    sent: Arc<[AtomicU64]>,
    arrived: Arc<[AtomicU64; 2]>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Makes them. Each far machine has a line from [`Side::Near`], and one back.
    ///
    /// # Panics
    ///
    /// Without root, `ip` or `/dev/net/tun`.
    #[must_use]
    pub fn start(lines: Vec<(Line, Line)>) -> Self {
        let name = format!("lllsi-{}", std::process::id());
        let far = (0..lines.len()).map(Side::Far);
        let sides: Vec<_> = std::iter::once(Side::Near).chain(far).collect();
        let ends = sides.iter().map(|side| machine(&name, *side)).collect();
        let stop = Arc::<AtomicBool>::default();
        let sent: Arc<[AtomicU64]> = sides.iter().map(|_| AtomicU64::default()).collect();
        let arrived = Arc::<[AtomicU64; 2]>::default();
        let now = Instant::now();
        let state = |line| LineState::new(line, now);
        let mut forwarder = Forwarder {
            ends,
            lines: lines.into_iter().map(|(up, down)| [state(up), state(down)]).collect(),
            rng: Rng::new(1),
            waiting: BinaryHeap::new(),
            number: 0,
            sent: Arc::clone(&sent),
            arrived: Arc::clone(&arrived),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || forwarder.run(&stopped));
        Self { name, sides, stop, sent, arrived, thread: Some(thread) }
    }

    /// A program on one of the machines.
    #[must_use]
    pub fn command(&self, side: Side, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &space(&self.name, side)]).arg(program);
        command
    }

    /// A connection from one of the machines to a port of its own.
    ///
    /// # Errors
    ///
    /// If nobody listens there.
    pub fn connect(&self, side: Side, port: u16) -> std::io::Result<TcpStream> {
        let connecting = self.spawn(side, move || TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
        connecting.join().unwrap_or_else(|_| Err(ErrorKind::Other.into()))
    }

    /// A thread on one of the machines: its sockets stay there.
    ///
    /// # Panics
    ///
    /// If it may not move there.
    pub fn spawn<T: Send + 'static>(
        &self,
        side: Side,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let space = format!("/run/netns/{}", space(&self.name, side));
        std::thread::spawn(move || {
            let space = File::open(space).expect("the machine is there");
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("a thread may move");
            work()
        })
    }

    /// Bytes that have arrived from the near machine: over TCP, and otherwise.
    #[must_use]
    pub fn arrived(&self) -> [u64; 2] {
        [0, 1].map(|kind| self.arrived[kind].load(Ordering::Relaxed))
    }

    /// Bytes that this machine has sent into its lines, whether they arrived or not.
    #[must_use]
    pub fn sent(&self, side: Side) -> u64 {
        self.sent[side.number()].load(Ordering::Relaxed)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for side in &self.sides {
            let _ = Command::new("ip").args(["netns", "del", &space(&self.name, *side)]).output();
        }
    }
}

fn space(name: &str, side: Side) -> String {
    format!("{name}-{}", side.number())
}

/// Makes a machine; returns the other end of its network device.
fn machine(name: &str, side: Side) -> File {
    let (space, device) = (space(name, side), format!("lllsi{}", side.number()));
    let _ = Command::new("ip").args(["netns", "del", &space]).output();
    let end = tun(&device);
    let address = format!("{}/24", side.address());
    for words in [
        format!("netns add {space}"),
        format!("link set {device} netns {space}"),
        format!("-n {space} address add {address} dev {device}"),
        format!("-n {space} link set lo up"),
        format!("-n {space} link set {device} mtu {MTU} up"),
        // A browser tells the address with the default route alone.
        format!("-n {space} route add default dev {device}"),
    ] {
        ip(&words);
    }
    end
}

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).output();
    let done = done.unwrap_or_else(|error| panic!("`ip` does not start: {error}"));
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "`ip {words}`, which needs root: {complaint}");
}

/// A network device whose packets are read and written here.
fn tun(name: &str) -> File {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    let file = file.unwrap_or_else(|error| panic!("/dev/net/tun, which needs root: {error}"));
    // `struct ifreq`: a name of 16 bytes, then flags.
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&PLAIN_PACKETS.to_ne_bytes());
    // SAFETY: this request takes a pointer to an `ifreq`, which has 40 bytes.
    let done = unsafe { ioctl(&file, Setter::<SET_INTERFACE, [u8; 40]>::new(request)) };
    done.unwrap_or_else(|error| panic!("a TUN device, which needs root: {error}"));
    rustix::io::ioctl_fionbio(&file, true).expect("a file need not block");
    file
}

/// A packet on its way: when it arrives, its number, to which end, and its bytes.
type Waiting = Reverse<(Instant, u64, usize, Vec<u8>)>;

struct Forwarder {
    /// The near machine's first, then those of the far ones.
    ends: Vec<File>,
    /// To each far machine, and from it.
    lines: Vec<[LineState; 2]>,
    rng: Rng,
    waiting: BinaryHeap<Waiting>,
    number: u64,
    sent: Arc<[AtomicU64]>,
    /// From the near end: TCP, and what else there is.
    arrived: Arc<[AtomicU64; 2]>,
}

impl Forwarder {
    fn run(&mut self, stop: &AtomicBool) {
        let mut packet = [0; 65_536];
        while !stop.load(Ordering::Relaxed) {
            self.wait();
            for from in 0..self.ends.len() {
                while let Ok(len) = self.ends[from].read(&mut packet) {
                    self.take(from, &packet[..len]);
                }
            }
            self.deliver();
        }
    }

    /// Until a packet comes, or one is due.
    fn wait(&self) {
        let due = self
            .waiting
            .peek()
            .map(|Reverse((at, ..))| at.saturating_duration_since(Instant::now()));
        let timeout = due.unwrap_or(LOOK_UP).min(LOOK_UP);
        let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.as_nanos() as _ };
        let ends = self.ends.iter();
        let mut ready: Vec<_> =
            ends.map(|end| PollFd::from_borrowed_fd(end.as_fd(), PollFlags::IN)).collect();
        // An interruption makes it look once more.
        let _ = poll(&mut ready, Some(&timeout));
    }

    /// Takes a packet from one end. No line leads from one far machine to another.
    fn take(&mut self, from: usize, packet: &[u8]) {
        let destination = packet.get(DESTINATION).map_or(0, |last| usize::from(*last));
        let (far, to) = match from {
            0 => (destination.wrapping_sub(2), destination.wrapping_sub(1)),
            from => (from - 1, 0),
        };
        let is_near = usize::from(Side::Near.address().octets()[3]) == destination;
        let Some(lines) = self.lines.get_mut(far).filter(|_| from == 0 || is_near) else { return };
        self.sent[from].fetch_add(packet.len() as u64, Ordering::Relaxed);
        let line = &mut lines[usize::from(from > 0)];
        if let Some(at) = line.pass(Instant::now(), packet.len(), &mut self.rng) {
            self.number += 1;
            self.waiting.push(Reverse((at, self.number, to, packet.to_vec())));
        }
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        while self.waiting.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            if let Some(Reverse((_, _, to, packet))) = self.waiting.pop() {
                if to > 0 {
                    let kind = usize::from(packet.get(PROTOCOL) != Some(&TCP));
                    self.arrived[kind].fetch_add(packet.len() as u64, Ordering::Relaxed);
                }
                // A machine that takes no more loses it.
                let _ = self.ends[to].write(&packet);
            }
        }
    }
}
