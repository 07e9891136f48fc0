//! Who may speak to the host: invitation, password, tickets. Nothing is built for a client before it has shown one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use lllsi_proto::invite::{RoomToken, Secret, TicketId};
use lllsi_proto::rendezvous::ClientId;
use lllsi_proto::room::{Password, RoomName};
use lllsi_proto::sealed::{Envelope, Rejection, Ticket};

use super::Room;
use super::invitation::{Invitation, Terms};
use crate::password;
use crate::seal::{HostIdentity, PreShared, Responder, derive};

/// First messages remembered, so that the server cannot play one twice.
const REMEMBERED_HELLOS: usize = 4096;
/// Tickets that are good at once; a new one takes the place of the oldest.
const MAX_TICKETS: usize = 4096;
/// Passwords that may be tried at once.
const GUESSES: u32 = 10;
/// One more after so long.
const GUESS_EVERY: Duration = Duration::from_secs(5);
/// How long a client may take from its share to its first message.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);

/// A client that has shown that it may speak.
pub(super) struct Opened {
    pub(super) responder: Responder,
    /// Its hello.
    pub(super) payload: Vec<u8>,
    /// The ticket with which it came.
    pub(super) ticket: Option<TicketId>,
}

/// A first message that is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turned {
    pub(super) away: Rejection,
    /// It came with a password.
    pub(super) with_password: bool,
}

/// Keys, and what has been done with them.
pub(super) struct Door {
    identity: HostIdentity,
    room: Option<Room>,
    terms: Terms,
    invitation: Invitation,
    guesses: Guesses,
    /// Clients that have our share, and until when they may go on.
    exchanges: HashMap<ClientId, (Instant, PreShared)>,
    /// With the oldest first.
    tickets: (HashMap<TicketId, Secret>, VecDeque<TicketId>),
    hellos: (HashSet<[u8; 32]>, VecDeque<[u8; 32]>),
    seed: [u8; 32],
    /// Shares and tickets made so far: each has randomness of its own.
    made: u32,
}

impl Door {
    pub(super) fn new(
        now: Instant,
        identity: HostIdentity,
        room: Option<Room>,
        terms: Terms,
        seed: [u8; 32],
    ) -> Self {
        Self {
            identity,
            room,
            terms,
            invitation: Invitation::new(now, terms),
            guesses: Guesses { left: GUESSES, refilled_at: now },
            exchanges: HashMap::new(),
            tickets: (HashMap::new(), VecDeque::new()),
            hellos: (HashSet::new(), VecDeque::new()),
            seed,
            made: 0,
        }
    }

    pub(super) fn token(&self) -> RoomToken {
        self.identity.token
    }

    /// What the room is called at the server.
    pub(super) fn name(&self) -> Option<&RoomName> {
        self.room.as_ref().map(|room| &room.name)
    }

    /// Another has the name: the password lets nobody in any more. `false` if there was none.
    pub(super) fn lose_name(&mut self) -> bool {
        self.exchanges.clear();
        self.room.take().is_some()
    }

    /// The invitation, and the password, are others from now on.
    pub(super) fn renew(&mut self, now: Instant, secret: Secret, password: Option<Password>) {
        self.identity.secret = secret;
        self.invitation = Invitation::new(now, self.terms);
        self.exchanges.clear();
        if let (Some(room), Some(password)) = (&mut self.room, password) {
            room.password = password;
        }
    }

