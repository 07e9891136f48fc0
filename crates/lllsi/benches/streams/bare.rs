//! Data channels of str0m and nothing else: one socket and thread for the publisher, one each for the subscribers.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::config::DtlsVersion;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::figures::{Seen, cpu, seen, stamp};
use crate::machine::Meter;
use crate::{Measured, Plan};

/// As much as our links let channels hold.
const BUFFER: usize = 256 << 10;

struct Peer {
    rtc: Rtc,
    channel: ChannelId,
    is_open: bool,
    wake: Instant,
    remote: SocketAddr,
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_nonblocking(true).expect("a mode");
    socket
}

/// With DTLS 1.3, as links have.
fn rtc() -> Rtc {
    RtcConfig::new()
        .set_dtls_version(DtlsVersion::Auto)
        .set_sctp_max_buffered_amount(1 << 20)
        .build(Instant::now())
}

/// Both ends of a link.
fn pair(host: SocketAddr, client: SocketAddr, reliability: Reliability) -> [Peer; 2] {
    let config = ChannelConfig {
        label: "bare".into(),
        ordered: matches!(reliability, Reliability::Reliable),
        reliability,
        negotiated: Some(1),
        ..ChannelConfig::default()
    };
    let (mut offerer, mut answerer) = (rtc(), rtc());
    let candidate = |addr| Candidate::host(addr, "udp").expect("an address");
    offerer.add_local_candidate(candidate(client));
    answerer.add_local_candidate(candidate(host));
    let mut changes = offerer.sdp_api();
    let offered = changes.add_channel_with_config(config.clone());
    let (offer, pending) = changes.apply().expect("an offer");
    let answer = answerer.sdp_api().accept_offer(offer).expect("an answer");
    let answered = answerer.direct_api().create_data_channel(config);
    offerer.sdp_api().accept_answer(pending, answer).expect("it is taken");
    let peer =
        |rtc, channel, remote| Peer { rtc, channel, is_open: false, wake: Instant::now(), remote };
    [peer(answerer, answered, client), peer(offerer, offered, host)]
}

impl Peer {
    /// Sends what is to be sent; `take` gets what has come.
    fn drain(&mut self, socket: &UdpSocket, mut take: impl FnMut(&[u8])) {
        loop {
            match self.rtc.poll_output().expect("it goes on") {
                Output::Timeout(at) => return self.wake = at,
                Output::Transmit(transmit) => {
                    let _ = socket.send_to(&transmit.contents, transmit.destination);
                }
                Output::Event(Event::ChannelOpen(..)) => self.is_open = true,
                Output::Event(Event::ChannelData(data)) => take(&data.data),
                Output::Event(_) => {}
            }
        }
    }

    fn input(&mut self, local: SocketAddr, source: SocketAddr, data: &[u8]) {
        let receive = Receive::new(Protocol::Udp, source, local, data).expect("of ours");
        self.rtc.handle_input(Input::Receive(Instant::now(), receive)).expect("it goes on");
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        let Some(mut channel) = self.rtc.channel(self.channel).filter(|_| self.is_open) else {
            return false;
        };
        let taken =
            channel.buffered_amount() < BUFFER && channel.write(true, bytes).expect("it is open");
        self.rtc.handle_input(Input::Timeout(Instant::now())).expect("it goes on");
        taken
    }

    fn wake(&mut self) {
        if Instant::now() >= self.wake {
            self.rtc.handle_input(Input::Timeout(Instant::now())).expect("it goes on");
        }
    }
}

/// Takes a datagram, waiting for it until `at`; notes when it had waited.
fn receive(
    socket: &UdpSocket,
    at: Instant,
    buffer: &mut [u8],
    woken_at: &mut Instant,
) -> Option<(usize, SocketAddr)> {
    if let Ok(received) = socket.recv_from(buffer) {
        return Some(received);
    }
    let left = at.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return None;
    }
    let left = left.try_into().expect("not for ever");
    let mut waits = [PollFd::new(socket, PollFlags::IN)];
    let _ = poll(&mut waits, Some(&left));
    *woken_at = Instant::now();
    socket.recv_from(buffer).ok()
}

/// A subscriber's thread; the delays of what came while it was on.
fn subscriber(
    mut peer: Peer,
    socket: UdpSocket,
    epoch: Instant,
    up_every: Duration,
    [is_on, ends]: [Arc<AtomicBool>; 2],
) -> Vec<Seen> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 2048]);
    let local = socket.local_addr().expect("it is bound");
    let mut up_at = Instant::now();
    let mut woken_at = up_at;
    while !ends.load(Ordering::Relaxed) {
        peer.drain(&socket, |frame| {
            if is_on.load(Ordering::Relaxed) {
                all.push(seen(epoch, frame));
            }
        });
        let at = peer.wake.min(up_at).min(Instant::now() + Duration::from_millis(100));
        if let Some((length, source)) = receive(&socket, at, &mut buffer, &mut woken_at) {
            peer.input(local, source, &buffer[..length]);
        }
        peer.wake();
        if !peer.is_open {
            up_at = Instant::now() + up_every;
        }
        if Instant::now() >= up_at {
            peer.write(&stamp(epoch, up_at.max(woken_at)));
            up_at += up_every;
        }
    }
    all
}

