//! What a link makes of somebody in the middle who could change the descriptions: as if sealed signalling were broken.

use super::*;
use crate::seal::{HostIdentity, Initiator, PreShared, Responder};
use lllsi_proto::control::MAX_MESSAGE_BYTES;
use lllsi_proto::invite::Nonce;

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 5000))
}

/// The two ends of one sealed channel.
fn bindings() -> (Binding, Binding) {
    let host = HostIdentity::from_random([7; 96]);
    let shared = PreShared::link(&host.room(), &host.secret);
    let (initiator, hello) = Initiator::begin(&host.public_key(), &shared, b"");
    let (responder, _) = Responder::accept(&host, &shared, &hello).unwrap();
    let (host_end, welcome) = responder.finish(b"");
    let (client_end, _) = initiator.finish(&welcome).unwrap();
    let nonces = [Nonce::from_bytes([1; 32]), Nonce::from_bytes([2; 32])];
    let [client, host] = [client_end, host_end].map(|end| end.binding(&nonces[0], &nonces[1]));
    (client, host)
}

/// A link under way, and where it is.
struct End {
    link: Link,
    at: SocketAddr,
    told: Vec<LinkEvent>,
}

/// A client's end and a host's, with the descriptions as somebody changes them.
fn pair(now: Instant, first: u8, meddle: impl Fn(String) -> String) -> [End; 2] {
    let [client_at, host_at] = [address(first), address(first + 1)];
    let (mut client, offer) = Link::offer(now, &Certificate::generate(), &[client_at], [first; 32]);
    let certificate = Certificate::generate();
    let (host, answer) =
        Link::answer(now, &certificate, &[host_at], &meddle(offer), [first + 1; 32]).unwrap();
    client.accept_answer(now, &meddle(answer)).unwrap();
    [(client, client_at), (host, host_at)].map(|(link, at)| End { link, at, told: Vec::new() })
}

/// Carries datagrams until something is so, in virtual time.
fn run(now: &mut Instant, ends: &mut [End], mut done: impl FnMut(&mut [End]) -> bool) -> bool {
    for _ in 0..4000 {
        *now += Duration::from_millis(5);
        for i in 0..ends.len() {
            ends[i].link.handle_timeout(*now);
            while let Some(transmit) = ends[i].link.poll_transmit() {
                let source = ends[i].at;
                let to = ends.iter_mut().find(|end| end.at == transmit.destination);
                if let Some(End { link, at, .. }) = to {
                    for datagram in transmit.datagrams() {
                        link.handle_datagram(*now, source, *at, datagram);
                    }
                }
            }
            while let Some(event) = ends[i].link.poll_event() {
                ends[i].told.push(event);
            }
        }
        if done(ends) {
            return true;
        }
    }
    false
}

fn is_up(end: &End) -> bool {
    end.told.iter().any(|event| matches!(event, LinkEvent::Up(_)))
}

fn ended(end: &End) -> Option<&LinkError> {
    end.told.iter().find_map(|event| match event {
        LinkEvent::Down(error) => Some(error),
        _ => None,
    })
}

#[test]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
fn two_ends_of_one_channel_make_a_link() {
    let mut now = Instant::now();
    let (client, host) = bindings();
    let mut ends = pair(now, 1, |description| description);
    ends[0].link.set_binding(now, client);
    ends[1].link.set_binding(now, host);
    assert!(run(&mut now, &mut ends, |ends| ends.iter().all(is_up)));
}

#[test]
#[allow(clippy::disallowed_methods)]
fn a_certificate_other_than_the_announced_one_makes_no_link() {
    let mut now = Instant::now();
    let (client, host) = bindings();
    let other = "a=fingerprint:sha-256 ".to_owned() + &["AB"; 32].join(":");
    let swapped = |description: String| {
        let lines = description.lines().map(|line| match line.starts_with("a=fingerprint") {
            true => other.as_str(),
            false => line,
        });
        lines.map(|line| format!("{line}\r\n")).collect()
    };
    let mut ends = pair(now, 1, swapped);
    ends[0].link.set_binding(now, client);
    ends[1].link.set_binding(now, host);
    assert!(run(&mut now, &mut ends, |ends| ends.iter().any(|end| ended(end).is_some())));
    assert!(!ends.iter().any(is_up));
    let errors: Vec<_> = ends.iter().filter_map(ended).collect();
    assert!(errors.contains(&&LinkError::NotBound), "{errors:?}");
}