    /// Whether somebody without a ticket may come in now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.invitation.holds(now)
    }

    /// Lets one in without a ticket; `false` if the invitation is used up.
    pub(super) fn take_use(&mut self) -> bool {
        self.invitation.take()
    }

    /// The server's numbers begin anew.
    pub(super) fn forget_clients(&mut self) {
        self.exchanges.clear();
    }

    fn fresh(&mut self, purpose: &[u8]) -> [u8; 32] {
        self.made = self.made.wrapping_add(1);
        derive(&self.seed, purpose, self.made)
    }

    /// Answers a client that wants to prove that it knows the password.
    pub(super) fn share(
        &mut self,
        now: Instant,
        client: ClientId,
        session: &[u8; 16],
        theirs: &[u8; 32],
    ) -> Result<Envelope<'static>, Turned> {
        let turned = |away| Turned { away, with_password: true };
        let random = self.fresh(b"password share");
        let room = self.room.as_ref().ok_or(turned(Rejection::WrongSecret))?;
        // Before anything is computed: a flood costs no time.
        if !self.guesses.take(now) {
            return Err(turned(Rejection::TooManyTries));
        }
        let host_key = self.identity.public_key();
        let answer =
            password::answer(&room.name, &room.password, session, theirs, &host_key, random);
        let (share, shared) = answer.map_err(|_| turned(Rejection::Tampered))?;
        self.exchanges.retain(|_, (until, _)| now < *until);
        self.exchanges.insert(client, (now + EXCHANGE_TIMEOUT, shared));
        Ok(Envelope::HostShare { share, host_key })
    }

    /// Opens a client's first message of a handshake.
    pub(super) fn open(
        &mut self,
        now: Instant,
        client: ClientId,
        ticket: Option<TicketId>,
        message: &[u8],
    ) -> Result<Opened, Turned> {
        let exchange = self.exchanges.remove(&client).filter(|(until, _)| now < *until);
        let with_password = ticket.is_none() && exchange.is_some();
        let turned = |away| Turned { away, with_password };
        let shared = match (ticket, exchange) {
            (Some(id), _) => {
                let secret = self.tickets.0.get(&id).ok_or(turned(Rejection::WrongSecret))?;
                PreShared::ticket(&Ticket { id, secret: *secret })
            }
            (None, Some((_, shared))) => shared,
            (None, None) => PreShared::link(&self.identity.room(), &self.identity.secret),
        };
        let opened = Responder::accept(&self.identity, &shared, message);
        let (responder, payload) = opened.map_err(|_| turned(Rejection::WrongSecret))?;
        if !self.remember(message) {
            return Err(turned(Rejection::Tampered));
        }
        if with_password {
            self.guesses.give_back();
        }
        Ok(Opened { responder, payload, ticket })
    }

    /// `false` if this first message has come before: each begins with a fresh public key of its client.
    fn remember(&mut self, hello: &[u8]) -> bool {
        let Some(key) = hello.first_chunk::<32>() else {
            return false;
        };
        let (known, order) = &mut self.hellos;
        if !known.insert(*key) {
            return false;
        }
        order.push_back(*key);
        if order.len() > REMEMBERED_HELLOS {
            known.remove(&order.pop_front().expect("it is longer than its limit"));
        }
        true
    }

    /// A ticket for a client that is let in.
    pub(super) fn issue(&mut self) -> Ticket {
        let (id, secret) = (self.fresh(b"ticket id"), self.fresh(b"ticket secret"));
        let id = *id.first_chunk().expect("it is longer");
        let ticket = Ticket { id: TicketId::from_bytes(id), secret: Secret::from_bytes(secret) };
        let (known, order) = &mut self.tickets;
        known.insert(ticket.id, ticket.secret);
        order.push_back(ticket.id);
        if order.len() > MAX_TICKETS {
            known.remove(&order.pop_front().expect("it is longer than its limit"));
        }
        ticket
    }

    /// A ticket is worth nothing any more.
    pub(super) fn revoke(&mut self, id: TicketId) {
        self.tickets.0.remove(&id);
    }
}

/// How many passwords may still be tried: a bucket that fills again, so that nobody is locked out for good.
#[derive(Debug)]
struct Guesses {
    left: u32,
    refilled_at: Instant,
}

