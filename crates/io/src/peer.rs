//! A peer's thread: it owns a machine by value, and drives it.
//!
//! Data flows one way: actions and frames come in by a bounded queue, events go out by another. Nothing is called back
//! and nothing is locked while the machine runs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lllsi_core::{Input, Machine, Output};
use tokio::sync::{Notify, mpsc};

use crate::Error;
use crate::calm::Calm;
use crate::network::{Network, Reached};
pub use crate::signal::Rendezvous;
use crate::signal::Signalling;
use crate::socket::{Batch, Endpoint, Received};

/// Actions that may wait for the net thread. Frames come this way: an encoder waits rather than lose one in the middle
/// of a prediction chain.
const ACTIONS: usize = 8;
/// How often the figures others may look at are renewed.
const STATUS_EVERY: Duration = Duration::from_millis(250);
/// Receive batches handled before what is to be done next: each time the machine is drained, and when some are waited for.
const BATCHES_AT_ONCE: usize = 16;
/// Batches sent, to many viewers perhaps, before it is looked what has come meanwhile: with fewer what is sent waits for what
/// comes, with more the other way round (docs/streams.md).
const SENDS_BEFORE_HEARING: usize = 12;

/// Takes a machine's events on the net thread. Must not block.
pub trait Outbox<E>: Send + 'static {
    /// Takes one event.
    fn put(&mut self, event: E) -> Result<(), Overflow>;
}

/// An event could not be kept: its reader is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// Where the net thread finds actions that are not handed in. It takes them whenever it is awake, until there are none.
/// Must not block.
pub trait Inlet<A>: Send + 'static {
    /// The next action.
    fn take(&mut self) -> Option<A>;
}

/// Wakes a net thread from anywhere, to look at its [`Inlet`].
#[derive(Debug, Clone, Default)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    /// Wakes it now, or when it comes to wait.
    pub fn nudge(&self) {
        self.0.notify_one();
    }

    /// Waits until somebody does. Loses nothing where it is cancelled.
    pub(crate) async fn nudged(&self) {
        self.0.notified().await;
    }
}

/// What a net thread is connected to.
pub struct Ends<A, O, I> {
    /// Takes the machine's events.
    pub outbox: O,
    /// Is handed to the machine whenever the outbox could not keep an event.
    pub on_overflow: Option<A>,
    /// Has actions besides those that are handed in.
    pub inlet: I,
    /// Tells that it has.
    pub nudge: Nudge,
}

/// A running peer. Dropping it does not stop the machine: hand it its closing action first.
pub struct Peer<M: Machine> {
    actions: mpsc::Sender<M::Action>,
    status: Arc<Mutex<M::Status>>,
    look: Nudge,
    thread: Option<JoinHandle<()>>,
}

/// Where a peer is.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The UDP port that its socket is bound to; 0 for one of the system's choice.
    pub port: u16,
    /// At which addresses others have come in, if there is a server beside it.
    pub reached: Reached,
}

/// Starts the net thread. `make` builds the machine, given our addresses with the port of its socket, the best first.
///
/// # Errors
/// [`Error::MediaPort`] where another program has the port; [`Error::Socket`] and [`Error::Thread`] for what the system refuses.
pub fn spawn<M>(
    server: Rendezvous,
    Place { port, reached }: Place,
    make: impl FnOnce(Vec<SocketAddr>) -> M + Send + 'static,
    ends: Ends<M::Action, impl Outbox<M::Event>, impl Inlet<M::Action>>,
) -> Result<Peer<M>, Error>
where
    M: Machine + 'static,
    M::Action: Clone + Send,
    M::Status: Default + Send,
{
    let (actions, actions_out) = mpsc::channel(ACTIONS);
    let status = Arc::new(Mutex::new(M::Status::default()));
    let shown = Arc::clone(&status);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Thread { name: "net", source })?;
    let endpoint =
        runtime.block_on(async { Endpoint::bind(port) }).map_err(|source| match port {
            0 => Error::Socket(source),
            _ => Error::MediaPort { port, source },
        })?;
    let look = Nudge::default();
    let looked = look.clone();
    let thread = std::thread::Builder::new().name("net".into()).spawn(move || {
        runtime.block_on(async {
            let network = Network::new(&server, &endpoint, looked, reached);
            let machine = make(network.locals.clone());
            let network = Some(network);
            drive(server, endpoint, network, machine, ends, shown, actions_out).await;
        });
        // Not waiting for a name that is still being looked up.
        runtime.shutdown_background();
    });
    let thread = thread.map_err(|source| Error::Thread { name: "net", source })?;
    Ok(Peer { actions, status, look, thread: Some(thread) })
}

