//! What both measurements need: a server on the internet, a host in the first home, and viewers in others.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lllsi_lab::homes::SERVER;
use lllsi_lab::{Homes, Program, session};

/// Where the host is.
pub(crate) const HOST: usize = 0;
/// From a home to the internet, one way.
pub(crate) const LEG: Duration = Duration::from_millis(20);
/// Several viewers share an address, and the same one comes again and again.
const UNBOUNDED: &str = "100000";
const BOUNDS: [&str; 4] = [
    "--max-connections-per-address",
    "--connections-per-minute",
    "--joins-per-minute",
    "--host-messages-per-minute",
];

/// Viewers of one host.
pub(crate) struct Viewers<'a> {
    homes: &'a Homes,
    lllsi: &'a Path,
    link: String,
    limit: Duration,
}

/// A host that shows the test card and its server, which have to live for as long as the viewers. The host and viewers end by
/// themselves after `limit`.
pub(crate) fn start<'a>(
    homes: &'a Homes,
    lllsi: &'a Path,
    max_viewers: u32,
    limit: Duration,
) -> ([Program; 2], Viewers<'a>) {
    let mut command = homes.internet().command(lllsi);
    command.args(["--json", "serve", "--listen", SERVER]);
    for bound in BOUNDS {
        command.args([bound, UNBOUNDED]);
    }
    let mut server = Program::start("The server", &mut command);
    server.event("ready");
    let mut command = homes.home(HOST).command(lllsi);
    command.args(["--json", "host", "--source", "test", "--fps", "30"]);
    command.args(["--server", &format!("http://{SERVER}")]);
    command.args(["--max-viewers", &max_viewers.to_string()]);
    command.args(["--seconds", &limit.as_secs().to_string()]);
    let mut host = Program::start("The host", &mut command);
    let ready = host.event("ready");
    let link = ready["link"].as_str().expect("`ready` has a link").to_owned();
    ([host, server], Viewers { homes, lllsi, link, limit })
}

impl Viewers<'_> {
    /// Starts one in a home.
    pub(crate) fn join(&self, home: usize, more: &[&str]) -> Program {
        let mut command = session::joining(Command::new(self.lllsi), &self.link, self.limit);
        command.arg("--headless").args(more);
        self.homes.home(home).start("The viewer", command)
    }
}
