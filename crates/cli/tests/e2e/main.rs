//! The program in a real environment: X servers with windows on them, and home networks behind real NATs.
//! `.ci/e2e` installs what this needs. A part that is missing is a failure, never a reason to skip.

mod addresses;
mod browser;
mod doctor;
mod hostile;
mod hostile_peers;
mod interop;
mod networks;
mod rooms;
mod screen;
mod spaces;
mod streams;
#[path = "../util/mod.rs"]
mod util;
mod window;

use util::{Program, number};

/// Far below what is seen on a quiet machine: this lane finds faults, benchmarks find slowness.
const LEAST_FPS: f64 = 10.0;

/// The mean of a number that a program tells every second, over the next so many.
fn mean(program: &mut Program, seconds: usize, member: &str) -> f64 {
    let figures = (0..seconds).map(|_| number(&program.event("stats"), member));
    figures.sum::<f64>() / seconds as f64
}

/// A host that shows a display, and its invite link. Its server is its own.
fn host(display: &str) -> (Program, String) {
    let source = format!("screen{display}");
    let mut host = Program::start(&["host", "--source", &source, "--listen", "127.0.0.1:0"]);
    let link = util::text(&host.event("ready"), "link");
    (host, link)
}
