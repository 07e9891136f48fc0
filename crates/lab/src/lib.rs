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
//! [`screen`] grabs what displays show and tells how alike they are; [`Usage`] tells what processes use.
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
#![cfg(target_os = "linux")]

pub mod clock_code;
mod connect;
pub mod painter;
pub mod probe;
pub mod process;
pub mod screen;
pub mod summary;
pub mod xserver;

pub use painter::{CODE_AT, Painter, Scene, USUAL_FPS};
pub use probe::{Probe, Sample};
pub use process::Usage;
pub use summary::Summary;
pub use xserver::XServer;