pub(crate) fn fanout(plan: Plan) -> Measured {
    let epoch = Instant::now();
    let socket_of_host = socket();
    let local = socket_of_host.local_addr().expect("it is bound");
    let flags = [Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default()];
    let (mut peers, mut threads) = (Vec::new(), Vec::new());
    for _ in 0..plan.subscribers {
        let theirs = socket();
        let at = theirs.local_addr().expect("it is bound");
        let reliability = Reliability::MaxRetransmits { retransmits: 0 };
        let [host, client] = pair(local, at, reliability);
        peers.push(host);
        let (flags, every) = (flags.clone(), Duration::from_secs(1) / plan.up_per_second);
        threads.push(std::thread::spawn(move || subscriber(client, theirs, epoch, every, flags)));
    }
    let [is_on, ends] = flags.clone();
    let publisher = std::thread::spawn(move || {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 2048]);
        let every = Duration::from_secs(1) / plan.down_per_second;
        let mut push_at = Instant::now();
        let mut woken_at = push_at;
        while !ends.load(Ordering::Relaxed) {
            let mut take = |frame: &[u8]| {
                if is_on.load(Ordering::Relaxed) {
                    all.push(seen(epoch, frame));
                }
            };
            let next =
                peers.iter().map(|peer| peer.wake).min().expect("there are some").min(push_at);
            let received = receive(&socket_of_host, next, &mut buffer, &mut woken_at);
            // All that has come, before anything is sent.
            if let Some((length, source)) = received {
                let peer = peers.iter_mut().find(|peer| peer.remote == source).expect("of ours");
                peer.input(local, source, &buffer[..length]);
                peer.drain(&socket_of_host, &mut take);
                continue;
            }
            for peer in &mut peers {
                if Instant::now() >= peer.wake {
                    peer.wake();
                    peer.drain(&socket_of_host, &mut take);
                }
            }
            if peers.iter().any(|peer| !peer.is_open) {
                push_at = Instant::now() + every;
            }
            if Instant::now() >= push_at {
                let frame = stamp(epoch, push_at.max(woken_at));
                push_at += every;
                for peer in &mut peers {
                    peer.write(&frame);
                    peer.drain(&socket_of_host, &mut take);
                }
            }
        }
        all
    });
    std::thread::sleep(Duration::from_secs(4));
    flags[0].store(true, Ordering::Relaxed);
    let (meter, before) = (Meter::start(), cpu());
    std::thread::sleep(Duration::from_secs(plan.seconds));
    let (stills, cpu) = (meter.end(epoch), cpu() - before);
    flags[0].store(false, Ordering::Relaxed);
    flags[1].store(true, Ordering::Relaxed);
    let down = threads.into_iter().flat_map(|thread| thread.join().expect("it ends well"));
    let seen = [down.collect(), publisher.join().expect("it ends well")];
    Measured::new(seen, stills, cpu, [0; 2])
}

/// Bytes a second through one reliable channel.
pub(crate) fn bulk(time: Duration) -> f64 {
    let sockets = [socket(), socket()];
    let [local, remote] =
        sockets.each_ref().map(|socket| socket.local_addr().expect("it is bound"));
    let [mut host, mut client] = pair(local, remote, Reliability::Reliable);
    let [out, into] = sockets;
    let ends = Arc::<AtomicBool>::default();
    let theirs = Arc::clone(&ends);
    let sender = std::thread::spawn(move || {
        let (piece, mut buffer) = (vec![7; 16 << 10], vec![0; 2048]);
        let mut woken_at = Instant::now();
        while !theirs.load(Ordering::Relaxed) {
            while host.write(&piece) {
                host.drain(&out, |_| {});
            }
            host.drain(&out, |_| {});
            let received = receive(&out, host.wake, &mut buffer, &mut woken_at);
            if let Some((length, source)) = received {
                host.input(local, source, &buffer[..length]);
            }
            host.wake();
        }
    });
    let (mut buffer, mut bytes, mut woken_at) = (vec![0; 2048], 0, Instant::now());
    let mut run = |until: Instant, bytes: &mut usize| {
        while Instant::now() < until {
            client.drain(&into, |data| *bytes += data.len());
            let at = client.wake.min(until);
            if let Some((length, source)) = receive(&into, at, &mut buffer, &mut woken_at) {
                client.input(remote, source, &buffer[..length]);
            }
            client.wake();
        }
    };
    run(Instant::now() + Duration::from_secs(3), &mut 0);
    let began = Instant::now();
    run(began + time, &mut bytes);
    let rate = bytes as f64 / began.elapsed().as_secs_f64();
    ends.store(true, Ordering::Relaxed);
    sender.join().expect("it ends well");
    rate
}
