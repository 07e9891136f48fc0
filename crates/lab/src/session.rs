//! A host on the near machine of a network, and LLLSI's page on another.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::chromium::{Chromium, Tab};
use crate::network::{Network, Side};
use crate::program::Program;
use crate::xserver::XServer;

/// The video where the screen is, pixel by pixel.
const FILL: &str = r"
((width, height) => {
  const video = document.querySelector('#video');
  const size = `width: ${width}px; height: ${height}px; max-width: none; max-height: none;`;
  video.style.cssText = `position: fixed; left: 0; top: 0; ${size} z-index: 99; cursor: none;`;
  document.body.style.cssText += 'margin: 0; overflow: hidden; cursor: none;';
})";
const SHOWS: &str = "document.querySelector('#video')?.videoWidth > 0";

/// A host that shows `source` on the near machine, with its own server, and its link. It ends by itself after `limit`.
///
/// # Panics
///
/// If it does not start.
#[must_use]
pub fn host(
    network: &Network,
    lllsi: &Path,
    source: &XServer,
    arguments: &[&str],
    limit: Duration,
) -> (Program, String) {
    let screen = format!("screen{}", source.display());
    let mut command = network.command(Side::Near, lllsi);
    // Links for browsers on other machines come with the unspecified address alone.
    command.args(["--json", "host", "--source", &screen, "--listen", "0.0.0.0:0"]);
    command.args(arguments).args(["--seconds", &limit.as_secs().to_string()]);
    let mut host = Program::start("The host", &mut command);
    let ready = host.event("ready");
    let links = ready["links"].as_array().cloned().unwrap_or_default();
    let address = Side::Near.address().to_string();
    let link = links.iter().filter_map(Value::as_str).rfind(|link| link.contains(&address));
    let link = link.unwrap_or_else(|| panic!("no link leads to the host: {ready}")).to_owned();
    (host, link)
}

/// `lllsi join` on one of the machines, which ends by itself after `limit`. Its arguments and display are to be added.
#[must_use]
pub fn join(network: &Network, side: Side, lllsi: &Path, link: &str, limit: Duration) -> Command {
    joining(network.command(side, lllsi), link, limit)
}

/// The same with a command that runs `lllsi`, wherever that is.
#[must_use]
pub fn joining(mut lllsi: Command, link: &str, limit: Duration) -> Command {
    lllsi.args(["--json", "join", "--seconds", &limit.as_secs().to_string()]);
    lllsi.env("LLLSI_LINK", link);
    lllsi
}

/// The page on one of the machines, once it shows pictures over the whole of a display.
///
/// # Panics
///
/// If it does not.
#[must_use]
pub fn page(
    network: &Arc<Network>,
    side: Side,
    link: &str,
    target: &XServer,
    size: (u16, u16),
) -> (Chromium, Tab) {
    let browser = Chromium::on(network, side, target.display(), Some(size));
    let tab = browser.first();
    tab.navigate(link);
    tab.until("an invitation", "document.body?.dataset.way === 'invited'");
    let _ = tab.click("document.querySelector('#form button').click()");
    tab.until("pictures", "document.body.dataset.state === 'playing'");
    fill(&tab, size);
    (browser, tab)
}

/// Waits for the first picture of a page, and shows it over the whole display.
///
/// # Panics
///
/// If none comes.
pub fn fill(tab: &Tab, (width, height): (u16, u16)) {
    tab.until("a picture", SHOWS);
    let _ = tab.evaluate(&format!("{FILL}({width}, {height})"));
}
