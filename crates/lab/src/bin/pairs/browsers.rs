//! Chromium with itself: a data channel between two homes, with the server of LLLSI for STUN.

use lllsi_lab::homes::SERVER;
use lllsi_lab::{Chromium, Homes, Tab};
use serde_json::Value;

use crate::meeting::VIEWER;
use crate::stage::HOST;

/// A peer with a STUN server, and its description with all candidates, once they are known.
const PREPARE: &str = r"
globalThis.prepare = (server) => {
  globalThis.peer = new RTCPeerConnection({iceServers: [{urls: `stun:${server}`}]});
};
globalThis.describe = async () => {
  await peer.setLocalDescription();
  while (peer.iceGatheringState !== 'complete') await new Promise((done) => setTimeout(done, 5));
  return peer.localDescription.sdp;
};
true";
/// Without a channel an offer has nothing to connect.
const OFFER: &str = r"
((server) => {
  prepare(server);
  globalThis.channel = peer.createDataChannel('lab');
  return describe();
})";
const ANSWER: &str = r"
(async (server, sdp) => {
  prepare(server);
  await peer.setRemoteDescription({type: 'offer', sdp});
  return describe();
})";
/// Milliseconds from when both sides know all candidates until the channel is open; nothing if that takes too long.
const CONNECT: &str = r"
(async (sdp, most) => {
  const opened = new Promise((done) => {
    channel.onopen = () => done(performance.now());
    setTimeout(() => done(null), most);
  });
  const known = performance.now();
  await peer.setRemoteDescription({type: 'answer', sdp});
  const at = await opened;
  return at === null ? null : at - known;
})";
/// What takes longer has failed.
const MOST_MS: u32 = 10_000;

/// One in each home, with a page each.
pub(crate) struct Browsers {
    host: Tab,
    viewer: Tab,
    _browsers: [Chromium; 2],
}

impl Browsers {
    pub(crate) fn start(homes: &Homes) -> Self {
        let browsers = [HOST, VIEWER].map(|home| Chromium::inside(&homes.home(home)));
        let [host, viewer] = [0, 1].map(|number: usize| {
            let tab = browsers[number].first();
            let _ = tab.evaluate(PREPARE);
            tab
        });
        Self { host, viewer, _browsers: browsers }
    }

    /// Connects anew, with new ports: how long it took, in milliseconds. `nats` are those of host and viewer.
    pub(crate) fn connect(&self, nats: (&str, &str)) -> Option<f64> {
        let offer = self.viewer.evaluate(&format!("{OFFER}('{SERVER}')"));
        assert_seen(&offer, nats.1);
        let answer = self.host.evaluate(&format!("{ANSWER}('{SERVER}', {offer})"));
        assert_seen(&answer, nats.0);
        let took = self.viewer.evaluate(&format!("{CONNECT}({answer}, {MOST_MS})"));
        for tab in [&self.host, &self.viewer] {
            let _ = tab.evaluate("peer.close()");
        }
        took.as_f64()
    }
}

/// A browser that the STUN server has not answered would fail, and not for the NAT.
fn assert_seen(description: &Value, nat: &str) {
    let is_seen = description.as_str().is_some_and(|sdp| sdp.contains("typ srflx"));
    assert!(is_seen || nat == "none", "Chromium heard nothing from the STUN server: {description}");
}
