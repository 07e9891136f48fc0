//! Chromium's own data channels, from one page to another.

use std::time::Duration;

use lllsi_lab::Chromium;

/// One page makes the offer, the other takes it; they speak through the storage that pages of one origin share.
const PAGE: &str = r#"
const say = (what, value) => localStorage.setItem(what, JSON.stringify(value));
const hear = async (what) => {
  for (;;) {
    const value = localStorage.getItem(what);
    if (value) return JSON.parse(value);
    await new Promise((done) => setTimeout(done, 20));
  }
};
const gathered = (peer) => new Promise((done) => {
  if (peer.iceGatheringState === "complete") return done();
  peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
});
const peer = new RTCPeerConnection();
const channel = peer.createDataChannel("bulk", { negotiated: true, id: 1 });
channel.binaryType = "arraybuffer";
globalThis.received = 0;
channel.onmessage = ({ data }) => (globalThis.received += data.byteLength);
globalThis.send = () => {
  const piece = new Uint8Array(64 << 10);
  channel.bufferedAmountLowThreshold = 512 << 10;
  const fill = () => { while (channel.bufferedAmount < 1 << 20) channel.send(piece); };
  channel.onbufferedamountlow = fill;
  fill();
};
globalThis.offer = async () => {
  await peer.setLocalDescription();
  await gathered(peer);
  say("offer", peer.localDescription);
  await peer.setRemoteDescription(await hear("answer"));
};
globalThis.answer = async () => {
  await peer.setRemoteDescription(await hear("offer"));
  await peer.setLocalDescription();
  await gathered(peer);
  say("answer", peer.localDescription);
};
globalThis.channel = channel;
"#;

/// Bytes a second through one reliable channel. `url` is any page that both may be on.
pub(crate) fn bulk(url: &str, time: Duration) -> f64 {
    let browser = Chromium::start();
    let [from, to] = [(); 2].map(|()| browser.open(url));
    for tab in [&from, &to] {
        tab.until("a page", "document.readyState === 'complete'");
        let _ = tab.evaluate(&format!("(() => {{ {PAGE} }})()"));
    }
    let _ = from.evaluate("void offer()");
    let _ = to.evaluate("void answer()");
    for tab in [&from, &to] {
        tab.until("a channel", "channel.readyState === 'open'");
    }
    let _ = from.evaluate("send()");
    std::thread::sleep(Duration::from_secs(2));
    let read = || to.evaluate("[performance.now(), received]");
    let before = read();
    std::thread::sleep(time);
    let after = read();
    let part = |value: &serde_json::Value, at: usize| value[at].as_f64().unwrap_or(f64::NAN);
    (part(&after, 1) - part(&before, 1)) / ((part(&after, 0) - part(&before, 0)) / 1000.0)
}
