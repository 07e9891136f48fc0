//! What only the inside of a host can show.

use lllsi_proto::invite::Nonce;
use lllsi_proto::rendezvous::{Blob, Reply};
use lllsi_proto::sealed::{self, Envelope, Hello};

use super::*;
use crate::SignalEvent;
use crate::seal::{HostIdentity, Initiator, PreShared};

fn events(host: &mut Host) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match host.poll_output() {
            Output::Event(event) => events.push(event),
            Output::Timeout(_) => return events,
            _ => {}
        }
    }
}

/// A fault as a hostile client might provoke in the libraries below.
#[test]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
fn a_fault_in_one_link_ends_that_link_alone() {
    let (now, identity) = (Instant::now(), HostIdentity::from_random([7; 96]));
    let config = Config {
        identity: identity.clone(),
        locals: vec![SocketAddr::from(([10, 0, 0, 1], 5000))],
        certificate: Certificate::generate(),
        random_seed: [9; 32],
        lobby: true,
        max_viewers: 8,
        max_bitrate: 4_000_000,
        terms: Terms::default(),
        room: None,
    };
    let mut host = Host::new(now, config);
    let server = SocketAddr::from(([192, 0, 2, 1], 36542));
    host.handle_input(now, Input::Signal(SignalEvent::Connected { server }));
    let shared = PreShared::link(&identity.room(), &identity.secret);
    for (number, name) in [(1, "Eve"), (2, "Ada")] {
        let nonce = Nonce::from_bytes([1; 32]);
        let hello = Hello { name: name.into(), offer: String::new(), nonce };
        let payload = sealed::to_bytes(&hello);
        let (_, message) = Initiator::begin(&identity.public_key(), &shared, &payload);
        let blob = Blob(Envelope::Handshake(&message).to_bytes());
        let text = Reply::Relay { client: Some(ClientId(number)), blob }.to_json();
        host.handle_input(now, Input::Signal(SignalEvent::Received(text)));
    }
    assert_eq!(host.status().len(), 2);
    events(&mut host);

    host.with_viewer(ViewerId(1), |_, _| panic!("a fault that this test provokes"));
    let told = events(&mut host);
    let left = |event: &Event| match event {
        Event::ViewerLeft { id, reason } => *id == ViewerId(1) && *reason == LeftReason::Fault,
        _ => false,
    };
    assert!(told.iter().any(left), "{told:?}");
    let names: Vec<_> = host.status().into_iter().map(|viewer| viewer.name).collect();
    assert_eq!(names, ["Ada"]);
}
