//! A thread that forwards packets between network devices, each when its line lets it arrive.
#![allow(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lllsi_sim::Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl::{Setter, ioctl};

/// How soon a dropped thread ends.
const LOOK_UP: Duration = Duration::from_millis(100);
/// `TUNSETIFF` of linux/if_tun.h.
const SET_INTERFACE: u32 = 0x4004_54ca;
/// `IFF_TUN | IFF_NO_PI`: IP packets without anything before them.
const PLAIN_PACKETS: u16 = 0x0001 | 0x1000;

/// A network device whose packets are read and written here.
pub(crate) fn tun(name: &str) -> File {
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

/// Which way packets go between ends, which are counted from 0.
pub(crate) trait Ways: Send + 'static {
    /// Takes a packet from one end: when it arrives, and at which end. `None` if it is lost.
    fn take(
        &mut self,
        now: Instant,
        from: usize,
        packet: &[u8],
        rng: &mut Rng,
    ) -> Option<(Instant, usize)>;

    /// A packet arrives.
    fn arrive(&mut self, _to: usize, _packet: &[u8]) {}
}

/// The thread, until it is dropped.
#[derive(Debug)]
pub(crate) struct Forwarding {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarding {
    pub(crate) fn start(ends: Vec<File>, ways: impl Ways) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (waiting, number) = (BinaryHeap::new(), 0);
        let mut forwarder = Forwarder { ends, ways, rng: Rng::new(1), waiting, number };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || forwarder.run(&stopped));
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A packet on its way: when it arrives, its number, to which end, and its bytes.
type Waiting = Reverse<(Instant, u64, usize, Vec<u8>)>;

struct Forwarder<W> {
    ends: Vec<File>,
    ways: W,
    rng: Rng,
    waiting: BinaryHeap<Waiting>,
    number: u64,
}

impl<W: Ways> Forwarder<W> {
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

    fn take(&mut self, from: usize, packet: &[u8]) {
        let taken = self.ways.take(Instant::now(), from, packet, &mut self.rng);
        if let Some((at, to)) = taken {
            self.number += 1;
            self.waiting.push(Reverse((at, self.number, to, packet.to_vec())));
        }
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        while self.waiting.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            if let Some(Reverse((_, _, to, packet))) = self.waiting.pop() {
                self.ways.arrive(to, &packet);
                // A machine that takes no more loses it.
                let _ = self.ends[to].write(&packet);
            }
        }
    }
}
