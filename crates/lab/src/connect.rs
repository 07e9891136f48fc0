//! Connections to X servers whose pixels we know how to read.

use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ConnectionExt as _, ImageFormat, ImageOrder, Screen, Window};
use x11rb::rust_connection::{ReplyError, RustConnection};

/// A connection to a display, and its screen.
///
/// # Panics
///
/// If there is no such display, or its pixels are not 32 bits wide with a depth of 24.
pub(crate) fn connect(display: &str) -> (RustConnection, Screen) {
    let (connection, number) = RustConnection::connect(Some(display))
        .unwrap_or_else(|error| panic!("display {display} cannot be reached: {error}"));
    let setup = connection.setup();
    let screen = setup.roots[number].clone();
    let depth = screen.root_depth;
    let format = setup.pixmap_formats.iter().find(|format| format.depth == depth);
    let bits = format.map(|format| format.bits_per_pixel);
    assert!(
        depth == 24 && bits == Some(32) && setup.image_byte_order == ImageOrder::LSB_FIRST,
        "display {display} has depth {depth} in {bits:?} bits; only 24 in 32, lowest first, is understood"
    );
    (connection, screen)
}

/// Pixels of a window, BGRA.
pub(crate) fn pixels(
    connection: &RustConnection,
    window: Window,
    (x, y): (i16, i16),
    (width, height): (u16, u16),
) -> Result<Vec<u8>, ReplyError> {
    let format = ImageFormat::Z_PIXMAP;
    let image = connection.get_image(format, window, x, y, width, height, !0)?;
    Ok(image.reply()?.data)
}
