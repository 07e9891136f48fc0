//! When the addresses or routes of this machine change: by rtnetlink on Linux, elsewhere by looking now and then.

use std::time::Duration;

use tokio::time::Instant;

/// Changes come in bursts: an interface, its addresses, its routes.
const SETTLES_IN: Duration = Duration::from_millis(100);
/// How often it is looked where the system does not tell.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Waits for changes of addresses and routes.
pub(crate) struct Watch {
    source: Option<Source>,
    /// When the next change is to be told of.
    due: Option<Instant>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        let source = Source::open().inspect_err(|error| {
            tracing::debug!(%error, "the system does not tell of changes of the network");
        });
        Self { source: source.ok(), due: None }
    }

    /// It could not be seen what has changed: it is to be looked at again soon.
    pub(crate) fn look_again(&mut self) {
        self.due = Some(Instant::now() + LOOK_EVERY);
    }

    /// Waits until something may have changed. Loses nothing where it is cancelled.
    pub(crate) async fn changed(&mut self) {
        if self.due.is_none() {
            let wait = match &self.source {
                Some(source) => source.changed().await.map_or(LOOK_EVERY, |()| SETTLES_IN),
                None => LOOK_EVERY,
            };
            self.due = Some(Instant::now() + wait);
        }
        if let Some(due) = self.due {
            tokio::time::sleep_until(due).await;
        }
        self.due = None;
    }
}

#[cfg(target_os = "linux")]
use linux::Source;
#[cfg(not(target_os = "linux"))]
use other::Source;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// `RTMGRP_LINK`, and those of addresses and routes of both families, of linux/rtnetlink.h.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    /// A socket of rtnetlink(7).
    pub(super) struct Source(AsyncFd<OwnedFd>);

    impl Source {
        pub(super) fn open() -> io::Result<Self> {
            // `NETLINK_ROUTE` is the first protocol of the family, 0.
            let socket = rustix::net::socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                None,
            )?;
            rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, GROUPS))?;
            // SAFETY: an `OwnedFd` keeps one descriptor open as long as it lives.
            #[allow(unsafe_code)]
            let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
            Ok(Self(watched?))
        }

        /// Waits for messages, and takes all that are there. What they say does not matter.
        pub(super) async fn changed(&self) -> io::Result<()> {
            let mut ready = self.0.readable().await?;
            // The kernel drops what was too much, and says so: that is a change as well.
            let mut message = [0; 8192];
            while rustix::net::recv(&self.0, &mut message, RecvFlags::empty()).is_ok() {}
            ready.clear_ready();
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::io;

    /// Nothing that tells.
    pub(super) enum Source {}

    impl Source {
        pub(super) fn open() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        #[allow(clippy::unused_async)] // as the other
        pub(super) async fn changed(&self) -> io::Result<()> {
            match *self {}
        }
    }
}
