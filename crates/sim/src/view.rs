//! What the machines have told so far, for tests to look at.

use std::collections::BTreeMap;
use std::time::Duration;

use lllsi_core::client;
use lllsi_core::host::{self, ViewerId};

/// What the host has told so far.
#[derive(Debug, Default)]
pub struct HostView {
    /// All events.
    pub events: Vec<host::Event>,
    /// Viewers connected at present.
    pub connected: BTreeMap<ViewerId, String>,
    /// Frames handed to the host.
    pub frames: u32,
    /// Keyframes among them.
    pub keyframes: u32,
    /// The newest bitrate asked of the encoder.
    pub bitrate: Option<u32>,
    /// Whether the encoder is to wait.
    pub is_held: bool,
}

/// What a client has told so far.
#[derive(Debug, Default)]
pub struct ClientView {
    /// All events but frames, with the time since the world began.
    pub events: Vec<(Duration, client::Event)>,
    /// Frames delivered.
    pub frames: u32,
    /// When the newest one was delivered.
    pub last_frame_at: Option<Duration>,
    /// The longest time between two frames.
    pub longest_gap: Duration,
    /// Newest frame's latency, as the client knows it.
    pub latency: Option<Duration>,
    /// When frames were delivered, and how old they were.
    pub shown: Vec<(Duration, Duration)>,
    /// Why it ended, if it did.
    pub closed: Option<client::CloseReason>,
    /// Whether its link has been up.
    pub connected_at: Option<Duration>,
}

impl HostView {
    pub(crate) fn note(&mut self, event: host::Event) {
        match &event {
            host::Event::ViewerConnected { id, name, .. } => {
                drop(self.connected.insert(*id, name.clone()))
            }
            host::Event::ViewerLeft { id, .. } => drop(self.connected.remove(id)),
            host::Event::Bitrate(bitrate) => self.bitrate = Some(*bitrate),
            host::Event::Hold(is_held) => self.is_held = *is_held,
            _ => {}
        }
        self.events.push(event);
    }

    /// Whether the host has told something like this.
    pub fn told(&self, matches: impl Fn(&host::Event) -> bool) -> bool {
        self.events.iter().any(matches)
    }
}

impl ClientView {
    pub(crate) fn note(&mut self, at: Duration, event: client::Event) {
        match event {
            client::Event::Frame(frame) => {
                self.frames += 1;
                self.latency = frame.latency_us.map(Duration::from_micros);
                self.shown.extend(self.latency.map(|latency| (at, latency)));
                if let Some(last) = self.last_frame_at {
                    self.longest_gap = self.longest_gap.max(at - last);
                }
                self.last_frame_at = Some(at);
                return;
            }
            client::Event::Connected(_) => self.connected_at = Some(at),
            client::Event::Closed(ref reason) => self.closed = Some(reason.clone()),
            _ => {}
        }
        self.events.push((at, event));
    }

    /// Whether the client has told something like this.
    pub fn told(&self, matches: impl Fn(&client::Event) -> bool) -> bool {
        self.events.iter().any(|(_, event)| matches(event))
    }
}
