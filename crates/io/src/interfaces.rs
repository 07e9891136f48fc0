//! The addresses of this machine that a peer may try.

use std::net::{IpAddr, SocketAddr};

/// More than this many make a peer wait: each costs a connectivity check.
const MAX_ADDRESSES: usize = 16;

/// This machine's addresses, each with `port`. Loopback only if `loopback` says so or nothing else is there;
/// link-local IPv6 never, since it means nothing without its interface.
pub fn local_addresses(port: u16, loopback: bool) -> Vec<SocketAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the network interfaces cannot be listed");
        Vec::new()
    });
    let all: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).collect();
    let usable = |ip: &&IpAddr| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let (near, far): (Vec<IpAddr>, Vec<IpAddr>) =
        all.iter().filter(usable).partition(|ip| ip.is_loopback());
    let mut addresses = far;
    if loopback || addresses.is_empty() {
        addresses.extend(near);
    }
    addresses.truncate(MAX_ADDRESSES);
    addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_an_address_and_loopback_only_where_wanted() {
        let with = local_addresses(5, true);
        assert!(with.iter().any(|a| a.ip().is_loopback() && a.port() == 5), "{with:?}");
        let without = local_addresses(5, false);
        let lonely = without.iter().all(|a| a.ip().is_loopback());
        assert!(lonely || without.iter().all(|a| !a.ip().is_loopback()), "{without:?}");
    }
}