/// Drives a machine until its session is over, or nobody is left who could end it. Without a network its addresses do not change.
pub(crate) async fn drive<M>(
    server: Rendezvous,
    endpoint: Endpoint,
    network: Option<Network>,
    machine: M,
    ends: Ends<M::Action, impl Outbox<M::Event>, impl Inlet<M::Action>>,
    status: Arc<Mutex<M::Status>>,
    actions: mpsc::Receiver<M::Action>,
) where
    M: Machine,
    M::Action: Clone,
{
    let Ends { outbox, on_overflow, inlet, nudge } = ends;
    let driver = Driver {
        machine,
        endpoint,
        network,
        signalling: Signalling::new(server),
        batch: Batch::default(),
        outbox,
        inlet,
        nudge,
        on_overflow,
        overflowed: false,
        put_out: 0,
        status,
        status_at: Instant::now(),
        status_stale: true,
    };
    driver.run(actions).await;
}

impl<M: Machine> Peer<M> {
    /// Hands in an action, waiting while the queue is full. `false` if the session is over.
    pub fn act(&self, action: M::Action) -> bool {
        self.actions.blocking_send(action).is_ok()
    }

    /// A way to hand in actions from another thread.
    pub fn actions(&self) -> Actions<M::Action> {
        Actions(self.actions.clone())
    }

    /// Lists the addresses again, and hands them to the machine even if they are the same: after the machine has slept, for example.
    /// Changes that the system reports need no call.
    pub fn network_changed(&self) {
        self.look.nudge();
    }

    /// The machine's figures, at most a quarter of a second old.
    pub fn status(&self) -> M::Status
    where
        M::Status: Clone,
    {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the thread to end, after the machine's closing action.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the net thread panicked");
        }
    }
}

/// Hands actions to a peer from any thread.
#[derive(Debug)]
pub struct Actions<A>(mpsc::Sender<A>);

impl<A> Clone for Actions<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A> Actions<A> {
    /// Hands in an action, waiting while the queue is full. `false` if the session is over.
    pub fn act(&self, action: A) -> bool {
        self.0.blocking_send(action).is_ok()
    }
}

struct Driver<M: Machine, O, I> {
    machine: M,
    endpoint: Endpoint,
    network: Option<Network>,
    signalling: Signalling,
    batch: Batch,
    outbox: O,
    inlet: I,
    nudge: Nudge,
    on_overflow: Option<M::Action>,
    overflowed: bool,
    /// Datagrams, commands and events that the machine has put out.
    put_out: u64,
    status: Arc<Mutex<M::Status>>,
    status_at: Instant,
    /// Whether something has happened since the figures were renewed.
    status_stale: bool,
}

