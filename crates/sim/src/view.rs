//! What the machines have told so far, for tests to look at.

use std::collections::BTreeMap;
use std::time::Duration;

use lllsi_core::client;
use lllsi_core::host::{self, LayerId, ViewerId};

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
    /// What was asked of the layers' encoders.
    pub layers: BTreeMap<LayerId, LayerView>,
}

/// What the host wants of a layer's encoder.
#[derive(Debug, Clone, Copy, Default)]
pub struct LayerView {
    /// Whether anybody is sent it.
    pub is_watched: bool,
    /// The newest bitrate.
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
            host::Event::Watched(id, is_watched) => self.change(*id).is_watched = *is_watched,
            host::Event::Bitrate(id, bitrate) => self.change(*id).bitrate = Some(*bitrate),
            host::Event::Hold(id, is_held) => self.change(*id).is_held = *is_held,
            _ => {}
        }
        self.events.push(event);
    }

    fn change(&mut self, id: LayerId) -> &mut LayerView {
        self.layers.entry(id).or_default()
    }

    /// What the host wants of a layer's encoder.
    pub fn layer(&self, id: LayerId) -> LayerView {
        self.layers.get(&id).copied().unwrap_or_default()
    }

    /// Whether nobody is sent any layer.
    pub fn is_unwatched(&self) -> bool {
        !self.layers.values().any(|layer| layer.is_watched)
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
