//! The library's client over real sockets, on a thread of its owner: what it sends and hears is the owner's to see and to change.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use lllsi_core::client::{Action, Client, Config, Entry, Event};
use lllsi_core::{Certificate, Input, Machine, Output, SignalCommand, SignalEvent};
use lllsi_proto::invite::Invite;
use tungstenite::{Message, WebSocket};

/// Connecting takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one wait for a datagram is at most, since the server is asked between two of them.
const WAIT: Duration = Duration::from_millis(5);
/// Datagrams kept of what it sends: its way to the host, and some of what follows.
const SENT: usize = 100;
/// A socket takes no shorter wait.
const LEAST_WAIT: Duration = Duration::from_micros(500);

/// A client with a socket of its own. Its owner calls [`Peer::turn`] for as long as it is to live.
pub struct Peer {
    /// The client itself.
    pub client: Client,
    socket: UdpSocket,
    /// Its address.
    pub at: SocketAddr,
    /// What the client has told and nobody has read.
    pub events: VecDeque<Event>,
    /// Bytes that it has sent of its own accord.
    pub bytes: usize,
    /// What it has sent first.
    pub sent: Vec<Vec<u8>>,
    server: Option<WebSocket<TcpStream>>,
    address: String,
    signals: VecDeque<SignalEvent>,
    wake: Instant,
    buffer: Vec<u8>,
}

impl Peer {
    /// A client that has been let in and is connected. It speaks to the server in the clear, whatever the link says.
    ///
    /// # Panics
    ///
    /// If it is not.
    #[must_use]
    pub fn join(link: &str, name: &str, seed: u8, address: Ipv4Addr) -> Self {
        let invite: Invite = link.parse().expect("it is a link");
        let socket = UdpSocket::bind((address, 0)).expect("a port is free");
        let at = socket.local_addr().expect("it is bound");
        let now = Instant::now();
        let config = Config {
            entry: Entry::from(&invite),
            name: name.into(),
            locals: vec![at],
            certificate: Certificate::generate(),
            random_seed: [seed; 32],
            patience: Duration::ZERO,
        };
        let mut peer = Self {
            client: Client::new(now, config),
            socket,
            at,
            events: VecDeque::new(),
            bytes: 0,
            sent: Vec::new(),
            server: None,
            address: invite.server,
            signals: VecDeque::new(),
            wake: now,
            buffer: vec![0; 65_536],
        };
        peer.drain();
        let deadline = now + PATIENCE;
        while !matches!(peer.events.pop_front(), Some(Event::Connected(_))) {
            assert!(Instant::now() < deadline, "{name} is not connected");
            peer.turn(deadline);
        }
        peer
    }

    /// Where the host is reached.
    ///
    /// # Panics
    ///
    /// If it is not connected any more.
    #[must_use]
    pub fn host(&self) -> SocketAddr {
        self.client.status().path.expect("it is connected").remote
    }

    /// Does what is due, and waits for one datagram, not longer than until then.
    pub fn turn(&mut self, until: Instant) {
        if let Some(signal) = self.signals.pop_front().or_else(|| self.listen()) {
            return self.input(Input::Signal(signal));
        }
        let now = Instant::now();
        if now >= self.wake {
            return self.input(Input::Timeout);
        }
        let wait = self.wake.min(until).saturating_duration_since(now);
        let wait = wait.clamp(LEAST_WAIT, WAIT);
        if let Some((len, source)) = self.receive(wait) {
            let buffer = std::mem::take(&mut self.buffer);
            let destination = self.at;
            self.input(Input::Datagram { source, destination, data: &buffer[..len] });
            self.buffer = buffer;
        }
    }

    /// Takes what comes for a while, and answers nothing.
    pub fn ignore(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Some(wait) = until.checked_duration_since(Instant::now()) {
            self.receive(wait.max(LEAST_WAIT));
        }
    }

    /// Sends bytes around the client.
    pub fn send(&self, to: SocketAddr, datagram: &[u8]) {
        // A full queue drops it, as a network would; and some candidates cannot be reached from here.
        let _ = self.socket.send_to(datagram, to);
    }

    /// A datagram into the buffer: its length and source.
    fn receive(&mut self, wait: Duration) -> Option<(usize, SocketAddr)> {
        self.socket.set_read_timeout(Some(wait)).expect("it is not zero");
        match self.socket.recv_from(&mut self.buffer) {
            Ok(received) => Some(received),
            Err(error) if is_nothing(error.kind()) => None,
            Err(error) => panic!("receiving failed: {error}"),
        }
    }

    /// Leaves the room, by the server: the link may be in no state for that.
    pub fn leave(mut self) {
        self.input(Input::Action(Action::Leave));
    }

    /// Hands something to the client, and sends what it wants sent.
    pub fn input(&mut self, input: Input<'_, Action>) {
        self.client.handle_input(Instant::now(), input);
        self.drain();
    }

    fn drain(&mut self) {
        self.wake = loop {
            match self.client.poll_output() {
                Output::Transmit(transmit) => {
                    for datagram in transmit.datagrams() {
                        self.send(transmit.destination, datagram);
                        self.bytes += datagram.len();
                        if self.sent.len() < SENT {
                            self.sent.push(datagram.to_vec());
                        }
                    }
                }
                Output::Signal(command) => self.signal(command),
                Output::Event(event) => self.events.push_back(event),
                Output::Timeout(at) => break at,
            }
        };
    }

    fn signal(&mut self, command: SignalCommand) {
        match (command, &mut self.server) {
            (SignalCommand::Connect, _) => {
                let authority = self.address.split("//").last().unwrap_or_default().to_owned();
                let stream = TcpStream::connect(&authority).expect("the server is there");
                let server = stream.peer_addr().expect("it is connected");
                let url = format!("ws://{authority}/v1/rendezvous");
                let (socket, _) = tungstenite::client(url, stream).expect("a WebSocket");
                socket.get_ref().set_nonblocking(true).expect("it can be set");
                self.server = Some(socket);
                self.signals.push_back(SignalEvent::Connected { servers: vec![server] });
            }
            (SignalCommand::Send(text), Some(server)) => {
                server.send(Message::text(text)).expect("the server takes it");
            }
            (SignalCommand::Send(_), None) => panic!("there is no server yet"),
            (SignalCommand::Close, _) => self.server = None,
            (SignalCommand::Probe, _) => {}
        }
    }

    /// What the server says, if it says something.
    fn listen(&mut self) -> Option<SignalEvent> {
        match self.server.as_mut()?.read() {
            Ok(Message::Text(text)) => Some(SignalEvent::Received(text.to_string())),
            Ok(_) => None,
            Err(tungstenite::Error::Io(error)) if is_nothing(error.kind()) => None,
            Err(error) => panic!("the server is gone: {error}"),
        }
    }
}

fn is_nothing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