impl<M, O, I> Driver<M, O, I>
where
    M: Machine,
    M::Action: Clone,
    O: Outbox<M::Event>,
    I: Inlet<M::Action>,
{
    async fn run(mut self, mut actions: mpsc::Receiver<M::Action>) {
        let mut calm = Calm::default();
        loop {
            let (deadline, mut is_more) = self.take_in().await;
            if M::SERVES_MANY
                && !is_more
                && let Some(rest) = calm.rest(self.put_out, Instant::now())
            {
                std::thread::sleep(rest);
            }
            self.show_status();
            if self.machine.is_closed() {
                break;
            }
            let wake = if self.status_stale { deadline.min(self.status_at) } else { deadline };
            tokio::select! {
                ready = self.endpoint.readable() => match ready {
                    Ok(()) => is_more |= self.receive().await,
                    Err(error) => tracing::warn!(%error, "the socket cannot be waited for"),
                },
                action = actions.recv() => match action {
                    Some(action) => self.input(Input::Action(action)),
                    // Nobody is left who could tell it to end.
                    None => break,
                },
                () = self.nudge.nudged() => {}
                Some(event) = self.signalling.event() => self.input(Input::Signal(event)),
                locals = changed(&mut self.network) => self.input(Input::LocalsChanged(locals)),
                () = tokio::time::sleep_until(wake.into()) => {
                    if Instant::now() >= deadline {
                        self.input(Input::Timeout);
                    }
                }
            }
            if is_more {
                // However much there is: sockets, timers and other tasks get their turn.
                tokio::task::yield_now().await;
            }
        }
        self.signalling.closed().await;
    }

    fn input(&mut self, input: Input<'_, M::Action>) {
        self.status_stale = true;
        self.machine.handle_input(Instant::now(), input);
    }

    /// Drains the machine, and hands in what the inlet has: a few at a time, so that the network gets its turn. What has come
    /// together goes out together: whoever is behind has less to do for each. Tells when to wake the machine, and whether there
    /// may be more.
    async fn take_in(&mut self) -> (Instant, bool) {
        let mut taken = 0;
        loop {
            // What the machine tells may be what the inlet waits for.
            let deadline = self.drain().await;
            let before = taken;
            while taken < ACTIONS
                && let Some(action) = self.inlet.take()
            {
                self.input(Input::Action(action));
                taken += 1;
            }
            if taken == before {
                let is_full = taken == ACTIONS;
                if is_full {
                    self.nudge.nudge();
                }
                return (deadline, is_full);
            }
        }
    }

    /// Does what the machine wants done, until it only wants to be woken. Hears in between: what viewers send need not wait until
    /// all are served.
    async fn drain(&mut self) -> Instant {
        let (mut sends, mut heard) = (self.batch.sends, 0);
        let deadline = loop {
            match self.machine.poll_output() {
                Output::Timeout(at) => {
                    let cue =
                        self.on_overflow.clone().filter(|_| std::mem::take(&mut self.overflowed));
                    match cue {
                        Some(action) => self.input(Input::Action(action)),
                        None => break at,
                    }
                }
                output => self.output(output).await,
            }
            if self.batch.sends >= sends + SENDS_BEFORE_HEARING && heard < BATCHES_AT_ONCE {
                (sends, heard) = (self.batch.sends, heard + 1);
                self.hear();
            }
        };
        self.batch.flush(&mut self.endpoint).await;
        deadline
    }

    /// Hands in datagrams, and tells whether there may be more. The machine is to be drained of what comes of the last.
    async fn receive(&mut self) -> bool {
        for _ in 0..BATCHES_AT_ONCE {
            if self.hear() == Received::All {
                return false;
            }
            self.drain().await;
        }
        true
    }

    /// Hands in a batch of datagrams, if some are there.
    fn hear(&mut self) -> Received {
        self.status_stale = true;
        let Self { endpoint, machine, .. } = self;
        let received = endpoint.receive(|source, destination, data| {
            machine.handle_input(Instant::now(), Input::Datagram { source, destination, data });
        });
        received.unwrap_or_else(|error| {
            tracing::warn!(%error, "receiving failed");
            Received::All
        })
    }

    /// Does one thing the machine wants done.
    async fn output(&mut self, output: Output<M::Event>) {
        self.put_out += 1;
        match output {
            Output::Transmit(transmit) => self.batch.push(&mut self.endpoint, &transmit).await,
            Output::Signal(command) => self.signalling.command(command),
            Output::Event(event) => self.overflowed |= self.outbox.put(event).is_err(),
            Output::Timeout(_) => {}
        }
    }

    fn show_status(&mut self) {
        let now = Instant::now();
        if now >= self.status_at {
            self.status_at = now + STATUS_EVERY;
            self.status_stale = false;
            *self.status.lock().unwrap_or_else(PoisonError::into_inner) = self.machine.status();
        }
    }
}

