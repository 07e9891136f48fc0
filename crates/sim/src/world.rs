//! Virtual time, and everything that happens in it.

mod acts;
mod datagrams;
mod hostile;
mod pictures;
mod signalling;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use lllsi_core::client::{self, Client, Entry};
use lllsi_core::host::{self, Host, MAX_LAYERS};
use lllsi_core::rendezvous::{self, ConnectionId, Rendezvous};
use lllsi_core::seal::HostIdentity;
use lllsi_core::{Certificate, Input, Machine as _, Output, SignalCommand, SignalEvent, Transmit};
use lllsi_proto::invite::Invite;
use lllsi_proto::rendezvous::ClientId;

use crate::cubic::Cubic;
use crate::line::LineState;
use crate::nat::{Nat, NatKind};
use crate::net::{Conditions, Rng};
use crate::view::{ClientView, HostView};
use hostile::Meddle;
use pictures::Encoder;

pub use hostile::Intruder;
pub use pictures::Pictures;

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 36542);
const FRAME_EVERY: Duration = Duration::from_micros(33_333);
const FRAME_BYTES: usize = 8_000;
const MAX_BITRATE: u32 = 4_000_000;
/// Datagrams of the host that are kept.
const OVERHEARD: usize = 64;

/// How a world begins.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Reproduces the network's schedule.
    pub seed: u64,
    /// Every peer's access to the network.
    pub conditions: Conditions,
    /// The host's NAT.
    pub host_nat: Option<NatKind>,
    /// The clients' NATs, one each.
    pub client_nat: Option<NatKind>,
    /// The host's access at a second address, which it names first, if it has one.
    pub host_detour: Option<Conditions>,
    /// The same of clients.
    pub client_detour: Option<Conditions>,
    /// Whether clients wait for admission.
    pub lobby: bool,
    /// Viewers at once.
    pub max_viewers: u32,
    /// How long and how often the invitation holds.
    pub terms: host::Terms,
    /// The room's name and password, if it has them.
    pub room: Option<host::Room>,
    /// How long clients try to come back.
    pub patience: Duration,
    /// Addresses that clients claim to have besides their own.
    pub claims: Vec<SocketAddr>,
    /// Of each frame that is no keyframe; there are 30 in a second.
    pub frame_bytes: usize,
    /// How large the frames of an encoder are that follows the host's pace, in place of `frame_bytes`.
    pub pictures: Option<Pictures>,
    /// What the host may send to all viewers together, bit/s.
    pub max_uplink: Option<u32>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 0,
            conditions: Conditions::default(),
            host_nat: None,
            client_nat: None,
            host_detour: None,
            client_detour: None,
            lobby: false,
            max_viewers: 8,
            terms: host::Terms::default(),
            room: None,
            patience: Duration::ZERO,
            claims: Vec::new(),
            frame_bytes: FRAME_BYTES,
            pictures: None,
            max_uplink: None,
        }
    }
}

/// Names a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(usize);

impl NodeId {
    /// The host.
    pub const HOST: Self = Self(0);
}

enum Machine {
    Host(Box<Host>, HostView),
    Client(Box<Client>, ClientView),
}

struct Node {
    machine: Machine,
    address: SocketAddr,
    /// Another address, and the access there.
    detour: Option<(SocketAddr, Conditions)>,
    nat: Option<Nat>,
    conditions: Conditions,
    /// Its line to the network and from it, if that has limits.
    lines: Option<(LineState, LineState)>,
    connection: Option<ConnectionId>,
    /// Its connection is of an address that it has no more.
    has_moved: bool,
    wake: Instant,
    alive: bool,
}

enum Happening {
    Datagram { source: SocketAddr, destination: SocketAddr, data: Vec<u8> },
    Signal { node: NodeId, connection: ConnectionId, event: SignalEvent },
    ToServer { input: rendezvous::Input },
    Frame,
}

