//! Who may speak to the host: invitation, password, tickets. Nothing is built for a client before it has shown one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use lllsi_proto::invite::{RoomToken, Secret, TicketId};
use lllsi_proto::rendezvous::ClientId;
use lllsi_proto::room::{Password, RoomName};
use lllsi_proto::sealed::{Envelope, Rejection, Ticket};

use super::invitation::{Invitation, Terms};
use super::{Event, Room};
use crate::bucket::{Bucket, Rate};
use crate::password;
use crate::seal::{HostIdentity, PreShared, Responder, derive};

/// First messages remembered, so that the server cannot play one twice.
const REMEMBERED_HELLOS: usize = 4096;
/// Tickets that are good at once; a new one takes the place of the oldest.
const MAX_TICKETS: usize = 4096;
/// How many passwords may be tried. It fills again, so that nobody is locked out for good.
const GUESSES: Rate = Rate { burst: 10, every: Duration::from_secs(5) };
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

/// Somebody who is not let in.
#[derive(Debug)]
pub(super) struct Turned {
    pub(super) away: Rejection,
    /// What the user is told. Nothing of what comes in floods, or proves nothing.
    pub(super) event: Option<Event>,
}

/// What is known by a key, up to a number: what is new takes the place of the oldest.
struct Newest<K, V> {
    known: HashMap<K, V>,
    order: VecDeque<K>,
    max: usize,
}

impl<K: Copy + Eq + Hash, V> Newest<K, V> {
    fn new(max: usize) -> Self {
        Self { known: HashMap::new(), order: VecDeque::new(), max }
    }

    /// `false` if it is known already.
    fn insert(&mut self, key: K, value: V) -> bool {
        if self.known.contains_key(&key) {
            return false;
        }
        self.known.insert(key, value);
        self.order.push_back(key);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.known.retain(|key, _| keep(key));
        self.order.retain(keep);
    }
}

/// Keys, and what has been done with them.
pub(super) struct Door {
    identity: HostIdentity,
    room: Option<Room>,
    terms: Terms,
    invitation: Invitation,
    guesses: Bucket,
    /// Clients that have our share, and until when they may go on.
    exchanges: HashMap<ClientId, (Instant, PreShared)>,
    tickets: Newest<TicketId, Secret>,
    /// Each first message begins with a fresh public key of its client.
    hellos: Newest<[u8; 32], ()>,
    seed: [u8; 32],
    /// Shares and tickets made so far: each has randomness of its own.
    made: u64,
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
            guesses: Bucket::full(now, GUESSES),
            exchanges: HashMap::new(),
            tickets: Newest::new(MAX_TICKETS),
            hellos: Newest::new(REMEMBERED_HELLOS),
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

