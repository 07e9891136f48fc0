//! A peer's side of its connection to the rendezvous server: connect, come back after a break, ask STUN.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lllsi_proto::rendezvous::Request;

use crate::seal::derive;
use crate::stun::Gather;
use crate::{Output, SignalCommand, Transmit};

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
    Connected {
        server: SocketAddr,
    },
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
    stun_id: [u8; 12],
    gather: Option<Gather>,
    commands: VecDeque<SignalCommand>,
}

impl Server {
    /// `seed` makes the STUN questions unpredictable.
    pub(crate) fn connect(now: Instant, seed: &[u8; 32]) -> Self {
        let mut stun_id = [0; 12];
        stun_id.copy_from_slice(&derive(seed, b"STUN", 0)[..12]);
        let mut server = Self {
            state: State::Off,
            pause: FIRST_PAUSE,
            answer_due: None,
            stun_id,
            gather: None,
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
        matches!(self.state, State::Connected { .. })
    }

    pub(crate) fn connected(&mut self, now: Instant, server: SocketAddr) {
        self.answer_due = Some(now + CONNECT_TIMEOUT);
        self.state = State::Connected { server };
    }

    /// The connection broke: another attempt follows after a pause.
    pub(crate) fn disconnected(&mut self, now: Instant) {
        if self.state == State::Off {
            return;
        }
        (self.gather, self.answer_due) = (None, None);
        self.state = State::Pausing { until: now + self.pause };
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    /// The server accepted us: it works, so a later break is retried quickly. `stun_port` 0 means it has no STUN.
    pub(crate) fn accepted(&mut self, now: Instant, stun_port: u16) {
        (self.pause, self.answer_due) = (FIRST_PAUSE, None);
        if let (State::Connected { server }, 1..) = (self.state, stun_port) {
            let server = SocketAddr::new(server.ip(), stun_port);
            self.gather = Some(Gather::new(now, server, self.stun_id));
        }
    }

    pub(crate) fn send(&mut self, request: &Request) {
        if self.is_connected() {
            self.commands.push_back(SignalCommand::Send(request.to_json()));
        }
    }

    /// Closes the connection for good.
    pub(crate) fn close(&mut self) {
        if self.state != State::Off {
            self.commands.push_back(SignalCommand::Close);
        }
        self.state = State::Off;
        (self.gather, self.answer_due) = (None, None);
    }

    /// Our address as the server sees it, with the local address behind it.
    pub(crate) fn reflexive(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.gather.as_ref()?.reflexive()
    }

    /// A path died: our reflexive address may be another now.
    pub(crate) fn refresh(&mut self, now: Instant) {
        if let Some(gather) = &mut self.gather {
            gather.refresh(now);
        }
    }

    /// Takes a STUN answer; gives `(reflexive, base)` when it is new.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local: SocketAddr,
        data: &[u8],
    ) -> Option<(SocketAddr, SocketAddr)> {
        self.gather.as_mut()?.handle(now, source, local, data)
    }

    /// `true` if an attempt just timed out.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        match self.state {
            State::Pausing { until } if now >= until => self.start(now),
            State::Connecting { give_up } if now >= give_up => return self.give_up(now),
            State::Connected { .. } if self.answer_due.is_some_and(|at| now >= at) => {
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

    /// Hands over what is to be sent and done.
    pub(crate) fn collect<E>(&mut self, now: Instant, outputs: &mut VecDeque<Output<E>>) {
        if let Some((destination, contents)) = self.gather.as_mut().and_then(|g| g.poll(now)) {
            outputs.push_back(Output::Transmit(Transmit {
                source: None,
                destination,
                contents,
                segment_size: None,
            }));
        }
        outputs.extend(self.commands.drain(..).map(Output::Signal));
    }

    pub(crate) fn timeout(&self) -> Option<Instant> {
        let state = match self.state {
            State::Connecting { give_up: at } | State::Pausing { until: at } => Some(at),
            State::Off | State::Connected { .. } => None,
        };
        let gather = self.gather.as_ref().map(Gather::timeout);
        [state, gather, self.answer_due].into_iter().flatten().min()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;

    #[test]
    fn an_attempt_and_the_first_answer_have_their_time() {
        let mut now = Instant::now();
        let mut server = Server::connect(now, &[1; 32]);
        now += CONNECT_TIMEOUT;
        assert!(server.handle_timeout(now), "it does not connect");
        now = server.timeout().expect("it tries again");
        assert!(!server.handle_timeout(now));
        server.connected(now, SocketAddr::from(([192, 0, 2, 1], 36542)));
        now += CONNECT_TIMEOUT;
        assert!(server.handle_timeout(now), "it does not let us in");
        now = server.timeout().expect("it tries again");
        assert!(!server.handle_timeout(now));
        server.connected(now, SocketAddr::from(([192, 0, 2, 1], 36542)));
        server.accepted(now, 0);
        assert_eq!(server.timeout(), None);
    }
}