/// The machines, the network between them, and the time.
pub struct World {
    setup: Setup,
    rng: Rng,
    begin: Instant,
    now: Instant,
    schedule: BinaryHeap<Reverse<(Instant, u64)>>,
    happenings: HashMap<u64, Happening>,
    next_happening: u64,
    nodes: Vec<Node>,
    by_ip: HashMap<IpAddr, NodeId>,
    /// Addresses given out for second networks.
    roamed: u8,
    server: Option<Rendezvous>,
    server_wake: Instant,
    connections: HashMap<ConnectionId, NodeId>,
    next_connection: u64,
    identity: HostIdentity,
    certificate: Certificate,
    /// The encoders of the layers.
    encoders: [Encoder; MAX_LAYERS as usize],
    /// Everything that went through the server, as it saw it.
    pub transcript: Vec<String>,
    /// Envelopes for whoever squats a name.
    pub squatted: Vec<(ClientId, Vec<u8>)>,
    meddle: Option<Meddle>,
    intruders: u64,
    /// Datagrams that the host sent, by where: when, and their bytes.
    pub host_sent: HashMap<IpAddr, Vec<(Duration, usize)>>,
    /// Bytes that all peers have sent.
    pub sent_bytes: usize,
    /// Whether the host sends no frames.
    pub is_at_rest: bool,
    /// The host's first datagrams, as somebody on the way would keep them.
    overheard: Vec<Vec<u8>>,
    /// TCP connections over the host's line.
    downloads: Vec<Cubic>,
}

impl World {
    /// A host that has opened its room and sends 30 frames a second.
    pub fn new(setup: Setup) -> Self {
        let mut rng = Rng::new(setup.seed);
        let begin = Instant::now();
        let identity = HostIdentity::from_random(rng.bytes());
        let mut world = Self {
            begin,
            now: begin,
            schedule: BinaryHeap::new(),
            happenings: HashMap::new(),
            next_happening: 0,
            nodes: Vec::new(),
            by_ip: HashMap::new(),
            roamed: 0,
            server: Some(server()),
            server_wake: begin + Duration::from_secs(3600),
            connections: HashMap::new(),
            next_connection: 1,
            certificate: Certificate::generate(),
            encoders: Default::default(),
            transcript: Vec::new(),
            squatted: Vec::new(),
            meddle: None,
            intruders: 0,
            host_sent: HashMap::new(),
            sent_bytes: 0,
            is_at_rest: false,
            overheard: Vec::new(),
            downloads: Vec::new(),
            identity,
            rng,
            setup,
        };
        let (address, nat) = world.place(world.setup.host_nat);
        let detour = world.detour(world.setup.host_detour);
        let config = host::Config {
            identity: world.identity.clone(),
            locals: detour.into_iter().map(|(at, _)| at).chain([address]).collect(),
            certificate: world.certificate.clone(),
            random_seed: world.rng.bytes(),
            lobby: world.setup.lobby,
            max_viewers: world.setup.max_viewers,
            terms: world.setup.terms,
            room: world.setup.room.clone(),
            max_bitrate: MAX_BITRATE,
            max_uplink: world.setup.max_uplink,
            layers: MAX_LAYERS,
        };
        let host = Box::new(Host::new(begin, config));
        world.add(Machine::Host(host, HostView::default()), address, detour, nat);
        world.after(FRAME_EVERY, Happening::Frame);
        let open = |w: &Self| w.host().told(|e| matches!(e, host::Event::RoomOpen));
        assert!(world.run_until(Duration::from_secs(5), open), "the host could not open its room");
        world
    }

    /// A new peer's address, inside its NAT where there is one.
    fn place(&mut self, nat: Option<NatKind>) -> (SocketAddr, Option<Nat>) {
        let number = self.nodes.len() as u8 + 1;
        let outer: IpAddr = Ipv4Addr::new(203, 0, 113, number).into();
        self.by_ip.insert(outer, NodeId(self.nodes.len()));
        let ip = if nat.is_some() { Ipv4Addr::new(10, 0, number, 2).into() } else { outer };
        (SocketAddr::new(ip, 5000), nat.map(|kind| Nat::new(kind, outer)))
    }

    /// A second address of the peer that is added next.
    fn detour(&mut self, conditions: Option<Conditions>) -> Option<(SocketAddr, Conditions)> {
        let number = self.nodes.len() as u8 + 1;
        let ip: IpAddr = Ipv4Addr::new(100, 64, 0, number).into();
        self.by_ip.insert(ip, NodeId(self.nodes.len()));
        conditions.map(|conditions| (SocketAddr::new(ip, 5000), conditions))
    }

