//! The window that is painted, over the whole screen.

use super::CODE_AT;
use super::motion::Motion;
use super::prose::{COLOURS, Prose};
use crate::clock_code;
use crate::connect::connect;
use x11rb::connection::{Connection as _, RequestConnection as _};
use x11rb::errors::{ConnectionError, ReplyError, ReplyOrIdError};
use x11rb::protocol::xproto::{
    ConnectionExt as _, CreateGCAux, CreateWindowAux, Cursor, Gcontext, ImageFormat, Rectangle,
    Screen, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

/// What a call to a lost display ends with.
pub(super) type Lost = ConnectionError;

/// Height of the bar at the top, which holds the code and does not scroll.
const BAR: u16 = 64;
/// Size of a letter of the font `fixed`, which every X server has built in.
const LETTER: (u16, u16) = (6, 13);
/// From the top of a line to the feet of its letters.
const ASCENT: u16 = 11;
const PAPER: u32 = 0xff_fd_f6;
const BAR_COLOUR: u32 = 0xd8_dc_e4;
/// Of text, dark enough to be read.
const INKS: [u32; COLOURS] =
    [0x20_20_20, 0x1f_4f_b0, 0xa0_20_30, 0x1c_70_3a, 0x7a_3a_9a, 0x9a_60_00];

/// A window over the whole screen. Nothing reaches the server before [`Canvas::stamp`].
pub(super) struct Canvas {
    connection: RustConnection,
    window: Window,
    size: (u16, u16),
    paper: Gcontext,
    inks: Vec<Gcontext>,
    prose: Prose,
    black: Gcontext,
    white: Gcontext,
    motion: Motion,
    pixels: Vec<u8>,
}

impl Canvas {
    pub(super) fn new(display: &str) -> Self {
        let (connection, screen) = connect(display);
        let size = (screen.width_in_pixels, screen.height_in_pixels);
        assert!(size.1 > BAR + 2 * LETTER.1, "display {display} is too low for a scene");
        let set_up = || {
            let window = cover(&connection, &screen)?;
            let context = |colour| context(&connection, window, colour);
            let plain = [context(PAPER)?, context(0)?, context(0xff_ff_ff)?];
            let inks = INKS.iter().map(|ink| context(*ink)).collect::<Result<_, _>>()?;
            Ok::<_, ReplyOrIdError>((window, plain, inks))
        };
        let (window, [paper, black, white], inks) =
            set_up().unwrap_or_else(|error| panic!("display {display} cannot be painted: {error}"));
        let (prose, motion, pixels) = (Prose::new(), Motion::new(), Vec::new());
        Self { connection, window, size, paper, black, white, inks, prose, motion, pixels }
    }

    /// Text everywhere below the bar.
    pub(super) fn fill(&mut self) -> Result<(), Lost> {
        (0..self.lines()).try_for_each(|line| self.write(BAR + line * LETTER.1))
    }

    /// The next picture of a film below the bar.
    pub(super) fn film(&mut self) -> Result<(), Lost> {
        self.motion.film(self.below(), &mut self.pixels);
        self.put()
    }

    /// Noise below the bar.
    pub(super) fn noise(&mut self) -> Result<(), Lost> {
        self.motion.noise(self.below(), &mut self.pixels);
        self.put()
    }

    /// What is below the bar, in pixels.
    fn below(&self) -> (usize, usize) {
        (self.size.0.into(), (self.size.1 - BAR).into())
    }

    /// Shows the pixels: as many rows in a request as it may hold.
    fn put(&self) -> Result<(), Lost> {
        let row = usize::from(self.size.0) * 4;
        let rows = (self.connection.maximum_request_bytes() - 64) / row;
        for (part, pixels) in self.pixels.chunks(rows * row).enumerate() {
            let (top, height) = (usize::from(BAR) + part * rows, pixels.len() / row);
            let (window, paper) = (self.window, self.paper);
            let (width, height, top) = (self.size.0, height as u16, top as i16);
            let format = ImageFormat::Z_PIXMAP;
            self.connection
                .put_image(format, window, paper, width, height, 0, top, 0, 24, pixels)?;
        }
        Ok(())
    }

    /// Moves the text up by a line, and writes a new one below.
    pub(super) fn scroll(&mut self) -> Result<(), Lost> {
        let (width, top) = (self.size.0, BAR as i16);
        let last = BAR + (self.lines() - 1) * LETTER.1;
        let (window, paper, connection) = (self.window, self.paper, &self.connection);
        let from = top + LETTER.1 as i16;
        connection.copy_area(window, window, paper, 0, from, 0, top, width, last - BAR)?;
        self.write(last)
    }

    /// Paints the present time, and hands all that was painted to the server in one go: it serves one client at a
    /// time, so that nobody sees half a frame.
    pub(super) fn stamp(&mut self) -> Result<(), Lost> {
        // By rectangles: an image would not fit into the connection's buffer with the rest, which would then be
        // sent before it, as a message of its own.
        let whole = code_area((0, 0), (clock_code::WIDTH, clock_code::HEIGHT));
        let block = |corner| code_area(corner, (clock_code::BLOCK, clock_code::BLOCK));
        let white: Vec<_> = clock_code::white_blocks(clock_code::now_micros()).map(block).collect();
        self.connection.poly_fill_rectangle(self.window, self.black, &[whole])?;
        self.connection.poly_fill_rectangle(self.window, self.white, &white)?;
        self.connection.flush()?;
        // There are no events to act on, but what is not read piles up.
        while self.connection.poll_for_event()?.is_some() {}
        Ok(())
    }

    /// Waits until the server has painted everything.
    pub(super) fn settle(&self) -> Result<(), Lost> {
        self.connection.sync().map_err(|error| match error {
            ReplyError::ConnectionError(error) => error,
            ReplyError::X11Error(error) => panic!("the painter asks for what is wrong: {error:?}"),
        })
    }

    fn lines(&self) -> u16 {
        (self.size.1 - BAR) / LETTER.1
    }

    /// Writes a new line of text; `top` in pixels.
    fn write(&mut self, top: u16) -> Result<(), Lost> {
        let area = Rectangle { x: 0, y: top as i16, width: self.size.0, height: LETTER.1 };
        self.connection.poly_fill_rectangle(self.window, self.paper, &[area])?;
        let feet = (top + ASCENT) as i16;
        for run in self.prose.line((self.size.0 / LETTER.0).into()) {
            let (left, ink) = (run.column as u16 * LETTER.0, self.inks[run.colour]);
            let text = run.text.as_bytes();
            self.connection.image_text8(self.window, ink, left as i16, feet, text)?;
        }
        Ok(())
    }
}

fn code_area((left, top): (usize, usize), (width, height): (usize, usize)) -> Rectangle {
    let (x, y) = (CODE_AT.0 + left as i16, CODE_AT.1 + top as i16);
    Rectangle { x, y, width: width as u16, height: height as u16 }
}

/// A window over the whole screen, of which no window manager hears.
fn cover(connection: &RustConnection, screen: &Screen) -> Result<Window, ReplyOrIdError> {
    let window = connection.generate_id()?;
    let (width, height) = (screen.width_in_pixels, screen.height_in_pixels);
    let settings = CreateWindowAux::new()
        .override_redirect(1)
        .background_pixel(PAPER)
        .cursor(no_pointer(connection, screen.root)?);
    let (root, visual, class) = (screen.root, screen.root_visual, WindowClass::INPUT_OUTPUT);
    connection
        .create_window(24, window, root, 0, 0, width, height, 0, class, visual, &settings)?
        .check()?;
    connection.map_window(window)?.check()?;
    let bar = context(connection, window, BAR_COLOUR)?;
    let area = Rectangle { x: 0, y: 0, width, height: BAR };
    connection.poly_fill_rectangle(window, bar, &[area])?.check()?;
    Ok(window)
}

/// A pointer of which nothing is seen: the stream has the pointer in it, what is read from the screen to compare does
/// not.
fn no_pointer(connection: &RustConnection, root: Window) -> Result<Cursor, ReplyOrIdError> {
    let (mask, nothing) = (connection.generate_id()?, connection.generate_id()?);
    connection.create_pixmap(1, mask, root, 1, 1)?.check()?;
    connection.create_gc(nothing, mask, &CreateGCAux::new().foreground(0))?.check()?;
    let dot = Rectangle { x: 0, y: 0, width: 1, height: 1 };
    connection.poly_fill_rectangle(mask, nothing, &[dot])?;
    let pointer = connection.generate_id()?;
    connection.create_cursor(pointer, mask, mask, 0, 0, 0, 0, 0, 0, 0, 0)?.check()?;
    Ok(pointer)
}

/// What is painted in one colour on our paper.
fn context(
    connection: &RustConnection,
    window: Window,
    colour: u32,
) -> Result<Gcontext, ReplyOrIdError> {
    let font = connection.generate_id()?;
    connection.open_font(font, b"fixed")?.check()?;
    let context = connection.generate_id()?;
    // Without graphics exposures: each copy would send an event that nobody needs.
    let settings =
        CreateGCAux::new().foreground(colour).background(PAPER).font(font).graphics_exposures(0);
    connection.create_gc(context, window, &settings)?.check()?;
    connection.close_font(font)?;
    Ok(context)
}
