//! What one address may do at a server: a flood from one leaves the others alone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use super::Config;
use crate::bucket::{Bucket, Rate};
use crate::network;

/// Addresses that are remembered though nobody is connected from there.
const MAX_GONE: usize = 50_000;

#[derive(Debug)]
struct Usage {
    connections: u32,
    arrivals: Bucket,
    joins: Bucket,
}

/// What is known about addresses; those that share a network count as one ([`network`]).
#[derive(Debug)]
pub(super) struct Addresses {
    known: HashMap<IpAddr, Usage>,
    /// Those of them from which nobody is connected.
    gone: usize,
    connections: u32,
    arrivals: Rate,
    joins: Rate,
}

impl Addresses {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            known: HashMap::new(),
            gone: 0,
            connections: config.max_connections_per_address,
            arrivals: Rate::per_minute(config.connections_per_minute),
            joins: Rate::per_minute(config.joins_per_minute),
        }
    }

    /// Somebody connects. `false`: there are too many from there, or too often; it does not count then.
    pub(super) fn arrive(&mut self, now: Instant, ip: IpAddr) -> bool {
        if self.gone >= MAX_GONE && !self.known.contains_key(&network(ip)) {
            self.forget(now);
        }
        let (arrivals, joins, gone) = (self.arrivals, self.joins, &mut self.gone);
        let usage = self.known.entry(network(ip)).or_insert_with(|| {
            *gone += 1;
            Usage {
                connections: 0,
                arrivals: Bucket::full(now, arrivals),
                joins: Bucket::full(now, joins),
            }
        });
        let may = usage.connections < self.connections && usage.arrivals.take(now, arrivals);
        if may {
            self.gone -= usize::from(usage.connections == 0);
            usage.connections += 1;
        }
        may
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// One that had arrived is gone.
    pub(super) fn leave(&mut self, ip: IpAddr) {
        if let Some(usage) = self.known.get_mut(&network(ip)) {
            self.gone += usize::from(usage.connections == 1);
            usage.connections = usage.connections.saturating_sub(1);
        }
    }

    /// One that has arrived wants to enter or open a room.
    pub(super) fn join(&mut self, now: Instant, ip: IpAddr) -> bool {
        let joins = self.joins;
        self.known.get_mut(&network(ip)).is_some_and(|usage| usage.joins.take(now, joins))
    }

    /// Those of which a new one would be allowed as much. Where many more are gone, all of them: they begin anew, and
    /// nothing has to be looked for again soon.
    fn forget(&mut self, now: Instant) {
        let (arrivals, joins) = (self.arrivals, self.joins);
        self.known.retain(|_, usage| {
            let as_new = usage.arrivals.is_full(now, arrivals) && usage.joins.is_full(now, joins);
            usage.connections > 0 || !as_new
        });
        let gone =
            |known: &HashMap<_, Usage>| known.values().filter(|u| u.connections == 0).count();
        if gone(&self.known) > MAX_GONE / 2 {
            self.known.retain(|_, usage| usage.connections > 0);
        }
        self.gone = gone(&self.known);
    }
}
