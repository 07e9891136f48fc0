//! The programs that carry pictures from one display to the other.

use lllsi_lab::{Program, XServer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Both ends of one system.
pub(crate) struct Peers {
    pub(crate) system: &'static str,
    pub(crate) host: Program,
    pub(crate) viewer: Program,
}

/// What a viewer says about itself: means of the medians of each second, in ms.
#[derive(Debug, PartialEq)]
pub(crate) struct Claim {
    pub(crate) p50_ms: f64,
    pub(crate) stages: BTreeMap<String, f64>,
}

impl Peers {
    /// LLLSI, from `source` to a window on `target`. Ends by itself after `limit` if nobody ends it.
    pub(crate) fn lllsi(path: &Path, source: &XServer, target: &XServer, limit: Duration) -> Self {
        let limit = limit.as_secs().to_string();
        let screen = format!("screen{}", source.display());
        let mut command = Command::new(path);
        command.args(["--json", "host", "--source", &screen, "--listen", "127.0.0.1:0"]);
        let mut host = Program::start("The host", command.args(["--seconds", &limit]));
        let ready = host.event("ready");
        let mut command = Command::new(path);
        command.args(["--json", "join", "--seconds", &limit]).env("DISPLAY", target.display());
        command.env("LLLSI_LINK", ready["link"].as_str().expect("`ready` has a link"));
        Self { system: "LLLSI", host, viewer: Program::start("The viewer", &mut command) }
    }

    /// TigerVNC with its own choice of encoding, without authentication and encryption, over loopback alone.
    pub(crate) fn vnc(source: &XServer, target: &XServer, limit: Duration) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| Ok(listener.local_addr()?.port()))
            .expect("some port is free");
        let limit = limit.as_secs().to_string();
        let mut command = Command::new("X0tigervnc");
        command.args(["-display", source.display(), "-rfbport", &port.to_string()]);
        command.args(["-SecurityTypes", "None", "-localhost"]);
        let mut host =
            Program::start("The VNC server", command.args(["-MaxConnectionTime", &limit]));
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the VNC server does not listen");
            host.assert_running();
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut command = Command::new("xtigervncviewer");
        command.args(["-FullScreen", "-RemoteResize=0", &format!("127.0.0.1::{port}")]);
        let viewer = Program::start("The VNC viewer", command.env("DISPLAY", target.display()));
        Self { system: "TigerVNC", host, viewer }
    }

    pub(crate) fn assert_running(&mut self) {
        self.host.assert_running();
        self.viewer.assert_running();
    }

    /// What the viewer has said about its latency since the last time, if it says anything.
    pub(crate) fn claim(&mut self) -> Option<Claim> {
        Claim::of(&self.viewer.news())
    }
}

impl Claim {
    fn of(events: &[Value]) -> Option<Self> {
        // Seconds without a frame have no latency.
        let shown = |event: &&Value| event["event"] == "stats" && event["fps"].as_f64() > Some(0.0);
        let stats: Vec<&Value> = events.iter().filter(shown).collect();
        let p50_ms = mean(stats.iter().map(|event| &event["latency_ms"]["p50"]))?;
        let names = stats.iter().filter_map(|event| event["stages_ms"].as_object());
        let stages = names.flat_map(|stages| stages.keys()).filter_map(|name| {
            let stage = mean(stats.iter().map(|event| &event["stages_ms"][name]))?;
            Some((name.clone(), stage))
        });
        Some(Self { p50_ms, stages: stages.collect() })
    }
}

/// Of the numbers among these.
fn mean<'a>(values: impl Iterator<Item = &'a Value>) -> Option<f64> {
    let numbers: Vec<f64> = values.filter_map(Value::as_f64).collect();
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stats(fps: f64, p50: f64, stages: &Value) -> Value {
        json!({ "event": "stats", "fps": fps, "latency_ms": { "p50": p50 }, "stages_ms": stages })
    }

    #[test]
    fn a_claim_is_the_mean_of_the_seconds_with_frames() {
        let events = [
            json!({ "event": "connected" }),
            stats(30.0, 20.0, &json!({ "encode": 8.0, "decode": 2.0 })),
            stats(0.0, 0.0, &json!({})),
            stats(29.0, 30.0, &json!({ "encode": 10.0, "show": 1.0 })),
        ];
        let stages = [("decode", 2.0), ("encode", 9.0), ("show", 1.0)];
        let stages = stages.map(|(name, ms)| (name.to_owned(), ms)).into();
        assert_eq!(Claim::of(&events), Some(Claim { p50_ms: 25.0, stages }));
    }

    #[test]
    fn who_says_nothing_claims_nothing() {
        assert_eq!(Claim::of(&[]), None);
        assert_eq!(Claim::of(&[Value::Null, stats(0.0, 0.0, &json!({}))]), None);
    }
}