    fn add(
        &mut self,
        machine: Machine,
        address: SocketAddr,
        detour: Option<(SocketAddr, Conditions)>,
        nat: Option<Nat>,
    ) -> NodeId {
        let id = NodeId(self.nodes.len());
        let conditions = self.setup.conditions;
        let (connection, wake) = (None, self.now);
        let (lines, alive) = (None, true);
        let has_moved = false;
        self.nodes.push(Node {
            machine,
            address,
            detour,
            nat,
            conditions,
            lines,
            connection,
            has_moved,
            wake,
            alive,
        });
        self.drain(id);
        id
    }

    /// The link that leads to the host.
    pub fn invite(&self) -> Invite {
        Invite {
            server: "http://192.0.2.1:36542".into(),
            room: self.identity.room(),
            host_key: self.identity.public_key(),
            secret: self.identity.secret,
            certificate: None,
        }
    }

    /// A client joins by the right link.
    pub fn join(&mut self, name: &str) -> NodeId {
        self.join_with(name, Entry::from(&self.invite()))
    }

    /// A client joins by some link, password or ticket.
    pub fn join_with(&mut self, name: &str, entry: Entry) -> NodeId {
        let (address, nat) = self.place(self.setup.client_nat);
        let detour = self.detour(self.setup.client_detour);
        let mut locals = self.setup.claims.clone();
        locals.extend(detour.into_iter().map(|(at, _)| at).chain([address]));
        let config = client::Config {
            entry,
            name: name.into(),
            locals,
            certificate: Certificate::generate(),
            random_seed: self.rng.bytes(),
            patience: self.setup.patience,
        };
        let client = Box::new(Client::new(self.now, config));
        self.add(Machine::Client(client, ClientView::default()), address, detour, nat)
    }

    // --- What a test may look at ---

    /// The present.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Time since the world began.
    pub fn elapsed(&self) -> Duration {
        self.now - self.begin
    }

    /// What the host has told.
    pub fn host(&self) -> &HostView {
        match &self.nodes[0].machine {
            Machine::Host(_, view) => view,
            Machine::Client(..) => unreachable!("node 0 is the host"),
        }
    }

    /// The host's machine.
    pub fn host_machine(&self) -> &Host {
        match &self.nodes[0].machine {
            Machine::Host(host, _) => host,
            Machine::Client(..) => unreachable!("node 0 is the host"),
        }
    }

    /// What a client has told.
    pub fn client(&self, id: NodeId) -> &ClientView {
        match &self.nodes[id.0].machine {
            Machine::Client(_, view) => view,
            Machine::Host(..) => panic!("{id:?} is the host"),
        }
    }

    /// A client's figures.
    pub fn status(&self, id: NodeId) -> client::Status {
        match &self.nodes[id.0].machine {
            Machine::Client(client, _) => client.status(),
            Machine::Host(..) => panic!("{id:?} is the host"),
        }
    }