    /// The invitation, and the password, are others from now on. Tickets of those who are not here end too.
    pub(super) fn renew(
        &mut self,
        now: Instant,
        secret: Secret,
        password: Option<Password>,
        here: &HashSet<TicketId>,
    ) {
        self.tickets.retain(|id| here.contains(id));
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

    /// Lets one in who has no ticket, and gives it one; `None` if the invitation is used up.
    pub(super) fn let_in(&mut self) -> Option<Ticket> {
        self.invitation.take().then(|| self.issue())
    }

    /// It did not come in after all.
    pub(super) fn take_back(&mut self, ticket: &Ticket) {
        self.invitation.give_back();
        self.revoke(ticket.id);
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
        let turned = |away| Turned { away, event: None };
        let room = self.room.clone().ok_or(turned(Rejection::WrongSecret))?;
        // Before anything is computed: a flood costs no time.
        if !self.guesses.take(now, GUESSES) {
            return Err(turned(Rejection::TooManyTries));
        }
        let (random, host_key) = (self.fresh(b"password share"), self.identity.public_key());
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
        let turned = |away| {
            let event = match (ticket, with_password) {
                // Somebody who was kicked, most likely.
                (Some(_), _) => None,
                (None, true) => Some(Event::WrongPassword),
                (None, false) => Some(Event::Rejected),
            };
            Turned { away, event }
        };
        let room = self.identity.room();
        let shared = match (ticket, exchange) {
            (Some(id), _) => {
                let secret = self.tickets.known.get(&id).copied();
                let secret = secret.ok_or_else(|| turned(Rejection::WrongSecret))?;
                PreShared::ticket(&Ticket { room, id, secret })
            }
            (None, Some((_, shared))) => shared,
            (None, None) => PreShared::link(&room, &self.identity.secret),
        };
        let opened = Responder::accept(&self.identity, &shared, message);
        let (responder, payload) = opened.map_err(|_| turned(Rejection::WrongSecret))?;
        let key = message.first_chunk().ok_or_else(|| turned(Rejection::Tampered))?;
        if !self.hellos.insert(*key, ()) {
            return Err(turned(Rejection::Tampered));
        }
        if with_password {
            self.guesses.give_back(GUESSES);
        }
        Ok(Opened { responder, payload, ticket })
    }

    fn issue(&mut self) -> Ticket {
        let (id, secret) = (self.fresh(b"ticket id"), self.fresh(b"ticket secret"));
        let id = TicketId::from_bytes(*id.first_chunk().expect("it is longer"));
        let secret = Secret::from_bytes(secret);
        self.tickets.insert(id, secret);
        Ticket { room: self.identity.room(), id, secret }
    }

    /// A ticket is worth nothing any more.
    pub(super) fn revoke(&mut self, id: TicketId) {
        self.tickets.retain(|known| *known != id);
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
        for _ in 0..GUESSES.burst {
            assert_eq!(away(f.guess("wrong")), Some(Rejection::WrongSecret));
        }
        assert_eq!(away(f.guess("right")), Some(Rejection::TooManyTries));
        f.now += GUESSES.every;
        assert!(f.guess("right").is_ok(), "one more after a while");
        assert!(f.guess("right").is_ok(), "who is right is given its try back");
        assert_eq!(away(f.guess("wrong")), Some(Rejection::WrongSecret));
        assert_eq!(away(f.guess("wrong")), Some(Rejection::TooManyTries));
        f.now += GUESSES.every * 1000;
        for _ in 0..GUESSES.burst {
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
        assert!(f.door.exchanges.len() < 2 * GUESSES.burst as usize);
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
            let shared = PreShared::ticket(&Ticket { id, secret, ..ticket });
            let (_, hello) = Initiator::begin(&host_key, &shared, b"hello");
            f.door.open(f.now, ClientId(1), Some(id), &hello).map(|opened| opened.ticket)
        };
        for _ in 0..20 {
            assert_eq!(open(ticket.id, ticket.secret).ok(), Some(Some(ticket.id)));
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
    fn renewing_ends_tickets_of_those_who_are_not_here() {
        let mut f = Fixture::new();
        let [here, hoarded] = [f.door.issue(), f.door.issue()];
        let secret = Secret::from_bytes([1; 32]);
        f.door.renew(f.now, secret, None, &HashSet::from([here.id]));
        assert!(f.door.tickets.known.contains_key(&here.id));
        assert!(!f.door.tickets.known.contains_key(&hoarded.id));
    }

    #[test]
    fn what_is_new_takes_the_place_of_the_oldest() {
        let mut newest = Newest::new(2);
        assert!(newest.insert(1, ()) && newest.insert(2, ()) && !newest.insert(1, ()));
        assert!(newest.insert(3, ()));
        let mut known: Vec<_> = newest.known.keys().copied().collect();
        known.sort_unstable();
        assert_eq!((known, newest.order.len()), (vec![2, 3], 2));
    }

    #[test]
    fn tickets_have_a_bound() {
        let mut f = Fixture::new();
        for _ in 0..2 * MAX_TICKETS {
            f.door.issue();
        }
        let Newest { known, order, .. } = &f.door.tickets;
        assert_eq!((known.len(), order.len()), (MAX_TICKETS, MAX_TICKETS));
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
