//! Network address translators, by how they map and what they let in (RFC 4787).

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

/// How a NAT behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatKind {
    /// One outer port per inner address, open to all (EIM/EIF).
    FullCone,
    /// One outer port per inner address, open to those it has sent to (EIM/APDF).
    PortRestricted,
    /// An outer port per inner address and destination, open to that destination (APDM/APDF).
    Symmetric,
}

/// One NAT.
#[derive(Debug)]
pub struct Nat {
    kind: NatKind,
    outer: IpAddr,
    next_port: u16,
    /// Inner address, and destination where it matters, to outer port.
    mappings: HashMap<(SocketAddr, Option<SocketAddr>), u16>,
    inner: HashMap<u16, SocketAddr>,
    sent: HashSet<(u16, SocketAddr)>,
}

impl Nat {
    /// A NAT with this address towards the network.
    pub fn new(kind: NatKind, outer: IpAddr) -> Self {
        Self {
            kind,
            outer,
            next_port: 40_000,
            mappings: HashMap::new(),
            inner: HashMap::new(),
            sent: HashSet::new(),
        }
    }

    /// A datagram leaves: gives its source as the network sees it.
    pub fn outbound(&mut self, source: SocketAddr, destination: SocketAddr) -> SocketAddr {
        let key = (source, (self.kind == NatKind::Symmetric).then_some(destination));
        let port = *self.mappings.entry(key).or_insert_with(|| {
            self.next_port += 1;
            self.next_port
        });
        self.inner.insert(port, source);
        self.sent.insert((port, destination));
        SocketAddr::new(self.outer, port)
    }

    /// A datagram arrives: gives the inner address it is for, if it is let in.
    pub fn inbound(&self, source: SocketAddr, destination: SocketAddr) -> Option<SocketAddr> {
        let open =
            self.kind == NatKind::FullCone || self.sent.contains(&(destination.port(), source));
        self.inner.get(&destination.port()).copied().filter(|_| open)
    }

    /// Has another address towards the network, and forgets all mappings.
    pub fn move_to(&mut self, outer: IpAddr) {
        self.outer = outer;
        self.rebind();
    }

    /// Forgets all mappings, as a NAT does that restarts: peers appear at new ports from then on.
    pub fn rebind(&mut self) {
        self.mappings.clear();
        self.inner.clear();
        self.sent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_differ_in_mapping_and_filtering() {
        let inner: SocketAddr = "10.0.0.2:5000".parse().unwrap();
        let (a, b): (SocketAddr, SocketAddr) =
            ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        for (kind, same_port, stranger_enters) in [
            (NatKind::FullCone, true, true),
            (NatKind::PortRestricted, true, false),
            (NatKind::Symmetric, false, false),
        ] {
            let mut nat = Nat::new(kind, "203.0.113.1".parse().unwrap());
            let outer = nat.outbound(inner, a);
            assert_eq!(nat.inbound(a, outer), Some(inner));
            assert_eq!(nat.inbound(b, outer).is_some(), stranger_enters, "{kind:?}");
            assert_eq!(nat.outbound(inner, b) == outer, same_port, "{kind:?}");
            nat.rebind();
            assert_eq!(nat.inbound(a, outer), None);
        }
    }
}
