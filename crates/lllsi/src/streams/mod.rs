//! Streams of anything between a host and its clients: [`VectorStream`] and [`MapStream`], and the [`Stream`] in both.

mod client;
mod end;
mod host;
mod hub;
mod map;
mod pass;
mod publish;
mod vector;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lllsi_core::host::ViewerId;
use lllsi_core::streams::{Action, Wish};
use lllsi_proto::rtsmp::{EndReason, Kind, MAX_FRAME_BYTES, Mode};
use lllsi_stream::{DataError, StreamContainer};

pub use end::StreamCounts;
use end::{End, Handle, Role};
pub use hub::RemoteStream;
pub(crate) use hub::{FromHub, Hub, Told};
pub use map::{Key, MapEvent, MapStream, Value};
pub use pass::PassedOn;
pub(crate) use pass::same;
pub use publish::Publish;
pub use vector::{Item, VectorStream};

/// Bytes of a reliable stream that may be under way to us, or wait here.
const WINDOW: u32 = 1 << 20;

/// Items of a real-time stream that wait for a subscriber; the oldest goes.
const WAITING: usize = 16;

/// Why a stream could not be had, or an item not brought or taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// A stream cannot be called so.
    #[error(transparent)]
    Name(lllsi_proto::Error),
    /// We have a stream of this kind and name, or have subscribed to it: clone what there is.
    #[error("there is a stream with the name `{0}` already")]
    Taken(String),
    /// Nobody may have more than 256 streams at once.
    #[error("there are too many streams: withdraw one by dropping it")]
    TooMany,
    /// An item has no bytes, or bytes are no item.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An item is larger than 16 MiB; or what a client writes to a map, than 64 KiB.
    #[error("an item of {0} bytes is too large")]
    TooLarge(usize),
    /// There was no place in time; or a map is full.
    #[error(
        "there is no place at present: subscribers have not taken what is there, or the map is full"
    )]
    Full,
    /// Nothing more comes, for this reason; or since the stream was withdrawn.
    #[error("{}", .0.as_ref().map_or("the stream was withdrawn".into(), ToString::to_string))]
    Ended(Option<EndReason>),
    /// The session is over.
    #[error("the session is over")]
    Closed,
}

/// What all streams have: an identity, a kind, whether they are on, and figures. Part of a [`VectorStream`] or [`MapStream`];
/// clones are the same stream.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use lllsi::{Host, Publish, Source};
/// use std::time::{Duration, Instant};
///
/// let host = Host::builder().server("https://rendezvous.example").source(Source::None).start()?;
/// let log = host.publish::<String>(Publish::reliable("log"))?;
/// log.push_back("hello".into())?;
/// let stream = log.stream();
/// stream.stop();
/// assert!(!stream.is_on());
/// stream.resume();
/// let delivered = stream.flush(Instant::now() + Duration::from_secs(5));
/// println!("{}: {} subscribers, all delivered: {delivered}", stream.name(), stream.subscribers().len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Stream(Arc<Handle>);

