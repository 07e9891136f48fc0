//! The last known picture of the screen, and how its rows are read again.

use super::segment::Segment;
use crate::picture::{Bgra, Size};
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use std::ops::Range;
use x11rb::connection::{Connection, RequestConnection};
use x11rb::errors::{ReplyError, ReplyOrIdError};
use x11rb::protocol::shm::{self, ConnectionExt as _};
use x11rb::protocol::xproto::{ConnectionExt as _, ImageFormat, Window};
use x11rb::rust_connection::RustConnection;

const ALL_PLANES: u32 = !0;

/// Rows of a screen, top first, without gaps.
pub(super) enum Store {
    /// In memory that the server writes to.
    Shared { segment: Segment, id: shm::Seg },
    /// In our own, sent over the connection: servers elsewhere, or without MIT-SHM.
    Sent(Vec<u8>),
}

impl Store {
    /// Room for a screen of `size`, shared if that works.
    pub(super) fn new(connection: &RustConnection, size: Size) -> Result<Self, ReplyError> {
        let length = size.pixels() * Bgra::PIXEL;
        match share(connection, length) {
            Ok(Some(store)) => return Ok(store),
            Ok(None) => {}
            Err(ReplyOrIdError::ConnectionError(error)) => return Err(error.into()),
            Err(error) => tracing::debug!(%error, "the X server shares no memory with us"),
        }
        tracing::warn!("capturing without shared memory, which is several times slower");
        Ok(Self::Sent(vec![0; length]))
    }

    /// Lets the server forget the memory.
    pub(super) fn release(&self, connection: &RustConnection) -> Result<(), ReplyError> {
        if let Self::Shared { id, .. } = self {
            connection.shm_detach(*id)?;
        }
        Ok(())
    }

    /// Reads `rows` of a screen of `size` again.
    pub(super) fn read(
        &mut self,
        connection: &RustConnection,
        root: Window,
        size: Size,
        rows: Range<u32>,
    ) -> Result<(), ReplyError> {
        let stride = size.width as usize * Bgra::PIXEL;
        let start = rows.start as usize * stride;
        // An X11 screen's sides fit 15 bits.
        let (top, width, height) = (rows.start as i16, size.width as u16, rows.len() as u16);
        let format = ImageFormat::Z_PIXMAP;
        match self {
            Self::Shared { id, .. } => {
                let (kind, at) = (format.into(), start as u32);
                connection
                    .shm_get_image(root, 0, top, width, height, ALL_PLANES, kind, *id, at)?
                    .reply()?;
            }
            Self::Sent(bytes) => {
                let image = connection
                    .get_image(format, root, 0, top, width, height, ALL_PLANES)?
                    .reply()?;
                let into = &mut bytes[start..start + rows.len() * stride];
                let sent = image.data.len().min(into.len());
                into[..sent].copy_from_slice(&image.data[..sent]);
            }
        }
        Ok(())
    }

    /// The whole picture.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared { segment, .. } => segment.bytes(),
            Self::Sent(bytes) => bytes,
        }
    }

    /// The same, to draw the pointer into.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Shared { segment, .. } => segment.bytes_mut(),
            Self::Sent(bytes) => bytes,
        }
    }

    /// How pictures come here, in words for a person.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Shared { .. } => "shared memory",
            Self::Sent(_) => "without shared memory",
        }
    }
}

/// Shares new memory with the server; `None` if it cannot or is not on this machine.
fn share(connection: &RustConnection, length: usize) -> Result<Option<Store>, ReplyOrIdError> {
    // Descriptors travel over Unix sockets only; trying elsewhere breaks the connection.
    let is_local = socket_domain(connection.stream()) == Ok(AddressFamily::UNIX);
    if !is_local || connection.extension_information(shm::X11_EXTENSION_NAME)?.is_none() {
        return Ok(None);
    }
    let version = connection.shm_query_version()?.reply()?;
    if (version.major_version, version.minor_version) < (1, 2) {
        return Ok(None);
    }
    let Ok((segment, fd)) = Segment::new(length) else {
        return Ok(None);
    };
    let id = connection.generate_id()?;
    connection.shm_attach_fd(id, fd, false)?.check()?;
    Ok(Some(Store::Shared { segment, id }))
}
