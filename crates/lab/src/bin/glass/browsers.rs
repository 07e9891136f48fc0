//! Chromium as the viewer of LLLSI, and with itself: WebRTC as it comes, with what its screen share sets by itself.

use std::sync::Arc;
use std::time::Duration;

use lllsi_lab::{Chromium, Network, Side, Tab, XServer};
use serde_json::Value;

use crate::options::Options;
use crate::peers::host_over;
use crate::program::Program;

/// The sending page: the whole screen.
const SHARE: &str = r"
(async () => {
  const screen = await navigator.mediaDevices.getDisplayMedia({video: {frameRate: 30}, audio: false});
  globalThis.peer = new RTCPeerConnection();
  screen.getTracks().forEach((track) => peer.addTrack(track, screen));
  await peer.setLocalDescription();
  while (peer.iceGatheringState !== 'complete') await new Promise((done) => setTimeout(done, 50));
  return peer.localDescription.sdp;
})()";
/// The receiving page, and a video as large as its source, alone.
const WATCH: &str = r"
(async (sdp) => {
  globalThis.peer = new RTCPeerConnection();
  const video = document.createElement('video');
  Object.assign(video, {id: 'video', autoplay: true, muted: true, playsInline: true});
  peer.ontrack = ({streams}) => { video.srcObject = streams[0]; };
  document.body.append(video);
  await peer.setRemoteDescription({type: 'offer', sdp});
  await peer.setLocalDescription();
  while (peer.iceGatheringState !== 'complete') await new Promise((done) => setTimeout(done, 50));
  return peer.localDescription.sdp;
})";
/// The video where the screen is, pixel by pixel.
const FILL: &str = r"
((width, height) => {
  const video = document.querySelector('#video');
  const size = `width: ${width}px; height: ${height}px; max-width: none; max-height: none;`;
  video.style.cssText = `position: fixed; left: 0; top: 0; ${size} z-index: 99; cursor: none;`;
  document.body.style.cssText += 'margin: 0; overflow: hidden; cursor: none;';
})";
/// How long Chromium has a screen at rest before what is measured begins.
const SETTLE: Duration = Duration::from_secs(4);
const SHOWS: &str = "document.querySelector('#video')?.videoWidth > 0";

/// What has to live for as long as pictures are to go on.
pub(crate) struct Browsers {
    _host: Option<Program>,
    _browsers: Vec<Chromium>,
    _tabs: Vec<Tab>,
    _page: tempfile::TempDir,
}

/// Chromium's own screen share. The page on the host's machine is out of sight.
pub(crate) fn chromium(
    network: &Arc<Network>,
    source: &XServer,
    target: &XServer,
    size: (u16, u16),
) -> Browsers {
    let page = tempfile::tempdir().expect("a temporary directory");
    let path = page.path().join("page.html");
    std::fs::write(&path, "<!doctype html><meta charset=utf-8><title>lab</title><body>")
        .expect("a page");
    let url = format!("file://{}", path.display());
    let sender = Chromium::on(network, Side::Near, source.display(), None);
    let receiver = Chromium::on(network, Side::Far, target.display(), Some(size));
    let (from, to) = (sender.first(), receiver.first());
    for tab in [&from, &to] {
        tab.navigate(&url);
        tab.until("the page", "document.title === 'lab'");
    }
    let offer = from.click(SHARE);
    let answer = to.click(&format!("{WATCH}({offer})"));
    let accept =
        format!("peer.setRemoteDescription({{type: 'answer', sdp: {answer}}}).then(() => true)");
    let _ = from.click(&accept);
    shown(&to, size);
    // In favour of it: what moves from the first second on makes it slow for good.
    std::thread::sleep(SETTLE);
    Browsers { _host: None, _browsers: vec![sender, receiver], _tabs: vec![from, to], _page: page }
}

/// An LLLSI host, and its page in Chromium.
pub(crate) fn page(
    network: &Arc<Network>,
    options: &Options,
    source: &XServer,
    target: &XServer,
    size: (u16, u16),
    limit: Duration,
) -> Browsers {
    let mut host = host_over(network, options, source, "0.0.0.0:0", limit);
    let ready = host.event("ready");
    let links = ready["links"].as_array().cloned().unwrap_or_default();
    let links = links.iter().filter_map(Value::as_str);
    let link = links.rev().find(|link| link.contains(Side::Near.address()));
    let link = link.unwrap_or_else(|| panic!("no link leads to the host: {ready}"));
    let browser = Chromium::on(network, Side::Far, target.display(), Some(size));
    let tab = browser.first();
    tab.navigate(link);
    tab.until("an invitation", "document.body?.dataset.way === 'invited'");
    let _ = tab.click("document.querySelector('#form button').click()");
    tab.until("pictures", "document.body.dataset.state === 'playing'");
    shown(&tab, size);
    let page = tempfile::tempdir().expect("a temporary directory");
    Browsers { _host: Some(host), _browsers: vec![browser], _tabs: vec![tab], _page: page }
}

fn shown(tab: &Tab, (width, height): (u16, u16)) {
    tab.until("a picture", SHOWS);
    let _ = tab.evaluate(&format!("{FILL}({width}, {height})"));
}
