//! A machine, others, and a [line](mod@lllsi_sim::line) to each of them: network namespaces, and a forwarder in user space. Needs
//! root.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use lllsi_sim::{Line, LineState, Rng};

use crate::forward::{Forwarding, Ways};
use crate::space::Space;

/// Where an IPv4 header has the last byte of its destination, and what follows it, and TCP's number (RFC 791).
const DESTINATION: usize = 19;
const PROTOCOL: usize = 9;
const TCP: u8 = 6;

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
    spaces: Vec<Space>,
    sent: Arc<[AtomicU64]>,
    arrived: Arc<[AtomicU64; 2]>,
    forwarding: Option<Forwarding>,
}

impl Network {
    /// Makes them. Each far machine has a line from [`Side::Near`], and one back.
    ///
    /// # Panics
    ///
    /// Without root, `ip` or `/dev/net/tun`.
    #[must_use]
    pub fn start(lines: Vec<(Line, Line)>) -> Self {
        let far = (0..lines.len()).map(Side::Far);
        let machines = std::iter::once(Side::Near).chain(far).map(machine);
        let (spaces, ends): (Vec<_>, Vec<_>) = machines.unzip();
        let sent: Arc<[AtomicU64]> = spaces.iter().map(|_| AtomicU64::default()).collect();
        let arrived = Arc::<[AtomicU64; 2]>::default();
        let now = Instant::now();
        let state = |line| LineState::new(line, now);
        let lines = Lines {
            lines: lines.into_iter().map(|(up, down)| [state(up), state(down)]).collect(),
            sent: Arc::clone(&sent),
            arrived: Arc::clone(&arrived),
        };
        Self { spaces, sent, arrived, forwarding: Some(Forwarding::start(ends, lines)) }
    }

    /// One of the machines.
    #[must_use]
    pub fn space(&self, side: Side) -> &Space {
        &self.spaces[side.number()]
    }

    /// A program on one of the machines.
    #[must_use]
    pub fn command(&self, side: Side, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.space(side).command(program)
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
        self.space(side).spawn(work)
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
        // It reads from devices that go with their machines.
        drop(self.forwarding.take());
        self.spaces.iter().for_each(Space::remove);
    }
}

/// Makes a machine; returns it and the other end of its network device.
fn machine(side: Side) -> (Space, std::fs::File) {
    let space = Space::make(format!("lllsi-{}-{}", std::process::id(), side.number()));
    let device = format!("lllsi{}", side.number());
    let end = space.device(&device, &format!("{}/24", side.address()));
    // A browser tells the address with the default route alone.
    space.ip(&format!("route add default dev {device}"));
    (space, end)
}

/// The near machine has the first end.
struct Lines {
    /// To each far machine, and from it.
    lines: Vec<[LineState; 2]>,
    sent: Arc<[AtomicU64]>,
    /// From the near end: TCP, and what else there is.
    arrived: Arc<[AtomicU64; 2]>,
}

impl Ways for Lines {
    /// No line leads from one far machine to another.
    fn take(
        &mut self,
        now: Instant,
        from: usize,
        packet: &[u8],
        rng: &mut Rng,
    ) -> Option<(Instant, usize)> {
        let destination = packet.get(DESTINATION).map_or(0, |last| usize::from(*last));
        let (far, to) = match from {
            0 => (destination.wrapping_sub(2), destination.wrapping_sub(1)),
            from => (from - 1, 0),
        };
        let is_near = usize::from(Side::Near.address().octets()[3]) == destination;
        let lines = self.lines.get_mut(far).filter(|_| from == 0 || is_near)?;
        self.sent[from].fetch_add(packet.len() as u64, Ordering::Relaxed);
        let at = lines[usize::from(from > 0)].pass(now, packet.len(), rng)?;
        Some((at, to))
    }

    fn arrive(&mut self, to: usize, packet: &[u8]) {
        if to > 0 {
            let kind = usize::from(packet.get(PROTOCOL) != Some(&TCP));
            self.arrived[kind].fetch_add(packet.len() as u64, Ordering::Relaxed);
        }
    }
}