#[test]
#[allow(clippy::disallowed_methods)]
fn whoever_does_not_confirm_in_time_gets_no_link() {
    let mut now = Instant::now();
    let begin = now;
    let mut ends = pair(now, 1, |description| description);
    ends[0].link.set_binding(now, bindings().0);
    assert!(run(&mut now, &mut ends, |ends| ended(&ends[0]).is_some()));
    assert_eq!(ended(&ends[0]), Some(&LinkError::NotBound));
    assert!(now - begin >= CONFIRM_TIMEOUT);
}

/// Mallory has changed all fingerprints to those of certificates of her own. She has a link to either side, and passes
/// on their proofs.
#[test]
#[allow(clippy::disallowed_methods)]
fn whoever_sits_between_with_certificates_of_their_own_is_found_out() {
    let mut now = Instant::now();
    let (client, host) = bindings();
    let [mut ada, to_ada] = pair(now, 1, |description| description);
    let [to_host, mut bob] = pair(now, 3, |description| description);
    ada.link.set_binding(now, client);
    bob.link.set_binding(now, host);
    let mut ends = [ada, to_ada, to_host, bob];
    let open = |ends: &mut [End]| {
        ends.iter().all(|end| end.link.fingerprints().is_some() && end.link.pulse_open)
    };
    assert!(run(&mut now, &mut ends, open), "without the proofs nobody would notice");
    assert!(!ends.iter().any(is_up));
    for (from, on, to) in [(0, 2, 3), (3, 1, 0)] {
        let End { link, .. } = &ends[from];
        let (binding, prints) = (link.binding.as_ref(), link.fingerprints());
        let (binding, (client, host)) = (binding.unwrap(), prints.unwrap());
        let proof =
            Message::Confirm { mac: binding.confirm(link.role, &client, &host), verified: false };
        let End { link, .. } = &mut ends[on];
        link.write(now, PULSE_CHANNEL, &proof);
        link.drain(now);
        assert!(run(&mut now, &mut ends, |ends| ended(&ends[to]).is_some()));
        assert_eq!(ended(&ends[to]), Some(&LinkError::NotBound));
    }
    assert!(!ends.iter().any(is_up));
}

#[test]
#[allow(clippy::disallowed_methods)]
fn what_is_not_the_other_sides_or_makes_no_sense_is_ignored_and_counted() {
    let mut now = Instant::now();
    let (client, host) = bindings();
    let mut ends = pair(now, 1, |description| description);
    ends[0].link.set_binding(now, client);
    ends[1].link.set_binding(now, host);
    assert!(run(&mut now, &mut ends, |ends| ends.iter().all(is_up)));
    let [client, host] = &mut ends;
    assert_eq!(host.link.ignored(), Ignored::default());
    // Of a stranger; and from the right address, but of no kind that there is.
    host.link.handle_datagram(now, address(9), host.at, &[0x90; 60]);
    host.link.handle_datagram(now, client.at, host.at, &[0xff; 60]);
    host.link.handle_message(now, &[0x77; MAX_MESSAGE_BYTES + 1]);
    for port in 5000..=5000 + sdp::MAX_CANDIDATES {
        let line = format!("candidate:1 1 udp 1 203.0.113.1 {port} typ host");
        host.link.add_remote(now, &line);
    }
    let Ignored { candidates, datagrams, messages } = host.link.ignored();
    assert_eq!((candidates, messages), (2, 1), "its description names one candidate");
    assert_eq!(datagrams, 2);
    assert!(host.link.is_up());
}
