//! A person at a display: finds windows, moves and closes them, presses keys, changes the screen's size.

use crate::connect::connect;
use x11rb::connection::Connection as _;
use x11rb::protocol::randr::{ConnectionExt as _, Rotation};
use x11rb::protocol::xproto::{
    AtomEnum, ClientMessageEvent, ConfigureWindowAux, ConnectionExt as _, EventMask, InputFocus,
    Screen, Window,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::{ReplyError, RustConnection};

const KEY_PRESS: u8 = 2;
const KEY_RELEASE: u8 = 3;

/// Keys that can be pressed, by their X11 keysym.
#[derive(Debug, Clone, Copy)]
pub enum Key {
    /// F11.
    F11 = 0xffc8,
    /// F12.
    F12 = 0xffc9,
}

/// A window's place and size on its screen, in pixels, without what a window manager puts around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Of its left edge.
    pub x: i16,
    /// Of its top edge.
    pub y: i16,
    /// Its width.
    pub width: u16,
    /// Its height.
    pub height: u16,
}

/// A connection to a display, for playing a person. Every call panics if the display is gone.
#[derive(Debug)]
pub struct Desktop {
    connection: RustConnection,
    screen: Screen,
}

impl Desktop {
    /// Sits down at a display.
    ///
    /// # Panics
    ///
    /// If there is no such display.
    #[must_use]
    pub fn at(display: &str) -> Self {
        let (connection, screen) = connect(display);
        Self { connection, screen }
    }

    fn try_find(&self, class: &str) -> Result<Option<Window>, ReplyError> {
        let mut todo = vec![self.screen.root];
        while let Some(window) = todo.pop() {
            let (property, kind) = (AtomEnum::WM_CLASS, AtomEnum::STRING);
            let asked = self.connection.get_property(false, window, property, kind, 0, 64)?;
            // A window may vanish while it is looked at.
            let named = asked.reply().is_ok_and(|reply| {
                reply.value.split(|byte| *byte == 0).any(|name| name == class.as_bytes())
            });
            if named {
                return Ok(Some(window));
            }
            if let Ok(tree) = self.connection.query_tree(window)?.reply() {
                todo.extend(tree.children);
            }
        }
        Ok(None)
    }

    /// Where the window of this class is; `None` if there is none.
    #[must_use]
    pub fn place(&self, class: &str) -> Option<Place> {
        let window = must(self.try_find(class))?;
        let geometry =
            must(self.connection.get_geometry(window).map(|asked| asked.reply())).ok()?;
        let root = self.screen.root;
        let corner = self.connection.translate_coordinates(window, root, 0, 0);
        let corner = must(corner.map(|asked| asked.reply())).ok()?;
        let (width, height) = (geometry.width, geometry.height);
        Some(Place { x: corner.dst_x, y: corner.dst_y, width, height })
    }

    /// Gives the window of this class another size, as a person does by its edge.
    ///
    /// # Panics
    ///
    /// If there is no such window.
    pub fn resize(&self, class: &str, (width, height): (u16, u16)) {
        let window = must(self.try_find(class)).expect("there is such a window");
        let size = ConfigureWindowAux::new().width(u32::from(width)).height(u32::from(height));
        must(must(self.connection.configure_window(window, &size)).check());
    }

    /// Asks the window of this class to close, as the button in its title bar does.
    ///
    /// # Panics
    ///
    /// If there is no such window.
    pub fn close(&self, class: &str) {
        let window = must(self.try_find(class)).expect("there is such a window");
        let atom = |name: &[u8]| {
            let asked = must(self.connection.intern_atom(false, name).map(|asked| asked.reply()));
            asked.expect("atoms can be had").atom
        };
        let data = [atom(b"WM_DELETE_WINDOW"), 0, 0, 0, 0];
        let message = ClientMessageEvent::new(32, window, atom(b"WM_PROTOCOLS"), data);
        let sent = self.connection.send_event(false, window, EventMask::NO_EVENT, message);
        must(sent.map(|sent| sent.check())).expect("it can be sent");
    }

    /// Gives the keyboard to the window of this class, as a click into it does.
    ///
    /// # Panics
    ///
    /// If there is no such window.
    pub fn focus(&self, class: &str) {
        let window = must(self.try_find(class)).expect("there is such a window");
        let sent = self.connection.set_input_focus(InputFocus::PARENT, window, x11rb::CURRENT_TIME);
        must(sent.map(|sent| sent.check())).expect("it can be seen");
    }

    /// Whether a window manager takes requests (`_NET_SUPPORTING_WM_CHECK` of the EWMH).
    #[must_use]
    pub fn is_managed(&self) -> bool {
        let atom = self.connection.intern_atom(false, b"_NET_SUPPORTING_WM_CHECK");
        let check = must(atom.map(|asked| asked.reply())).expect("atoms can be had").atom;
        let (root, kind) = (self.screen.root, AtomEnum::WINDOW);
        let asked = self.connection.get_property(false, root, check, kind, 0, 1);
        must(asked.map(|asked| asked.reply())).is_ok_and(|reply| reply.value_len == 1)
    }

    /// Presses a key and lets it go; it goes to the window under the pointer, or to the one that has the focus.
    ///
    /// # Panics
    ///
    /// If the keyboard has no such key.
    pub fn press(&self, key: Key) {
        let setup = self.connection.setup();
        let (first, count) = (setup.min_keycode, setup.max_keycode - setup.min_keycode + 1);
        let asked = self.connection.get_keyboard_mapping(first, count);
        let keys = must(asked.map(|asked| asked.reply())).expect("keyboards can be asked");
        let mut codes = keys.keysyms.chunks(keys.keysyms_per_keycode.into());
        let place = codes.position(|keysyms| keysyms.contains(&(key as u32)));
        let code = first + place.expect("the keyboard has this key") as u8;
        for kind in [KEY_PRESS, KEY_RELEASE] {
            let sent = self.connection.xtest_fake_input(kind, code, 0, self.screen.root, 0, 0, 0);
            must(sent.map(|sent| sent.check())).expect("XTEST is there");
        }
    }

    /// Gives the whole screen another size, not larger than at first.
    ///
    /// # Panics
    ///
    /// If the server does not do so.
    pub fn resize_screen(&self, (width, height): (u16, u16)) {
        let root = self.screen.root;
        let asked = self.connection.randr_get_screen_resources(root);
        let screen = must(asked.map(|asked| asked.reply())).expect("RandR is there");
        for crtc in screen.crtcs {
            // Servers without a monitor may refuse; the screen can be resized all the same.
            let off = self.connection.randr_set_crtc_config(
                crtc,
                0,
                screen.config_timestamp,
                0,
                0,
                x11rb::NONE,
                Rotation::ROTATE0,
                &[],
            );
            let _ = must(off.map(|asked| asked.reply()));
        }
        let sent = self.connection.randr_set_screen_size(root, width, height, 300, 200);
        must(sent.map(|sent| sent.check())).expect("the screen can be resized");
    }
}

fn must<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("the display is gone: {error}"))
}