impl Stream {
    fn new(end: Arc<End>) -> Self {
        Self(Arc::new(Handle(end)))
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What its items mean.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// How it is delivered; `None` for a subscription that has not begun.
    pub fn mode(&self) -> Option<Mode> {
        self.0.lock().mode
    }

    /// Whether it is ours.
    pub fn is_ours(&self) -> bool {
        matches!(self.0.role, Role::Publisher(_))
    }

    /// Whether items flow: neither side has stopped it, and it has not ended.
    pub fn is_on(&self) -> bool {
        let state = self.0.lock();
        !state.is_stopped && !state.is_paused && state.over().is_none()
    }

    /// For a stream of ours: sends nothing until [`Self::resume`]. What is brought meanwhile waits, or is dropped if it is real-time;
    /// subscribers are told. For one of others: takes no more of it, and what comes meanwhile is lost for us.
    pub fn stop(&self) {
        self.0.lock().is_stopped = true;
        match self.0.role {
            Role::Publisher(id) => self.0.hub.act(Action::Stop(id)),
            Role::Subscriber(id) => self.0.hub.act(Action::Unsubscribe(id)),
        }
    }

    /// Goes on after [`Self::stop`]. A subscription that was stopped begins anew, with what comes from now on.
    pub fn resume(&self) {
        let mut state = self.0.lock();
        if !std::mem::take(&mut state.is_stopped) {
            return;
        }
        drop(state);
        match self.0.role {
            Role::Publisher(id) => self.0.hub.act(Action::Continue(id)),
            Role::Subscriber(id) => {
                self.0.lock().is_broken = false;
                let (kind, name, window) = (self.0.kind, self.0.name.clone(), WINDOW);
                let wish = Wish { peer: self.0.hub.owner(id), kind, name, window };
                self.0.hub.act(Action::Subscribe(id, wish));
            }
        }
    }

    /// Drops what waits here; of a stream of ours also what subscribers have not been sent.
    pub fn clear(&self) {
        let mut state = self.0.lock();
        let mut cleared = Vec::new();
        while let Some(item) = state.queue.pop() {
            state.took(&item);
            cleared.push(item);
        }
        state.counts.dropped += cleared.len() as u64;
        state.is_cleared = matches!(self.0.role, Role::Publisher(_));
        drop(state);
        cleared.iter().for_each(|item| self.0.left(item));
        self.0.stir();
        match self.0.role {
            Role::Publisher(id) => self.0.hub.act(Action::Clear(id)),
            Role::Subscriber(_) => self.0.nudge(),
        }
    }

    /// Figures of our end.
    pub fn counts(&self) -> StreamCounts {
        let state = self.0.lock();
        StreamCounts { waiting: state.queue.len(), ..state.counts }
    }

    /// Who has subscribed to a stream of ours.
    pub fn subscribers(&self) -> BTreeSet<ViewerId> {
        self.0.lock().subscribers.clone()
    }

    /// Waits until so many have subscribed to a stream of ours, at most until `deadline`. Tells whether they have.
    pub fn wait_for_subscribers(&self, count: usize, deadline: Instant) -> bool {
        let enough = |state: &mut end::State| match state.subscribers.len() >= count {
            true => Some(true),
            false => state.over().map(|_| false),
        };
        self.0.wait_for(Some(deadline), enough).unwrap_or(false)
    }

    /// Waits until nothing of a reliable stream of ours is left that a subscriber has not taken, at most until `deadline`. Tells whether
    /// it is so; which it is too if nobody has subscribed, or not any more: see [`Self::subscribers`]. Of a map it only tells that all
    /// changes are on their way.
    pub fn flush(&self, deadline: Instant) -> bool {
        let done = |state: &mut end::State| match End::is_delivered(state) {
            true => Some(true),
            false => state.over().map(|_| false),
        };
        self.0.wait_for(Some(deadline), done).unwrap_or(false)
    }
}

/// What a session's owner can do with streams; `Host` and `Client` hand it on.
pub(crate) fn vector<T: lllsi_stream::StreamData>(
    hub: &Arc<Hub>,
    peer: ViewerId,
    kind: Kind,
    name: &str,
) -> Result<VectorStream<T>, StreamError> {
    let wish = Wish { peer, kind, name: name.into(), window: WINDOW };
    Ok(VectorStream::new(Stream::new(hub.subscribe(wish, None)?)))
}

/// Pictures stand in the catalogue too.
pub(crate) fn pictures(hub: &Arc<Hub>) -> Result<Stream, StreamError> {
    Ok(Stream::new(Publish::pictures().start(hub, lllsi_stream::Format::Bytes, None)?))
}

/// Refuses what no frame can hold.
fn check_size(bytes: &bytes::Bytes) -> Result<(), StreamError> {
    match bytes.len() > MAX_FRAME_BYTES {
        true => Err(StreamError::TooLarge(bytes.len())),
        false => Ok(()),
    }
}

/// Long enough to be for ever, and short enough to be added to any time.
const FOREVER: Duration = Duration::from_secs(3600 * 24 * 365);
