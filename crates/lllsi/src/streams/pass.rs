//! A client's stream, passed on by the host.

use std::sync::Arc;

use lllsi_core::host::ViewerId;
use lllsi_core::streams::Wish;
use lllsi_proto::rtsmp::{Kind, Mode};
use lllsi_stream::{Format, Overflow};

use super::{Hub, Publish, Stream, StreamError, WINDOW};

/// A stream of a client that the host sends on to others, as one of its own. It ends when this is dropped.
#[derive(Debug)]
pub struct PassedOn {
    // The subscription; held for as long as it is passed on.
    _from: Stream,
    to: Stream,
}

impl PassedOn {
    pub(crate) fn start(
        hub: &Arc<Hub>,
        (peer, of): (ViewerId, String),
        (kind, name): (Kind, &str),
        publish: Publish,
    ) -> Result<Self, StreamError> {
        let to = Stream::new(publish.start(hub, Format::Bytes, Some(of))?);
        let wish = Wish { peer, kind, name: name.into(), window: WINDOW };
        let from = Stream::new(hub.subscribe(wish, Some(&to.0))?);
        Ok(Self { _from: from, to })
    }

    /// As the others have it.
    pub fn stream(&self) -> &Stream {
        &self.to
    }
}

/// How a stream that is passed on is published: as it came.
pub(crate) fn same(name: &str, kind: Kind, mode: Mode, format: &str) -> Publish {
    let publish = match mode {
        // What waits here is what the client's window lets it send.
        Mode::Reliable => Publish::reliable(name).queue(usize::MAX, Overflow::Block),
        Mode::RealTime(micros) => {
            Publish::real_time(name, std::time::Duration::from_micros(micros.into()))
        }
    };
    match kind {
        Kind::Other(kind) => publish.own_kind(kind).format(format),
        _ => publish.format(format),
    }
}
