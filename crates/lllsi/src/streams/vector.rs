//! Items in their order.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lllsi_proto::rtsmp::{FRAME, OWN_TYPES};
use lllsi_stream::StreamData;

use super::end::Coded;
use super::{FOREVER, Hub, Publish, Stream, StreamError, check_size};

/// One end of a stream of items: a publisher's, who pushes, or a subscriber's, who pops. Between the two lies the link, or,
/// for what has not been sent or taken yet, this queue, which has two ends. Clones are the same end; with the last of them a stream
/// is withdrawn, or unsubscribed.
///
/// *Reliable* streams lose and reorder nothing, also when the link is made anew; a publisher waits while there is no place.
/// *Real-time* streams deliver nothing later than their deadline: the newest wins, or a few small ones together in one packet,
/// and what is dropped is counted.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use lllsi::{Client, Host, Publish, Source};
/// use std::time::Duration;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Reading { celsius: f32 }
///
/// let host = Host::builder().server("https://rendezvous.example").source(Source::None).start()?;
/// let readings = host.publish::<Reading>(Publish::real_time("readings", Duration::from_millis(200)))?;
/// readings.push_back(Reading { celsius: 21.5 })?;
///
/// // Somewhere else:
/// let client = Client::join(host.link()).start()?;
/// for reading in client.vector::<Reading>("readings")?.iter() {
///     println!("{} °C", reading.celsius);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct VectorStream<T> {
    stream: Stream,
    item: PhantomData<fn() -> T>,
}

/// An item, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item<T> {
    /// The item.
    pub item: T,
    /// Its number in the stream, from 1 on: gaps are what a real-time stream has dropped. 0 for one that was not sent yet.
    pub number: u32,
    /// How old it was when it came; `None` if that is not known.
    pub age: Option<Duration>,
    /// Its type: 1, or of a protocol of the application's own, 128 to 255.
    pub kind: u8,
    /// Flags of a protocol of the application's own: its upper six bits.
    pub flags: u8,
}

impl<T> Clone for VectorStream<T> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), item: PhantomData }
    }
}

impl<T: StreamData> VectorStream<T> {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, item: PhantomData }
    }

    pub(crate) fn publish(hub: &Arc<Hub>, publish: Publish) -> Result<Self, StreamError> {
        Ok(Self::new(Stream::new(publish.start(hub, T::FORMAT, None)?)))
    }

    /// What it has in common with all streams.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    fn coded(item: &T) -> Result<Coded, StreamError> {
        let payload = item.to_bytes()?;
        check_size(&payload)?;
        Ok(Coded::new(payload))
    }

    /// Puts an item behind those that wait to be sent. While there is no place, waits for one, if [`Publish::queue`](crate::Publish::queue)
    /// says so.
    ///
    /// # Errors
    /// [`StreamError::Data`] and [`StreamError::TooLarge`] for the item; [`StreamError::Closed`] after the session's end.
    pub fn push_back(&self, item: T) -> Result<(), StreamError> {
        self.stream.0.push(Self::coded(&item)?, false, None)
    }

    /// The same, in front of those that wait to be sent.
    ///
    /// # Errors
    /// Those of [`Self::push_back`].
    pub fn push_front(&self, item: T) -> Result<(), StreamError> {
        self.stream.0.push(Self::coded(&item)?, true, None)
    }

    /// The same as [`Self::push_back`], but waits for a place until `deadline` at most.
    ///
    /// # Errors
    /// Those of [`Self::push_back`]; [`StreamError::Full`] if there was no place in time.
    pub fn push_until(&self, item: T, deadline: Instant) -> Result<(), StreamError> {
        self.stream.0.push(Self::coded(&item)?, false, Some(deadline))
    }

    /// Sends an item of a protocol of the application's own, with its type (128 to 255, others are taken for 128) and flags (the
    /// upper six bits count).
    ///
    /// # Errors
    /// Those of [`Self::push_back`].
    pub fn push_own(&self, kind: u8, flags: u8, item: T) -> Result<(), StreamError> {
        let coded = Coded { kind: kind.max(OWN_TYPES), flags: flags & !3, ..Self::coded(&item)? };
        self.stream.0.push(coded, false, None)
    }

    /// The next item that has come; waits until `deadline`. `None` if none comes in time. At a publisher's end: takes back the next
    /// that has not been sent.
    ///
    /// # Errors
    /// [`StreamError::Data`] if what came is no such item: the next one may be. [`StreamError::Ended`] and
    /// [`StreamError::Closed`] if nothing more comes.
    pub fn pop_front(&self, deadline: Instant) -> Result<Option<T>, StreamError> {
        Ok(self.recv(deadline)?.map(|item| item.item))
    }

    /// The last item that has come, or has not been sent; see [`Self::pop_front`].
    ///
    /// # Errors
    /// Those of [`Self::pop_front`].
    pub fn pop_back(&self, deadline: Instant) -> Result<Option<T>, StreamError> {
        Ok(self.take(true, deadline)?.map(|item| item.item))
    }

    /// Like [`Self::pop_front`], with what is known of the item.
    ///
    /// # Errors
    /// Those of [`Self::pop_front`].
    pub fn recv(&self, deadline: Instant) -> Result<Option<Item<T>>, StreamError> {
        self.take(false, deadline)
    }

    fn take(&self, at_back: bool, deadline: Instant) -> Result<Option<Item<T>>, StreamError> {
        let Some(coded) = self.stream.0.pop(at_back, Some(deadline))? else { return Ok(None) };
        let Coded { number, kind, flags, age, payload, .. } = coded;
        let item = T::from_bytes(payload)?;
        let flags = if kind == FRAME { 0 } else { flags };
        Ok(Some(Item { item, number, age, kind, flags }))
    }

    /// The items as they come, until the stream or the session ends. Those that make no sense are left out.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| {
            loop {
                match self.pop_front(Instant::now() + FOREVER) {
                    Ok(Some(item)) => return Some(item),
                    Ok(None) => {}
                    Err(StreamError::Data(error)) => tracing::warn!(%error, "an item was left out"),
                    Err(_) => return None,
                }
            }
        })
    }
}