impl Guesses {
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.refilled_at);
        let more = (passed.as_millis() / GUESS_EVERY.as_millis()).min(GUESSES.into()) as u32;
        if self.left + more >= GUESSES {
            (self.left, self.refilled_at) = (GUESSES, now);
        } else {
            self.left += more;
            self.refilled_at += GUESS_EVERY * more;
        }
        let may = self.left > 0;
        self.left -= u32::from(may);
        may
    }

    fn give_back(&mut self) {
        self.left = (self.left + 1).min(GUESSES);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;
    use crate::password::Asking;
    use crate::seal::Initiator;

    struct Fixture {
        door: Door,
        now: Instant,
        clients: u32,
    }

    impl Fixture {
        fn new() -> Self {
            let (now, identity) = (Instant::now(), HostIdentity::from_random([7; 96]));
            let room = Room { name: name(), password: "right".parse().unwrap() };
            let door = Door::new(now, identity, Some(room), Terms::default(), [9; 32]);
            Self { door, now, clients: 0 }
        }

        /// One try of a password, from the share to the first message.
        fn guess(&mut self, password: &str) -> Result<Opened, Turned> {
            self.clients += 1;
            let (client, n) = (ClientId(self.clients), self.clients as u8);
            let asking = Asking::new(&name(), &password.parse().unwrap(), [n; 16], [n; 32]);
            let answer = self.door.share(self.now, client, &[n; 16], &asking.share())?;
            let Envelope::HostShare { share, host_key } = answer else { panic!("{answer:?}") };
            let shared = asking.finish(&share, &host_key).unwrap();
            let (_, hello) = Initiator::begin(&host_key, &shared, b"hello");
            self.door.open(self.now, client, None, &hello)
        }
    }

    fn name() -> RoomName {
        "kitchen".parse().unwrap()
    }

    fn away<T>(result: Result<T, Turned>) -> Option<Rejection> {
        result.err().map(|turned| turned.away)
    }

    #[test]
    fn the_password_opens_and_wrong_ones_are_slowed_but_never_locked_out() {
        let mut f = Fixture::new();
        assert_eq!(f.guess("right").unwrap().payload, b"hello");
        for _ in 0..GUESSES {
            assert_eq!(away(f.guess("wrong")), Some(Rejection::WrongSecret));
        }
        assert_eq!(away(f.guess("right")), Some(Rejection::TooManyTries));
        f.now += GUESS_EVERY;
        assert!(f.guess("right").is_ok(), "one more after a while");
        assert!(f.guess("right").is_ok(), "who is right is given its try back");
        assert_eq!(away(f.guess("wrong")), Some(Rejection::WrongSecret));
        assert_eq!(away(f.guess("wrong")), Some(Rejection::TooManyTries));
        f.now += GUESS_EVERY * 1000;
        for _ in 0..GUESSES {
            assert_eq!(away(f.guess("wrong")), Some(Rejection::WrongSecret));
        }
        assert_eq!(away(f.guess("wrong")), Some(Rejection::TooManyTries), "it does not overflow");
    }

    #[test]
    fn a_flood_of_shares_is_not_remembered() {
        let mut f = Fixture::new();
        for n in 0..10_000 {
            f.now += Duration::from_millis(10);
            let _ = f.door.share(f.now, ClientId(n), &[1; 16], &[9; 32]);
        }
        assert!(f.door.exchanges.len() < 2 * GUESSES as usize);
    }

    #[test]
    fn a_share_is_good_for_one_message_and_not_for_long() {
        let mut f = Fixture::new();
        let asking = Asking::new(&name(), &"right".parse().unwrap(), [1; 16], [1; 32]);
        let (client, share) = (ClientId(1), asking.share());
        let answer = f.door.share(f.now, client, &[1; 16], &share).unwrap();
        let Envelope::HostShare { share, host_key } = answer else { panic!("{answer:?}") };
        let shared = asking.finish(&share, &host_key).unwrap();
        let hello = || Initiator::begin(&host_key, &shared, b"hello").1;
        assert!(f.door.open(f.now, client, None, &hello()).is_ok());
        assert_eq!(away(f.door.open(f.now, client, None, &hello())), Some(Rejection::WrongSecret));
        f.door.share(f.now, client, &[1; 16], &[9; 32]).unwrap();
        let late = f.now + EXCHANGE_TIMEOUT;
        assert_eq!(away(f.door.open(late, client, None, &hello())), Some(Rejection::WrongSecret));
    }

    #[test]
    fn a_ticket_opens_until_it_is_revoked_and_costs_no_guess() {
        let mut f = Fixture::new();
        let ticket = f.door.issue();
        let host_key = f.door.identity.public_key();
        while f.guess("wrong").is_err_and(|turned| turned.away != Rejection::TooManyTries) {}
        let mut open = |id, secret| {
            let shared = PreShared::ticket(&Ticket { id, secret });
            let (_, hello) = Initiator::begin(&host_key, &shared, b"hello");
            f.door.open(f.now, ClientId(1), Some(id), &hello).map(|opened| opened.ticket)
        };
        for _ in 0..20 {
            assert_eq!(open(ticket.id, ticket.secret), Ok(Some(ticket.id)));
        }
        let other = Secret::from_bytes([1; 32]);
        assert_eq!(away(open(ticket.id, other)), Some(Rejection::WrongSecret));
        f.door.revoke(ticket.id);
        let shared = PreShared::ticket(&ticket);
        let (_, hello) = Initiator::begin(&host_key, &shared, b"hello");
        let revoked = f.door.open(f.now, ClientId(1), Some(ticket.id), &hello);
        assert_eq!(away(revoked), Some(Rejection::WrongSecret));
    }

    #[test]
    fn tickets_have_a_bound() {
        let mut f = Fixture::new();
        for _ in 0..2 * MAX_TICKETS {
            f.door.issue();
        }
        assert_eq!((f.door.tickets.0.len(), f.door.tickets.1.len()), (MAX_TICKETS, MAX_TICKETS));
    }

    #[test]
    fn the_same_first_message_opens_once() {
        let mut f = Fixture::new();
        let shared = PreShared::link(&f.door.identity.room(), &f.door.identity.secret);
        let (_, hello) = Initiator::begin(&f.door.identity.public_key(), &shared, b"hello");
        assert!(f.door.open(f.now, ClientId(1), None, &hello).is_ok());
        let again = f.door.open(f.now, ClientId(2), None, &hello);
        assert_eq!(away(again), Some(Rejection::Tampered));
    }
}
