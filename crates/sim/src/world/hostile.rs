//! What a hostile server does: it changes what it passes on, and answers under a name itself.

use std::net::{IpAddr, Ipv4Addr};

use lllsi_core::rendezvous::{ConnectionId, Input};
use lllsi_core::testing::attacks::{Attack, Attacker};
use lllsi_proto::WIRE_VERSION;
use lllsi_proto::invite::RoomToken;
use lllsi_proto::rendezvous::{Blob, ClientId, Place, Reply, Request};
use lllsi_proto::room::RoomName;

use super::{Machine, NodeId, Stimulus, World};

/// What is passed on in place of an envelope.
pub(super) type Meddle = Box<dyn FnMut(Vec<u8>) -> Vec<Vec<u8>>>;

/// What somebody does who has nothing to let them in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intruder {
    /// Says nothing, and stays.
    Stays,
    /// Says nothing, and goes at once.
    Goes,
    /// Says what no client says.
    TalksNonsense,
}

/// The squatter's connection; peers count from 1.
pub(super) const SQUATTER: ConnectionId = ConnectionId(u64::MAX);

impl World {
    /// From now on the server passes these envelopes on, to both sides, in place of those that it is given.
    pub fn meddle(&mut self, meddle: impl FnMut(Vec<u8>) -> Vec<Vec<u8>> + 'static) {
        self.meddle = Some(Box::new(meddle));
    }

    /// The server passes on what it is given again.
    pub fn stop_meddling(&mut self) {
        self.meddle = None;
    }

    pub(super) fn meddled(&mut self, text: String) -> Vec<String> {
        match (&mut self.meddle, Reply::parse(&text)) {
            (Some(meddle), Ok(Reply::Relay { client, blob })) => {
                let envelopes = meddle(blob.0).into_iter();
                envelopes.map(|e| Reply::Relay { client, blob: Blob(e) }.to_json()).collect()
            }
            _ => vec![text],
        }
    }

    /// The host, whose only viewer this is, attacks it once: nothing is lost or late on the way. Returns how many bytes came to the
    /// viewer, and how many it sent for that.
    pub fn attack(&mut self, viewer: NodeId, attack: &Attack, number: u32) -> (usize, usize) {
        let (now, at, to) = (self.now, self.nodes[0].address, self.nodes[viewer.0].address);
        let Machine::Host(host, _) = &mut self.nodes[0].machine else {
            unreachable!("node 0 is the host")
        };
        let Some(transport) = host.transport() else { return (0, 0) };
        let strangers = [203, 0];
        let datagrams = (attack.make)(&mut Attacker {
            transport,
            now,
            number,
            at,
            honest_at: at,
            strangers,
            overheard: &self.overheard,
        });
        let before = self.sent_bytes;
        for (source, data) in &datagrams {
            self.input(viewer, Stimulus::Datagram { source: *source, destination: to, data });
        }
        let came = datagrams.iter().map(|(_, data)| data.len()).sum();
        (came, self.sent_bytes - before)
    }

    /// Somebody opens a room of this name: what clients say to it is kept in [`World::squatted`].
    pub fn squat(&mut self, name: &RoomName) {
        let (token, ip) = (RoomToken::from_bytes([0xee; 32]), self.next_ip());
        let name = Some(name.clone());
        let open = Request::Open { version: WIRE_VERSION, token, max_clients: 100, name };
        self.tell_server(Input::Connected(SQUATTER, ip));
        self.say_as_squatter(&open);
    }

    /// The squatter answers a client.
    pub fn answer_as_squatter(&mut self, client: ClientId, envelope: Vec<u8>) {
        self.say_as_squatter(&Request::Relay { client: Some(client), blob: Blob(envelope) });
    }

    fn say_as_squatter(&mut self, request: &Request) {
        self.tell_server(Input::Received(SQUATTER, request.to_json()));
    }

    /// Somebody enters a room by its name alone.
    pub fn intrude(&mut self, name: &RoomName, intruder: Intruder) {
        let ip = self.next_ip();
        let connection = ConnectionId(SQUATTER.0 - self.intruders);
        let place = Place::Name(name.clone());
        let enter = Request::Enter { version: WIRE_VERSION, place, blob: None };
        self.tell_server(Input::Connected(connection, ip));
        self.tell_server(Input::Received(connection, enter.to_json()));
        match intruder {
            Intruder::Stays => {}
            Intruder::Goes => self.tell_server(Input::Disconnected(connection)),
            Intruder::TalksNonsense => {
                let nonsense = Request::Relay { client: None, blob: Blob(vec![WIRE_VERSION, 1]) };
                self.tell_server(Input::Received(connection, nonsense.to_json()));
            }
        }
    }

    /// They come from everywhere.
    fn next_ip(&mut self) -> IpAddr {
        self.intruders += 1;
        Ipv4Addr::from(0xc633_6400 + self.intruders as u32).into()
    }

    pub(super) fn note_squatter(&mut self, text: &str) {
        if let Ok(Reply::Relay { client: Some(client), blob }) = Reply::parse(text) {
            self.squatted.push((client, blob.0));
        }
    }
}
