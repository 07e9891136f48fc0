//! A peer's side of its connection to the rendezvous server: connect, and come back after a break.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lllsi_proto::rendezvous::Request;

use crate::{Output, SignalCommand};

/// The first pause before a new attempt; it doubles until [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// No answer to a connection attempt for this long counts as a failure.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not wanted.
    Off,
    Connecting {
        give_up: Instant,
    },
    Connected,
    Pausing {
        until: Instant,
    },
}

#[derive(Debug)]
pub(crate) struct Server {
    state: State,
    pause: Duration,
    /// A server that is connected must let us in until then.
    answer_due: Option<Instant>,
    /// Of its name, the one that we are connected to first.
    addresses: Vec<SocketAddr>,
    commands: VecDeque<SignalCommand>,
}

impl Server {
    pub(crate) fn connect(now: Instant) -> Self {
        let mut server = Self {
            state: State::Off,
            pause: FIRST_PAUSE,
            answer_due: None,
            addresses: Vec::new(),
            commands: VecDeque::new(),
        };
        server.start(now);
        server
    }

    fn start(&mut self, now: Instant) {
        self.commands.push_back(SignalCommand::Connect);
        self.state = State::Connecting { give_up: now + CONNECT_TIMEOUT };
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// Whether no connection is wanted.
    pub(crate) fn is_off(&self) -> bool {
        self.state == State::Off
    }

    pub(crate) fn connected(&mut self, now: Instant, addresses: Vec<SocketAddr>) {
        self.answer_due = Some(now + CONNECT_TIMEOUT);
        (self.state, self.addresses) = (State::Connected, addresses);
    }

    /// The connection broke: another attempt follows after a pause.
    pub(crate) fn disconnected(&mut self, now: Instant) {
        if self.state == State::Off {
            return;
        }
        self.answer_due = None;
        self.state = State::Pausing { until: now + self.pause };
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    /// The server accepted us: it works, so a later break is retried quickly. Returns where it is to be asked by STUN;
    /// `stun_port` 0 means that it has none.
    pub(crate) fn accepted(&mut self, stun_port: u16) -> Vec<SocketAddr> {
        (self.pause, self.answer_due) = (FIRST_PAUSE, None);
        let addresses = self.addresses.iter().filter(|_| stun_port != 0);
        addresses.map(|address| SocketAddr::new(address.ip(), stun_port)).collect()
    }

    pub(crate) fn send(&mut self, request: &Request) {
        if self.is_connected() {
            self.commands.push_back(SignalCommand::Send(request.to_json()));
        }
    }

    /// Somebody is not heard: it may be that the connection does not stand either.
    pub(crate) fn probe(&mut self) {
        if self.is_connected() {
            self.commands.push_back(SignalCommand::Probe);
        }
    }

    /// The network has changed: the connection may be gone with the old one, and another attempt need not wait.
    pub(crate) fn network_changed(&mut self, now: Instant) {
        self.probe();
        if let State::Pausing { until } = &mut self.state {
            (*until, self.pause) = (now, FIRST_PAUSE);
        }
    }

    /// Closes the connection for good.
    pub(crate) fn close(&mut self) {
        if self.state != State::Off {
            self.commands.push_back(SignalCommand::Close);
        }
        (self.state, self.answer_due) = (State::Off, None);
    }

    /// `true` if an attempt just timed out.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        match self.state {
            State::Pausing { until } if now >= until => self.start(now),
            State::Connecting { give_up } if now >= give_up => return self.give_up(now),
            State::Connected if self.answer_due.is_some_and(|at| now >= at) => {
                return self.give_up(now);
            }
            _ => {}
        }
        false
    }

    fn give_up(&mut self, now: Instant) -> bool {
        self.commands.push_back(SignalCommand::Close);
        self.disconnected(now);
        true
    }

    /// Hands over what is to be done.
    pub(crate) fn collect<E>(&mut self, outputs: &mut VecDeque<Output<E>>) {
        outputs.extend(self.commands.drain(..).map(Output::Signal));
    }

    pub(crate) fn timeout(&self) -> Option<Instant> {
        let state = match self.state {
            State::Connecting { give_up: at } | State::Pausing { until: at } => Some(at),
            State::Off | State::Connected => None,
        };
        [state, self.answer_due].into_iter().flatten().min()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;

    #[test]
    fn an_attempt_and_the_first_answer_have_their_time() {
        let mut now = Instant::now();
        let mut server = Server::connect(now);
        now += CONNECT_TIMEOUT;
        assert!(server.handle_timeout(now), "it does not connect");
        now = server.timeout().expect("it tries again");
        assert!(!server.handle_timeout(now));
        let addresses = ["192.0.2.1:36542", "[2001:db8::1]:36542"].map(|a| a.parse().unwrap());
        server.connected(now, addresses.to_vec());
        now += CONNECT_TIMEOUT;
        assert!(server.handle_timeout(now), "it does not let us in");
        now = server.timeout().expect("it tries again");
        assert!(!server.handle_timeout(now));
        server.connected(now, addresses.to_vec());
        assert!(server.accepted(0).is_empty(), "it has no STUN");
        let stun = ["192.0.2.1:3478", "[2001:db8::1]:3478"].map(|a| a.parse().unwrap());
        assert_eq!(server.accepted(3478), stun);
        assert_eq!(server.timeout(), None);
    }
}
