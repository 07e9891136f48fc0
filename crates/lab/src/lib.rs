//! Real screens for LLLSI's tests and benches, on Linux with X11. Not published.
//!
//! # What is measured, and how
//!
//! A [`Painter`] covers the display of a host with text that scrolls, and paints the present time on it, as a
//! [`clock_code`] that survives video compression. A [`Probe`] on the display of a viewer is told by the X server
//! whenever that place changes, reads the code and notes the time. The difference is the whole way from paint to
//! paint: capture, encoding, network, decoding, and showing. It needs nothing from the programs between them, so it
//! serves to check what LLLSI says about its own latency, and to compare it with other programs.
//!
//! [`Homes`] are networks behind NATs, for `pairs`: how soon two peers meet, and what a rush of viewers does to those that watch.
//!
//! [`Desktop`] plays the person at a display, [`Chromium`] a viewer's browser, [`Meddler`] a hostile server, [`Download`] another
//! user of the line. [`screen`] grabs what displays show and tells how alike they are; [`Usage`] tells what processes use.
//!
//! `glass` puts it together:
//!
//! ```sh
//! cargo build --release && cargo run --release -p lllsi-lab --bin glass
//! ```
//!
//! # What it costs
//!
//! `glass` measures that first, with painter and probe on one display: the way through the X server and the waking of
//! the probe are part of every figure. It does not measure what follows on real screens: a compositor, and the wait
//! for the monitor.
//!
//! Display servers without a monitor ([`XServer`]) take part in the work: they run on the same processors, and a
//! machine without spare ones measures its own load. `glass` tells how idle the machine was.
//!
//! [`Counting`] shows whether a running stream allocates, and what a thread holds; it works on every system.
//! [`thread_time`] tells what a thread has cost.

mod allocations;
#[cfg(target_os = "linux")]
pub mod arguments;
#[cfg(target_os = "linux")]
pub mod chromium;
#[cfg(target_os = "linux")]
pub mod clock_code;
#[cfg(target_os = "linux")]
mod connect;
#[cfg(target_os = "linux")]
pub mod desktop;
#[cfg(target_os = "linux")]
pub mod download;
#[cfg(target_os = "linux")]
mod effort;
#[cfg(target_os = "linux")]
mod forward;
#[cfg(target_os = "linux")]
pub mod homes;
pub mod meddler;
#[cfg(target_os = "linux")]
pub mod network;
#[cfg(target_os = "linux")]
pub mod painter;
#[cfg(target_os = "linux")]
pub mod peer;
#[cfg(target_os = "linux")]
pub mod probe;
#[cfg(target_os = "linux")]
pub mod process;
#[cfg(target_os = "linux")]
pub mod processor;
#[cfg(target_os = "linux")]
pub mod program;
#[cfg(target_os = "linux")]
pub mod screen;
#[cfg(target_os = "linux")]
pub mod session;
#[cfg(target_os = "linux")]
pub mod space;
#[cfg(target_os = "linux")]
pub mod summary;
#[cfg(target_os = "linux")]
pub mod xserver;

pub use allocations::{Allocations, Counting};
#[cfg(target_os = "linux")]
pub use chromium::{Chromium, Tab};
#[cfg(target_os = "linux")]
pub use desktop::{Desktop, Key, Place};
#[cfg(target_os = "linux")]
pub use download::Download;
#[cfg(target_os = "linux")]
pub use effort::thread_time;
#[cfg(target_os = "linux")]
pub use homes::{Home, Homes};
pub use meddler::Meddler;
#[cfg(target_os = "linux")]
pub use network::{Network, Side};
#[cfg(target_os = "linux")]
pub use painter::{CODE_AT, Painter, Scene, USUAL_FPS};
#[cfg(target_os = "linux")]
pub use peer::Peer;
#[cfg(target_os = "linux")]
pub use probe::{Probe, Sample};
#[cfg(target_os = "linux")]
pub use process::{Usage, thread_time_of};
#[cfg(target_os = "linux")]
pub use program::Program;
#[cfg(target_os = "linux")]
pub use space::Space;
#[cfg(target_os = "linux")]
pub use summary::{Spread, Summary};
#[cfg(target_os = "linux")]
pub use xserver::XServer;
