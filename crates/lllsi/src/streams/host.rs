//! What a host does with streams.

use lllsi_core::host::ViewerId;
use lllsi_proto::rtsmp::{EndReason, Kind};
use lllsi_stream::StreamData;

use super::{
    Key, MapStream, PassedOn, Publish, RemoteStream, StreamError, Value, VectorStream, same, vector,
};
use crate::Host;

/// Streams of anything.
impl Host {
    /// Publishes a stream of items, to everybody or to those whom [`Publish::to`] names.
    ///
    /// # Errors
    /// [`StreamError::Name`], [`StreamError::Taken`] and [`StreamError::TooMany`]; [`StreamError::Closed`] after the session's end.
    pub fn publish<T: StreamData>(
        &self,
        publish: impl Into<Publish>,
    ) -> Result<VectorStream<T>, StreamError> {
        VectorStream::publish(&self.hub, publish.into())
    }

    /// Publishes a map.
    ///
    /// # Errors
    /// Those of [`Self::publish`].
    pub fn publish_map<K: Key, V: Value>(
        &self,
        publish: impl Into<Publish>,
    ) -> Result<MapStream<K, V>, StreamError> {
        MapStream::publish(&self.hub, publish.into())
    }

    /// Subscribes to a client's stream of items, now or as soon as it is there.
    ///
    /// # Errors
    /// [`StreamError::Taken`] while there is a subscription to it; [`StreamError::Closed`] after the session's end.
    pub fn vector_from<T: StreamData>(
        &self,
        viewer: ViewerId,
        name: &str,
    ) -> Result<VectorStream<T>, StreamError> {
        vector(&self.hub, viewer, Kind::Vector, name)
    }

    /// Subscribes to a client's stream of a kind of the application's own.
    ///
    /// # Errors
    /// [`StreamError::Taken`] while there is a subscription to it; [`StreamError::Closed`] after the session's end.
    pub fn own_kind_from<T: StreamData>(
        &self,
        viewer: ViewerId,
        kind: u8,
        name: &str,
    ) -> Result<VectorStream<T>, StreamError> {
        vector(&self.hub, viewer, Kind::Other(kind), name)
    }

    /// Subscribes to a client's map, now or as soon as it is there.
    ///
    /// # Errors
    /// [`StreamError::Taken`] while there is a subscription to it; [`StreamError::Closed`] after the session's end.
    pub fn map_from<K: Key, V: Value>(
        &self,
        viewer: ViewerId,
        name: &str,
    ) -> Result<MapStream<K, V>, StreamError> {
        MapStream::subscribe(&self.hub, viewer, name)
    }

    /// Passes a client's stream of items on to everybody, or to those whom `to` names, under another name: nobody else can see
    /// it on the way, and it is not decoded here. How it is delivered and coded stays as it is.
    ///
    /// # Errors
    /// [`StreamError::Ended`] for what is not a stream of items; those of [`Self::publish`] and [`Self::vector_from`].
    pub fn pass_on(
        &self,
        stream: &RemoteStream,
        name: &str,
        to: Option<&[ViewerId]>,
    ) -> Result<PassedOn, StreamError> {
        if !matches!(stream.kind, Kind::Vector | Kind::Other(_)) {
            return Err(StreamError::Ended(Some(EndReason::Refused)));
        }
        let publish = same(name, stream.kind, stream.mode, &stream.format);
        let publish = match to {
            Some(viewers) => publish.to(viewers.iter().copied()),
            None => publish,
        };
        let of = self.hub.name_of(stream.peer);
        PassedOn::start(&self.hub, (stream.peer, of), (stream.kind, &stream.name), publish)
    }

    /// The streams that clients have.
    pub fn streams(&self) -> Vec<RemoteStream> {
        self.hub.remote()
    }
}
