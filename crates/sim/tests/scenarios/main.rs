//! What must hold whatever networks and people do: each scenario over many seeds.

mod hostile;
mod lines;
mod network;
mod roaming;
mod rooms;
mod streams;

use std::time::Duration;

use lllsi_sim::{NodeId, Setup, World};

/// How many, unless `LLLSI_SEEDS` says otherwise: `.ci/long` runs more.
const SEEDS: u64 = 50;

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Runs a scenario over all seeds, on two threads, and names the seed that fails.
pub(crate) fn for_seeds(scenario: impl Fn(u64) + Sync) {
    for_some_seeds(SEEDS, scenario);
}

/// The same for scenarios that take long: over so many, unless told otherwise.
pub(crate) fn for_some_seeds(seeds: u64, scenario: impl Fn(u64) + Sync) {
    let seeds = std::env::var("LLLSI_SEEDS").map_or(seeds, |n| n.parse().expect("a number"));
    std::thread::scope(|scope| {
        for half in 0..2 {
            let scenario = &scenario;
            scope.spawn(move || {
                for seed in (half..seeds).step_by(2) {
                    let failed =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scenario(seed)));
                    assert!(failed.is_ok(), "seed {seed} failed, see above");
                }
            });
        }
    });
}

/// A world with one viewer that sees the stream.
pub(crate) fn watching(setup: Setup) -> (World, NodeId) {
    let mut world = World::new(setup);
    let viewer = world.join("Ada");
    let seen = world.run_until(secs(20), |w| w.client(viewer).frames >= 10);
    assert!(seen, "no stream: {:?}", world.client(viewer));
    (world, viewer)
}
