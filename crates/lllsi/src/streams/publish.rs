//! How a stream is published.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lllsi_core::host::ViewerId;
use lllsi_core::streams::{Audience, Offer};
use lllsi_proto::rtsmp::{Kind, Mode, OWN_TYPES};
use lllsi_stream::{Format, Overflow, StreamVectorContainer};

use super::end::{Coded, End};
use super::{Hub, StreamError};

/// What a reliable stream keeps for its subscribers.
const CAPACITY: usize = 8 << 20;
/// How long a subscriber is waited for that takes nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a stream is to be published: its name, how it is delivered, to whom, and what happens when there is no place.
///
/// ```
/// use lllsi::Publish;
/// use lllsi::stream::Overflow;
/// use std::time::Duration;
///
/// let telemetry = Publish::real_time("telemetry", Duration::from_millis(200));
/// let chat = Publish::reliable("chat").queue(100, Overflow::DropOldest).patience(Duration::ZERO);
/// ```
#[derive(Debug, Clone)]
pub struct Publish {
    name: String,
    mode: Mode,
    kind: Kind,
    format: Option<String>,
    audience: Audience,
    capacity: usize,
    patience: Duration,
    queue: (usize, Overflow),
}

impl Publish {
    fn new(name: impl Into<String>, mode: Mode, queue: (usize, Overflow)) -> Self {
        let (kind, format, audience) = (Kind::Vector, None, Audience::All);
        let (name, capacity, patience) = (name.into(), CAPACITY, PATIENCE);
        Self { name, mode, kind, format, audience, capacity, patience, queue }
    }

    /// All items arrive, in order, once; also over a link that is made anew. Whoever brings them waits while there is no place.
    pub fn reliable(name: impl Into<String>) -> Self {
        Self::new(name, Mode::Reliable, (64, Overflow::Block))
    }

    /// Items arrive before they are older than `deadline` (rounded to microseconds, an hour at most), or not at all; the newest
    /// wins. Small ones that wait together may all go, in one packet.
    pub fn real_time(name: impl Into<String>, deadline: Duration) -> Self {
        let micros = deadline.as_micros().min(3_600_000_000) as u32;
        Self::new(name, Mode::RealTime(micros), (16, Overflow::DropOldest))
    }

    /// For these viewers alone; default everybody.
    pub fn to(mut self, viewers: impl IntoIterator<Item = ViewerId>) -> Self {
        self.audience = Audience::Only(viewers.into_iter().collect::<BTreeSet<_>>());
        self
    }

    /// How many items may wait here, and what happens to those over that; default 64 that wait for a place, real-time 16 of which
    /// the oldest goes.
    pub fn queue(mut self, items: usize, overflow: Overflow) -> Self {
        self.queue = (items, overflow);
        self
    }

    /// Bytes that a reliable stream keeps until all subscribers have taken them; default 8 MiB. Each item counts as 32 bytes
    /// more than it has.
    pub fn keep(mut self, bytes: usize) -> Self {
        self.capacity = bytes;
        self
    }

    /// When there is no more place, how long a subscriber is waited for until it takes a hundredth of what is [kept](Self::keep);
    /// default 10 s. Then it is parted with, and not waited for again. With [`Duration::ZERO`] nobody ever waits for another.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How items are coded, if neither `cbor` nor `bytes` says it.
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.format = Some(format.into());
        self
    }

    /// A kind of the application's own, with a protocol of its own: 128 to 255. Others are taken for 128.
    pub fn own_kind(mut self, kind: u8) -> Self {
        self.kind = Kind::Other(kind.max(OWN_TYPES));
        self
    }

    /// The host's video.
    pub(super) fn pictures() -> Self {
        let publish = Self::real_time("screen", Duration::from_secs(1)).format("h264");
        Self { kind: Kind::Video, ..publish }
    }

    /// A map's.
    pub(crate) fn of_map(mut self) -> Self {
        (self.kind, self.mode) = (Kind::Map, Mode::Reliable);
        self
    }

    pub(super) fn of_writes(mut self) -> Self {
        self.kind = Kind::Writes;
        self
    }

    pub(super) fn start(
        self,
        hub: &Arc<Hub>,
        format: Format,
        of: Option<String>,
    ) -> Result<Arc<End>, StreamError> {
        let Self {
            name, mode, kind, audience, capacity, patience, queue: (items, overflow), ..
        } = self;
        let format = self.format.unwrap_or_else(|| match format {
            Format::Cbor => "cbor".into(),
            Format::Bytes => "bytes".into(),
        });
        let queue: StreamVectorContainer<Coded> = StreamVectorContainer::new(items, overflow);
        hub.publish(Offer { kind, mode, name, format, of, audience, capacity, patience }, queue)
    }
}

impl From<&str> for Publish {
    fn from(name: &str) -> Self {
        Self::reliable(name)
    }
}