async fn changed(network: &mut Option<Network>) -> Vec<SocketAddr> {
    match network {
        Some(network) => network.changed().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::net::UdpSocket;
    use std::sync::mpsc;

    use lllsi_core::Transmit;

    /// Says whatever it is told to say. At [`HOLD`] it waits until it is let go.
    struct Echo {
        outputs: VecDeque<Output<u32>>,
        closed: bool,
        held: mpsc::Receiver<()>,
    }

    const END: u32 = 0;
    const HOLD: u32 = 1;
    const LOST: u32 = 1000;
    const MOVED: u32 = 1001;
    /// Actions that are too many to be handed in before a datagram that is there.
    const MANY: usize = 1000;

    fn echo() -> (mpsc::Sender<()>, impl FnOnce(Vec<SocketAddr>) -> Echo) {
        let (release, held) = mpsc::channel();
        (release, |_| Echo { outputs: VecDeque::new(), closed: false, held })
    }

    fn nowhere() -> Rendezvous {
        Rendezvous { url: "http://127.0.0.1:9".into(), certificate: None }
    }

    impl Machine for Echo {
        type Action = u32;
        type Event = u32;
        type Status = ();

        fn handle_input(&mut self, _: Instant, input: Input<'_, u32>) {
            match input {
                Input::Action(END) => self.closed = true,
                Input::Action(HOLD) => self.held.recv().expect("it is let go"),
                Input::Action(number) => self.outputs.push_back(Output::Event(number)),
                Input::LocalsChanged(_) => self.outputs.push_back(Output::Event(MOVED)),
                _ => {}
            }
        }

        fn poll_output(&mut self) -> Output<u32> {
            let later = Instant::now() + Duration::from_secs(60);
            self.outputs.pop_front().unwrap_or(Output::Timeout(later))
        }

        fn status(&self) {}

        fn is_closed(&self) -> bool {
            self.closed
        }
    }

    /// Has no place for one of them.
    struct Full(u32, mpsc::Sender<u32>);

    impl Outbox<u32> for Full {
        fn put(&mut self, event: u32) -> Result<(), Overflow> {
            let _ = self.1.send(event);
            if event == self.0 { Err(Overflow) } else { Ok(()) }
        }
    }

    struct Numbers(mpsc::Receiver<u32>);

    impl Inlet<u32> for Numbers {
        fn take(&mut self) -> Option<u32> {
            self.0.try_recv().ok()
        }
    }

    /// With what puts numbers into the inlet.
    fn ends(
        outbox: Full,
        on_overflow: Option<u32>,
    ) -> (mpsc::Sender<u32>, Ends<u32, Full, Numbers>) {
        let (sender, inlet) = mpsc::channel();
        let (inlet, nudge) = (Numbers(inlet), Nudge::default());
        (sender, Ends { outbox, on_overflow, inlet, nudge })
    }

    #[test]
    fn an_inlet_is_emptied_when_it_is_nudged() {
        let (_release, make) = echo();
        let (sender, told) = mpsc::channel();
        let (numbers, ends) = ends(Full(0, sender), None);
        let nudge = ends.nudge.clone();
        let mut peer = spawn(nowhere(), Place::default(), make, ends).expect("it starts");
        for round in 0..3 {
            let all: Vec<u32> = (2..100).map(|n| n + round * 100).collect();
            all.iter().for_each(|n| numbers.send(*n).expect("it is there"));
            nudge.nudge();
            assert_eq!(told.iter().take(all.len()).collect::<Vec<_>>(), all);
        }
        peer.act(END);
        peer.join();
    }

    /// At the first action it gets a datagram, and has so many to send. Tells how many actions it was given until it heard of that,
    /// and how many datagrams it had left.
    struct Listener {
        port: u16,
        other: UdpSocket,
        to_send: usize,
        actions: usize,
        told: mpsc::Sender<(usize, usize)>,
        closed: bool,
    }

    impl Listener {
        fn new(port: u16, to_send: usize, told: mpsc::Sender<(usize, usize)>) -> Self {
            let other = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            Self { port, other, to_send, actions: 0, told, closed: false }
        }

        fn end(&mut self) {
            self.closed = true;
            let _ = self.told.send((self.actions, self.to_send));
        }
    }

    impl Machine for Listener {
        type Action = u32;
        type Event = u32;
        type Status = ();

        fn handle_input(&mut self, _: Instant, input: Input<'_, u32>) {
            match input {
                Input::Action(_) => {
                    if self.actions == 0 {
                        self.other.send_to(&[1], ("127.0.0.1", self.port)).expect("it is sent");
                        // A busy system may pass it on a little later.
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    self.actions += 1;
                    if self.actions == MANY {
                        self.end();
                    }
                }
                Input::Datagram { .. } => self.end(),
                _ => {}
            }
        }

        fn poll_output(&mut self) -> Output<u32> {
            if self.actions == 0 || self.to_send == 0 {
                return Output::Timeout(Instant::now() + Duration::from_secs(60));
            }
            self.to_send -= 1;
            // Of growing sizes: none goes together with another.
            let contents = vec![0; 1000 - self.to_send];
            let destination = self.other.local_addr().expect("it is bound");
            Output::Transmit(Transmit { source: None, destination, contents, segment_size: None })
        }

        fn status(&self) {}

        fn is_closed(&self) -> bool {
            self.closed
        }
    }

    #[test]
    fn a_machine_is_told_that_the_network_has_changed() {
        let (_release, make) = echo();
        let (sender, told) = mpsc::channel();
        let (_numbers, ends) = ends(Full(0, sender), None);
        let mut peer = spawn(nowhere(), Place::default(), make, ends).expect("it starts");
        peer.network_changed();
        assert_eq!(told.recv(), Ok(MOVED));
        peer.act(END);
        peer.join();
    }

    #[test]
    fn a_port_may_be_chosen_unless_another_has_it() {
        let taken = UdpSocket::bind("[::]:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"));
        let taken = taken.expect("a socket");
        let port = taken.local_addr().expect("it is bound").port();
        let start = |port| {
            let (sender, told) = mpsc::channel();
            let make = move |locals: Vec<SocketAddr>| {
                let _ = sender.send(locals[0].port());
                echo().1(locals)
            };
            let outbox = Full(0, mpsc::channel().0);
            spawn(nowhere(), Place { port, ..Place::default() }, make, ends(outbox, None).1)
                .map(|peer| (peer, told))
        };
        let refused = start(port).err();
        assert!(
            matches!(refused, Some(Error::MediaPort { port: p, .. }) if p == port),
            "{refused:?}"
        );
        drop(taken);
        let (mut peer, told) = start(port).expect("it is free");
        assert_eq!(told.recv(), Ok(port));
        peer.act(END);
        peer.join();
    }

    #[test]
    fn an_inlet_that_never_ends_stops_no_datagram() {
        struct Endless;
        impl Inlet<u32> for Endless {
            fn take(&mut self) -> Option<u32> {
                Some(2)
            }
        }
        let ((outbox, _), (sender, told)) = (mpsc::channel(), mpsc::channel());
        let (outbox, nudge) = (Full(0, outbox), Nudge::default());
        nudge.nudge();
        let make = |locals: Vec<SocketAddr>| Listener::new(locals[0].port(), 0, sender);
        let ends = Ends { outbox, on_overflow: None, inlet: Endless, nudge };
        spawn(nowhere(), Place::default(), make, ends).expect("it starts").join();
        assert!(told.recv().expect("it ends").0 < MANY, "no datagram came");
    }

    #[test]
    fn whoever_has_much_to_send_hears_in_between() {
        let ((outbox, _), (sender, told)) = (mpsc::channel(), mpsc::channel());
        let make = |locals: Vec<SocketAddr>| {
            Listener::new(locals[0].port(), 20 * SENDS_BEFORE_HEARING, sender)
        };
        let mut peer = spawn(nowhere(), Place::default(), make, ends(Full(0, outbox), None).1)
            .expect("it starts");
        peer.act(2);
        peer.join();
        let (_, left) = told.recv().expect("the datagram came");
        assert!(left > 0, "all was sent before");
    }

    #[test]
    fn a_machine_is_told_once_that_an_event_was_lost_and_actions_keep_their_order() {
        let (_release, make) = echo();
        let (sender, told) = mpsc::channel();
        let mut peer =
            spawn(nowhere(), Place::default(), make, ends(Full(2, sender), Some(LOST)).1)
                .expect("it starts");
        let numbers: Vec<u32> = (2..100).collect();
        assert!(numbers.iter().all(|number| peer.act(*number)));
        peer.act(END);
        peer.join();
        assert!(!peer.act(2), "it is over");
        let all: Vec<_> = told.into_iter().collect();
        let (cues, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|event| *event == LOST);
        assert_eq!((cues.len(), others), (1, numbers));
    }

    #[test]
    fn actions_that_wait_have_a_bound() {
        let ((sender, told), (release, make)) = (mpsc::channel(), echo());
        let mut peer = spawn(nowhere(), Place::default(), make, ends(Full(0, sender), None).1)
            .expect("it starts");
        peer.act(2);
        assert_eq!(told.recv(), Ok(2));
        peer.act(HOLD);
        // Taken out of the queue at some time: then exactly as many fit.
        while peer.actions.capacity() < ACTIONS {
            std::thread::yield_now();
        }
        assert!((0..ACTIONS).all(|_| peer.actions.try_send(3).is_ok()));
        assert!(peer.actions.try_send(3).is_err());
        release.send(()).expect("it is held");
        peer.act(END);
        peer.join();
        assert_eq!(told.into_iter().count(), ACTIONS);
    }
}
