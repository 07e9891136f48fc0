//! What a client does with streams.

use lllsi_core::streams::THE_HOST;
use lllsi_proto::rtsmp::Kind;
use lllsi_stream::StreamData;

use super::{Key, MapStream, Publish, RemoteStream, StreamError, Value, VectorStream, vector};
use crate::Client;

/// Streams of anything.
impl Client {
    /// Subscribes to a stream of items of the host's, now or as soon as it is there.
    ///
    /// # Errors
    /// [`StreamError::Taken`] while there is a subscription to it; [`StreamError::Closed`] after the session's end.
    pub fn vector<T: StreamData>(&self, name: &str) -> Result<VectorStream<T>, StreamError> {
        vector(&self.hub, THE_HOST, Kind::Vector, name)
    }

    /// Subscribes to a stream of a kind of the application's own.
    ///
    /// # Errors
    /// [`StreamError::Taken`] while there is a subscription to it; [`StreamError::Closed`] after the session's end.
    pub fn own_kind<T: StreamData>(
        &self,
        kind: u8,
        name: &str,
    ) -> Result<VectorStream<T>, StreamError> {
        vector(&self.hub, THE_HOST, Kind::Other(kind), name)
    }

    /// Subscribes to a map of the host's, now or as soon as it is there.
    ///
    /// # Errors
    /// [`StreamError::Taken`] while there is a subscription to it; [`StreamError::Closed`] after the session's end.
    pub fn map<K: Key, V: Value>(&self, name: &str) -> Result<MapStream<K, V>, StreamError> {
        MapStream::subscribe(&self.hub, THE_HOST, name)
    }

    /// Publishes a stream of items to the host.
    ///
    /// # Errors
    /// [`StreamError::Name`], [`StreamError::Taken`] and [`StreamError::TooMany`]; [`StreamError::Closed`] after the session's end.
    pub fn publish<T: StreamData>(
        &self,
        publish: impl Into<Publish>,
    ) -> Result<VectorStream<T>, StreamError> {
        VectorStream::publish(&self.hub, publish.into())
    }

    /// Publishes a map to the host.
    ///
    /// # Errors
    /// Those of [`Self::publish`].
    pub fn publish_map<K: Key, V: Value>(
        &self,
        publish: impl Into<Publish>,
    ) -> Result<MapStream<K, V>, StreamError> {
        MapStream::publish(&self.hub, publish.into())
    }

    /// The streams that the host has.
    pub fn streams(&self) -> Vec<RemoteStream> {
        self.hub.remote()
    }

    /// Wants the host's pictures, as it is from the start, or does without them.
    pub fn watch(&self, wanted: bool) {
        self.hub.watch(wanted);
    }
}
