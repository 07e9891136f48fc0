//! What a server's STUN shows: whether UDP reaches it, the NAT before it, and how large packets may be.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use lllsi_core::nat::{NatProbe, Outcome, Probe, SizeProbe};

use crate::socket::{Batch, Endpoint};
use crate::{Error, random};

/// A probe takes 2.4 s at most, and this cuts off what a busy machine adds.
const PROBES: Duration = Duration::from_millis(2500);

/// Datagrams that a link tries, and those that fill a packet of 1500 bytes, of IPv4 and of IPv6. Without headers of IP and UDP.
const SIZES: [[u16; 4]; 2] = [[548, 1084, 1232, 1472], [548, 1084, 1232, 1452]];
/// Of them, what links send at first.
pub(super) const USUAL: u16 = 1232;
/// Of IP and UDP, by family.
pub(super) const HEADERS: [u16; 2] = [28, 48];

/// What was seen on the way to one address of a server.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) server: SocketAddr,
    /// `None`: not in time.
    pub(super) nat: Option<Outcome>,
    /// The largest datagram that arrives, of [`SIZES`]; `None`: not in time.
    pub(super) size: Option<Option<u16>>,
    /// The largest packet on the way there, as far as the system knows.
    pub(super) mtu: Option<u32>,
}

/// Looks at the way to a server, over sockets of its own. `None` if there is no way.
pub(super) async fn look(server: Option<SocketAddr>) -> Result<Option<Seen>, Error> {
    let Some(server) = server.filter(|server| mtu_towards(*server).is_ok()) else {
        return Ok(None);
    };
    let (now, sizes) = (Instant::now(), &SIZES[usize::from(server.is_ipv6())]);
    let nat = NatProbe::new(now, server, &random()?);
    let size = SizeProbe::new(now, server, &random()?, sizes);
    let (nat, size) = tokio::join!(drive(nat, server), drive(size, server));
    let (nat, size) = (nat.map_err(Error::Socket)?, size.map_err(Error::Socket)?);
    // What probes have taught the system is in it.
    let mtu = mtu_towards(server).ok().flatten();
    Ok(Some(Seen { server, nat, size, mtu }))
}

/// Any address of this machine, of the family of another.
fn any(of: SocketAddr) -> SocketAddr {
    match of {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Drives a probe to its end. `None`: not in time.
async fn drive<P: Probe>(mut probe: P, server: SocketAddr) -> io::Result<Option<P::Outcome>> {
    let mut endpoint = Endpoint::bind_to(any(server))?;
    let (mut batch, until) = (Batch::default(), Instant::now() + PROBES);
    loop {
        while let Some(transmit) = probe.poll_transmit(Instant::now()) {
            batch.push(&mut endpoint, &transmit).await;
            // Each alone: the kernel refuses a whole batch for one datagram that is too large.
            batch.flush(&mut endpoint).await;
        }
        if let Some(outcome) = probe.outcome() {
            return Ok(Some(outcome));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        let wake = probe.timeout().min(until);
        tokio::select! {
            ready = endpoint.readable() => {
                ready?;
                endpoint.receive(|source, local, data| {
                    probe.handle_datagram(Instant::now(), source, local, data);
                })?;
            }
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }
}

/// The largest packet on the way to an address, if the system tells it.
///
/// # Errors
/// If there is no way there.
fn mtu_towards(server: SocketAddr) -> io::Result<Option<u32>> {
    let socket = UdpSocket::bind(any(server))?;
    socket.connect(server)?;
    Ok(mtu(&socket, server))
}

#[cfg(target_os = "linux")]
fn mtu(socket: &UdpSocket, server: SocketAddr) -> Option<u32> {
    use rustix::net::sockopt::{ip_mtu, ipv6_mtu};
    match server {
        SocketAddr::V4(_) => ip_mtu(socket).ok(),
        SocketAddr::V6(_) => ipv6_mtu(socket).ok(),
    }
}

#[cfg(not(target_os = "linux"))]
fn mtu(_: &UdpSocket, _: SocketAddr) -> Option<u32> {
    None
}
