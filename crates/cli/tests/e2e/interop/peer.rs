//! Our transport on a real socket, driven by a thread: it plays a film to the other end.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lllsi_rtc::sdp::Want;
use lllsi_rtc::{Certificate, Config, DtlsVersion, Event, Transport};

use super::film::{self, Film};
use crate::util::PATIENCE;

/// A call of the test may have set a new timeout: it is looked for this often.
const TURN: Duration = Duration::from_millis(5);
/// Of the packets of a track one in so many is lost, either way.
const LOST_OF: usize = 20;

/// A transport and its thread, which ends when this is dropped.
pub(crate) struct Peer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    end: Mutex<End>,
    news: Condvar,
    socket: UdpSocket,
    is_over: AtomicBool,
}

struct End {
    transport: Transport,
    film: Film,
    next_picture: Instant,
    wants_keyframe: bool,
    losses: [Losses; 2],
    events: Vec<Event>,
}

/// Which packets of a track are lost. Repairs have another payload type and come through: not every stack asks twice.
#[derive(Default)]
struct Losses {
    payload_type: Option<u8>,
    seen: usize,
}

impl Losses {
    fn hit(&mut self, datagram: &[u8]) -> bool {
        let &[128..=191, kind @ (0..192 | 224..), ..] = datagram else { return false };
        let payload_type = kind & 0x7f;
        let is_original = payload_type == *self.payload_type.get_or_insert(payload_type);
        self.seen += usize::from(is_original);
        is_original && self.seen.is_multiple_of(LOST_OF)
    }
}

fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
    let at = socket.local_addr().expect("it has an address");
    (socket, at)
}

fn config(dtls: DtlsVersion) -> Config {
    let mut random = [0; 48];
    getrandom::fill(&mut random).expect("the system has random bytes");
    let certificate = Certificate::generate();
    Config { certificate, dtls, channels: Vec::new(), max_peer_channels: 4, random }
}

impl Peer {
    /// Answers an offer. Returns the answer too.
    pub(crate) fn answering(dtls: DtlsVersion, offer: &str) -> (Self, String) {
        let (socket, at) = socket();
        let answered = Transport::answer(Instant::now(), config(dtls), &[at], offer);
        let (transport, answer) = answered.unwrap_or_else(|error| panic!("{error}: {offer}"));
        (Self::start(transport, socket), answer)
    }

    /// Offers to receive video and to exchange messages. Returns the offer too.
    pub(crate) fn offering(dtls: DtlsVersion) -> (Self, String) {
        let (socket, at) = socket();
        let wants = [Want::video("0"), Want::data("1")];
        let (transport, offer) = Transport::offer(Instant::now(), config(dtls), &[at], &wants);
        (Self::start(transport, socket), offer)
    }

    pub(crate) fn accept(&self, answer: &str) {
        let accepted = self.with(|transport, now| transport.accept_answer(now, answer));
        accepted.unwrap_or_else(|error| panic!("{error}: {answer}"));
    }

    fn start(mut transport: Transport, socket: UdpSocket) -> Self {
        transport.take_media();
        let end = End {
            transport,
            film: Film::new(),
            next_picture: Instant::now(),
            wants_keyframe: false,
            losses: Default::default(),
            events: Vec::new(),
        };
        let (end, news, is_over) = (Mutex::new(end), Condvar::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { end, news, socket, is_over });
        let on_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || on_thread.run());
        Self { shared, thread: Some(thread) }
    }

    /// Works on the transport, and sends what comes of it.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Transport, Instant) -> T) -> T {
        let mut end = self.shared.end();
        let result = work(&mut end.transport, Instant::now());
        end.take_out(&self.shared.socket);
        self.shared.news.notify_all();
        result
    }

    /// Waits until `look` finds what it looks for among the events, from which it may take some out.
    pub(crate) fn until<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&mut Vec<Event>) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut end = self.shared.end();
        loop {
            if let Some(found) = look(&mut end.events) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                end.events.retain(|event| !matches!(event, Event::Packet(..)));
                panic!("no {what} among {:?}", end.events);
            }
            end = self.shared.news.wait_timeout(end, left).expect("the transport's thread runs").0;
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the transport's thread panicked");
        }
    }
}

impl Shared {
    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().expect("the transport's thread runs")
    }

    fn run(&self) {
        let at = self.socket.local_addr().expect("it has an address");
        let mut datagram = [0; 2048];
        self.socket.set_read_timeout(Some(TURN)).expect("a timeout can be set");
        while !self.is_over.load(Ordering::Relaxed) {
            self.end().turn(&self.socket);
            self.news.notify_all();
            match self.socket.recv_from(&mut datagram) {
                Ok((len, source)) => self.end().take(source, at, &datagram[..len]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("nothing can be received: {error}"),
            }
        }
    }
}

impl End {
    /// Does what is due.
    fn turn(&mut self, socket: &UdpSocket) {
        let now = Instant::now();
        if self.transport.timeout().is_some_and(|at| at <= now) {
            self.transport.handle_timeout(now);
        }
        if now >= self.next_picture && self.transport.srtp_profile().is_some() {
            self.next_picture = now + film::PAUSE;
            self.send_picture(now);
        }
        self.take_out(socket);
    }

    /// The first picture, a keyframe, is kept back: viewers have to ask for one.
    fn send_picture(&mut self, now: Instant) {
        let Some(track) = self.transport.outgoing().next() else { return };
        let is_first = self.film.is_new();
        let (timestamp, frame) = self.film.next(std::mem::take(&mut self.wants_keyframe));
        if !is_first {
            self.transport.send_frame(now, track, timestamp, &frame, lllsi_rtc::Extras::default());
        }
    }

    fn take(&mut self, source: SocketAddr, at: SocketAddr, datagram: &[u8]) {
        if !self.losses[0].hit(datagram) {
            self.transport.handle_datagram(Instant::now(), source, at, datagram);
        }
    }

    fn take_out(&mut self, socket: &UdpSocket) {
        while let Some(transmit) = self.transport.poll_transmit() {
            let size = transmit.segment_size.unwrap_or(transmit.contents.len());
            for datagram in transmit.contents.chunks(size) {
                if !self.losses[1].hit(datagram) {
                    // What the kernel refuses is lost, as it would be on the way.
                    let _ = socket.send_to(datagram, transmit.route.remote);
                }
            }
        }
        while let Some(event) = self.transport.poll_event() {
            self.wants_keyframe |= matches!(event, Event::KeyframeRequest(_));
            self.events.push(event);
        }
    }
}
