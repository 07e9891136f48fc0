//! Chromium with itself: WebRTC as it comes, with what its screen share sets by itself.

use std::sync::Arc;
use std::time::Duration;

use lllsi_lab::session::fill;
use lllsi_lab::{Chromium, Network, Side, Tab, XServer};

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
/// How long Chromium has a screen at rest before what is measured begins.
const SETTLE: Duration = Duration::from_secs(4);

/// What has to live for as long as pictures are to go on.
pub(crate) struct Browsers {
    _browsers: Vec<Chromium>,
    _tabs: Vec<Tab>,
    _page: Option<tempfile::TempDir>,
}

impl From<(Chromium, Tab)> for Browsers {
    fn from((browser, tab): (Chromium, Tab)) -> Self {
        Self { _browsers: vec![browser], _tabs: vec![tab], _page: None }
    }
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
    let receiver = Chromium::on(network, Side::Far(0), target.display(), Some(size));
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
    fill(&to, size);
    // In favour of it: what moves from the first second on makes it slow for good.
    std::thread::sleep(SETTLE);
    Browsers { _browsers: vec![sender, receiver], _tabs: vec![from, to], _page: Some(page) }
}