    /// What the host has sent to a client's address, and when, since the world began.
    pub fn sent_to(&self, id: NodeId) -> &[(Duration, usize)] {
        self.host_sent.get(&self.nodes[id.0].address.ip()).map_or(&[], |sent| &sent[..])
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Lets time pass until something is so, or at most `limit`. Tells whether it became so.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            let next_wake = self.nodes.iter().filter(|n| n.alive).map(|n| n.wake).min();
            let next_event = self.schedule.peek().map(|Reverse((at, _))| *at);
            let next_packet = self.downloads.iter().map(Cubic::timeout).min();
            let times = [next_wake, next_event, next_packet, Some(self.server_wake)];
            let next =
                times.into_iter().flatten().min().expect("the server's wake is always there");
            if next > end {
                self.now = end;
                return done(self);
            }
            self.now = self.now.max(next);
            self.step();
        }
        true
    }

    // --- How time passes ---

    fn serve_downloads(&mut self) {
        let Some((up, _)) = &mut self.nodes[0].lines else { return };
        for download in &mut self.downloads {
            download.turn(self.now, |bytes| up.pass(self.now, bytes, &mut self.rng));
        }
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    fn at(&mut self, at: Instant, happening: Happening) {
        let id = self.next_happening;
        self.next_happening += 1;
        self.schedule.push(Reverse((at, id)));
        self.happenings.insert(id, happening);
    }

    /// One thing that is due happens, else those who want to be woken are.
    fn step(&mut self) {
        if let Some(Reverse((at, id))) = self.schedule.peek().copied()
            && at <= self.now
        {
            self.schedule.pop();
            let happening = self.happenings.remove(&id).expect("scheduled once");
            return self.happen(happening);
        }
        self.serve_downloads();
        if self.server_wake <= self.now {
            self.server_input(rendezvous::Input::Timeout);
        }
        for i in 0..self.nodes.len() {
            if self.nodes[i].alive && self.nodes[i].wake <= self.now {
                self.input(NodeId(i), Stimulus::Timeout);
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Datagram { source, destination, data } => {
                self.arrive(source, destination, &data)
            }
            Happening::Signal { node, connection, event } => {
                let current = self.nodes[node.0].connection == Some(connection);
                if self.nodes[node.0].alive && current {
                    if matches!(event, SignalEvent::Disconnected { .. }) {
                        self.nodes[node.0].connection = None;
                    }
                    self.input(node, Stimulus::Signal(event));
                }
            }
            Happening::ToServer { input } => self.server_input(input),
            Happening::Frame => {
                self.after(FRAME_EVERY, Happening::Frame);
                self.frame_is_due();
            }
        }
    }

    // --- Machines ---

    fn input(&mut self, id: NodeId, stimulus: Stimulus<'_>) {
        match &mut self.nodes[id.0].machine {
            Machine::Host(host, _) => host.handle_input(self.now, stimulus.into_input()),
            Machine::Client(client, _) => client.handle_input(self.now, stimulus.into_input()),
        }
        self.drain(id);
    }

    fn drain(&mut self, id: NodeId) {
        let elapsed = self.elapsed();
        loop {
            let node = &mut self.nodes[id.0];
            let step = match &mut node.machine {
                Machine::Host(host, view) => match host.poll_output() {
                    Output::Event(event) => {
                        if let host::Event::KeyframeWanted(layer) = event {
                            self.encoders[usize::from(layer.0)].keyframe_wanted = true;
                        }
                        view.note(event);
                        continue;
                    }
                    output => plain(output),
                },
                Machine::Client(client, view) => match client.poll_output() {
                    Output::Event(event) => {
                        view.note(elapsed, event);
                        continue;
                    }
                    output => plain(output),
                },
            };
            match step {
                Plain::Transmit(transmit) => self.transmit(id, &transmit),
                Plain::Signal(command) => self.command(id, command),
                Plain::Timeout(at) => {
                    if let Some(layer) = self.late_layer().filter(|_| id == NodeId::HOST) {
                        self.frame(layer);
                        return;
                    }
                    // A machine that asks to be woken now is woken a moment later: time must pass.
                    self.nodes[id.0].wake = at.max(self.now + Duration::from_micros(100));
                    return;
                }
            }
        }
    }
}

fn server() -> Rendezvous {
    Rendezvous::new(rendezvous::Config {
        stun_port: SERVER.port(),
        ..rendezvous::Config::default()
    })
}

enum Stimulus<'a> {
    Timeout,
    Datagram { source: SocketAddr, destination: SocketAddr, data: &'a [u8] },
    Signal(SignalEvent),
    LocalsChanged(Vec<SocketAddr>),
}

impl<'a> Stimulus<'a> {
    fn into_input<A>(self) -> Input<'a, A> {
        match self {
            Self::Timeout => Input::Timeout,
            Self::Datagram { source, destination, data } => {
                Input::Datagram { source, destination, data }
            }
            Self::Signal(event) => Input::Signal(event),
            Self::LocalsChanged(locals) => Input::LocalsChanged(locals),
        }
    }
}

enum Plain {
    Transmit(Transmit),
    Signal(SignalCommand),
    Timeout(Instant),
}

fn plain<E>(output: Output<E>) -> Plain {
    match output {
        Output::Transmit(transmit) => Plain::Transmit(transmit),
        Output::Signal(command) => Plain::Signal(command),
        Output::Timeout(at) => Plain::Timeout(at),
        Output::Event(_) => unreachable!("taken by the caller"),
    }
}
