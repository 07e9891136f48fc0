//! LLLSI's simulator: the real machines with their real cryptography over a virtual network in virtual time.
//!
//! A [`World`] takes the place of `crates/io` and of nothing else: it owns the machines, carries their datagrams
//! through [NATs](nat), over [links with loss, delay and reorder](net) and [narrow lines](mod@line), carries their
//! signalling to a real [`Rendezvous`](lllsi_core::rendezvous::Rendezvous), and hands in the time. A seed reproduces the
//! network's schedule; only the bytes inside the cryptography differ from run to run.
//!
//! ```
//! use lllsi_sim::{Setup, World};
//! use std::time::Duration;
//!
//! let mut world = World::new(Setup { seed: 1, ..Setup::default() });
//! let viewer = world.join("Ada");
//! assert!(world.run_until(Duration::from_secs(5), |w| w.client(viewer).frames > 30));
//! ```

mod cubic;
pub mod line;
pub mod nat;
pub mod net;
mod view;
mod world;

pub use cubic::Cubic;
pub use line::{Cut, Line, LineState};
pub use nat::NatKind;
pub use net::{Conditions, Rng};
pub use view::{ClientView, HostView};
pub use world::{Intruder, NodeId, Pictures, Setup, World};
