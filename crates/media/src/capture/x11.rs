//! An X11 screen: woken by what changes on it (DAMAGE), read through shared memory (MIT-SHM).
//!
//! Only the rows that changed are read; the others are kept from before. The pointer is drawn over
//! them and lifted before the next read, so it counts as a change when it moves (XInput tells, or
//! a look now and then) or takes another shape (XFIXES tells).

mod pointer;
mod segment;
mod store;

use super::{Grab, Source};
use crate::Error;
use crate::picture::{BgraView, Size, hull};
use pointer::Pointer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fmt::Display;
use std::ops::Range;
use std::time::{Duration, Instant};
use store::Store;
use x11rb::connection::{Connection, RequestConnection};
use x11rb::errors::ReplyError;
use x11rb::protocol::Event;
use x11rb::protocol::damage::{self, ConnectionExt as _, Damage, ReportLevel};
use x11rb::protocol::xfixes::{self, ConnectionExt as _, CursorNotifyMask};
use x11rb::protocol::xinput::{self, ConnectionExt as _, XIEventMask};
use x11rb::protocol::xproto::{self, ConnectionExt as _};
use x11rb::rust_connection::RustConnection;

/// How often to look where the pointer is, when nobody tells: 60 times a second.
const POINTER_PERIOD: Duration = Duration::from_micros(16_667);
/// How often to look all the same: programs can move the pointer without an event.
const WARP_PERIOD: Duration = Duration::from_millis(100);
/// Programs paint in several goes. If another change comes this soon after a read, the picture was
/// half painted, and what has changed is read again…
const QUIET: Duration = Duration::from_micros(500);
/// … until this long after the first change: something is always moving on some screens.
const UNREST: Duration = Duration::from_millis(6);
/// How often in a row a screen may take another size while it is read.
const RESIZES: usize = 8;
/// XInput's name for every pointer and keyboard that is shown as such.
const ALL_MASTER_DEVICES: xinput::DeviceId = 1;

/// A connection to an X server, and the last state of its screen.
pub(super) struct Screen {
    connection: RustConnection,
    name: String,
    root: xproto::Window,
    size: Size,
    store: Store,
    damage: Damage,
    pointer: Pointer,
    pointer_period: Duration,
    pointer_seen: Instant,
    pending: Pending,
    /// Whether a picture has been given.
    given: bool,
}

/// What has changed since the last picture.
#[derive(Default)]
struct Pending {
    /// When the first of these changes was noticed.
    since: Option<Instant>,
    /// The rows to read again.
    rows: Option<Range<u32>>,
    /// The size may be another one.
    resized: bool,
    /// The pointer has another shape.
    reshaped: bool,
    /// The pointer may be elsewhere.
    moved: bool,
}

impl Pending {
    fn note(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    fn note_rows(&mut self, rows: Range<u32>) {
        self.note();
        self.rows = Some(match self.rows.take() {
            Some(known) => hull(known, rows),
            None => rows,
        });
    }
}

impl Screen {
    pub(super) fn open(display: Option<&str>) -> Result<Self, Error> {
        let named = display.map(str::to_owned);
        let from_session = || std::env::var("DISPLAY").ok();
        let name = named.or_else(from_session).filter(|name| !name.is_empty());
        let name = name.ok_or(Error::NoDisplay)?;
        let (connection, screen) = RustConnection::connect(Some(&name)).map_err(|error| {
            Error::OpenDisplay { display: name.clone(), reason: error.to_string() }
        })?;
        let unsupported =
            |reason: String| Error::UnsupportedDisplay { display: name.clone(), reason };
        // Whoever names such a display may run a whole desktop inside it.
        if display.is_none() && is_wayland(&connection) {
            return Err(unsupported(
                "it belongs to a Wayland session and does not show its screen; \
                 log in to an X11 session, or name a display"
                    .into(),
            ));
        }
        check_pixels(connection.setup(), screen).map_err(unsupported)?;

        let root = &connection.setup().roots[screen];
        let size = Size::new(root.width_in_pixels.into(), root.height_in_pixels.into());
        let root = root.root;
        let (damage, pointer_period) = subscribe(&connection, root).map_err(unsupported)?;
        let store =
            Store::new(&connection, size).map_err(|error| unsupported(error.to_string()))?;
        let mut pending = Pending { reshaped: true, ..Pending::default() };
        pending.note_rows(0..size.height);
        Ok(Self {
            connection,
            name,
            root,
            size,
            store,
            damage,
            pointer: Pointer::default(),
            pointer_period,
            pointer_seen: Instant::now(),
            pending,
            given: false,
        })
    }

    fn lost(&self, reason: impl Display) -> Error {
        Error::DisplayLost { display: self.name.clone(), reason: reason.to_string() }
    }

    /// Takes all events that have come.
    fn drain(&mut self) -> Result<(), Error> {
        loop {
            match self.connection.poll_for_event() {
                Ok(Some(event)) => self.take(event),
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::DamageNotify(event) => {
                let top = i32::from(event.area.y).max(0) as u32;
                let bottom = i32::from(event.area.y) + i32::from(event.area.height);
                self.pending.note_rows(top..bottom.max(0) as u32);
            }
            Event::ConfigureNotify(event) if event.window == self.root => {
                self.pending.note();
                self.pending.resized = true;
            }
            Event::XfixesCursorNotify(_) => {
                self.pending.note();
                self.pending.reshaped = true;
            }
            Event::XinputRawMotion(_) => self.pending.moved = true,
            _ => {}
        }
    }

    /// Looks where the pointer is, if it may have moved.
    fn follow_pointer(&mut self) -> Result<(), Error> {
        let due = self.pointer_seen.elapsed() >= self.pointer_period;
        if !due && !self.pending.moved {
            return Ok(());
        }
        self.pending.moved = false;
        self.pointer_seen = Instant::now();
        let asked = self.connection.query_pointer(self.root).map_err(ReplyError::from);
        let reply = asked.and_then(|cookie| cookie.reply()).map_err(|error| self.lost(error))?;
        if self.pointer.move_to((reply.root_x.into(), reply.root_y.into())) {
            self.pending.note();
        }
        Ok(())
    }

    /// Sleeps until the server says something, or until `deadline`.
    fn wait(&self, deadline: Instant) -> Result<(), Error> {
        self.connection.flush().map_err(|error| self.lost(error))?;
        let rest = deadline.saturating_duration_since(Instant::now());
        let rest = Timespec::try_from(rest).map_err(|error| self.lost(error))?;
        let mut fds = [PollFd::new(self.connection.stream(), PollFlags::IN)];
        match poll(&mut fds, Some(&rest)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// Brings the stored screen and the pointer's shape up to date; answers the rows read.
    fn refresh(&mut self) -> Result<Range<u32>, ReplyError> {
        if std::mem::take(&mut self.pending.resized) {
            self.follow_size()?;
        }
        if std::mem::take(&mut self.pending.reshaped) {
            self.pointer.set(self.connection.xfixes_get_cursor_image()?.reply()?);
        }
        let Some(rows) = self.pending.rows.take() else {
            return Ok(0..0);
        };
        let rows = rows.start..rows.end.min(self.size.height);
        // Before the read: what changes during it is reported again.
        self.connection.damage_subtract(self.damage, x11rb::NONE, x11rb::NONE)?;
        if !rows.is_empty() {
            self.store.read(&self.connection, self.root, self.size, rows.clone())?;
        }
        Ok(rows)
    }

    /// Makes room for a screen of another size, if it has one.
    fn follow_size(&mut self) -> Result<(), ReplyError> {
        let root = self.connection.get_geometry(self.root)?.reply()?;
        let size = Size::new(root.width.into(), root.height.into());
        if size != self.size {
            self.store.release(&self.connection)?;
            self.store = Store::new(&self.connection, size)?;
            self.size = size;
            self.pending.note_rows(0..size.height);
        }
        Ok(())
    }

    /// Reads what has changed, until a picture stands still for a moment or `deadline` has come.
    fn read_until_quiet(&mut self, deadline: Instant) -> Result<Range<u32>, Error> {
        let mut rows = 0..0;
        loop {
            self.pending.since = None;
            rows = hull(rows, self.refresh_whatever_size()?);
            let quiet_at = Instant::now() + QUIET;
            self.drain()?;
            while self.pending.since.is_none() && Instant::now() < quiet_at {
                self.wait(quiet_at)?;
                self.drain()?;
            }
            if self.pending.since.is_none() || Instant::now() >= deadline {
                return Ok(rows);
            }
        }
    }

    /// [`Self::refresh`], and again if the screen shrank while it was read.
    fn refresh_whatever_size(&mut self) -> Result<Range<u32>, Error> {
        for _ in 0..RESIZES {
            match self.refresh() {
                Err(ReplyError::X11Error(error)) => {
                    let failed_at = self.size;
                    self.follow_size().map_err(|error| self.lost(error))?;
                    if self.size == failed_at {
                        return Err(self.lost(format_args!("{:?}", error.error_kind)));
                    }
                }
                other => return other.map_err(|error| self.lost(error)),
            }
        }
        Err(self.lost("it does not keep a size"))
    }
}

impl Source for Screen {
    fn size(&self) -> Size {
        self.size
    }

    fn describe(&self) -> String {
        format!("X11 display {}, {}, {}", self.name, self.size, self.store.describe())
    }

    fn next(&mut self, earliest: Instant, deadline: Instant) -> Result<Option<Grab<'_>>, Error> {
        let (changed_at, grabbed_at) = loop {
            self.follow_pointer()?;
            // Last: a reply may have come together with events, which no waiting would find.
            self.drain()?;
            let now = Instant::now();
            let until = match self.pending.since {
                Some(since) if now >= earliest => break (since, now),
                Some(_) => earliest,
                None => self.pointer_seen + self.pointer_period,
            };
            if now >= deadline {
                return Ok(None);
            }
            self.wait(until.min(deadline))?;
        };
        let lifted = self.pointer.lift(self.store.bytes_mut(), self.size);
        let read = self.read_until_quiet(grabbed_at + UNREST)?;
        let drawn = self.pointer.draw(self.store.bytes_mut(), self.size);
        let rows = hull(hull(lifted, read), drawn);
        let rows = rows.start..rows.end.min(self.size.height);
        self.given = true;
        Ok(Some(Grab { picture: self.last(), rows, changed_at, grabbed_at }))
    }

    fn last(&self) -> BgraView<'_> {
        let size = if self.given { self.size } else { Size::default() };
        BgraView::new(size, self.store.bytes())
    }
}

/// Whether the server only carries X11 windows into a Wayland session.
fn is_wayland(connection: &RustConnection) -> bool {
    matches!(connection.extension_information("XWAYLAND"), Ok(Some(_)))
}

/// Refuses screens whose pixels are not four bytes: blue, green, red, anything.
fn check_pixels(setup: &xproto::Setup, screen: usize) -> Result<(), String> {
    let screen = &setup.roots[screen];
    let depth = screen.root_depth;
    let format = setup.pixmap_formats.iter().find(|format| format.depth == depth);
    let mut visuals = screen.allowed_depths.iter().flat_map(|depth| &depth.visuals);
    let visual = visuals.find(|visual| visual.visual_id == screen.root_visual);
    let fits = setup.image_byte_order == xproto::ImageOrder::LSB_FIRST
        && format.is_some_and(|format| format.bits_per_pixel == 32)
        && visual.is_some_and(|visual| {
            visual.class == xproto::VisualClass::TRUE_COLOR
                && (visual.red_mask, visual.green_mask, visual.blue_mask)
                    == (0xff_0000, 0xff00, 0xff)
        });
    if fits {
        return Ok(());
    }
    Err(format!("its pixels ({depth} bits deep) are of an unknown kind; set it to 24-bit colour"))
}

/// Asks for all events; answers the damage to clear and how often to look at the pointer.
fn subscribe(
    connection: &RustConnection,
    root: xproto::Window,
) -> Result<(Damage, Duration), String> {
    for name in [damage::X11_EXTENSION_NAME, xfixes::X11_EXTENSION_NAME] {
        match connection.extension_information(name) {
            Ok(Some(_)) => {}
            Ok(None) => return Err(format!("the X server lacks the extension {name}")),
            Err(error) => return Err(error.to_string()),
        }
    }
    let damage = subscribe_to_changes(connection, root).map_err(|error| error.to_string())?;
    let tells_motion = subscribe_to_motion(connection, root).unwrap_or(false);
    Ok((damage, if tells_motion { WARP_PERIOD } else { POINTER_PERIOD }))
}

fn subscribe_to_changes(
    connection: &RustConnection,
    root: xproto::Window,
) -> Result<Damage, x11rb::errors::ReplyOrIdError> {
    connection.damage_query_version(1, 1)?.reply()?;
    connection.xfixes_query_version(2, 0)?.reply()?;
    let size_changes =
        xproto::ChangeWindowAttributesAux::new().event_mask(xproto::EventMask::STRUCTURE_NOTIFY);
    connection.change_window_attributes(root, &size_changes)?.check()?;
    connection.xfixes_select_cursor_input(root, CursorNotifyMask::DISPLAY_CURSOR)?.check()?;
    let damage = connection.generate_id()?;
    connection.damage_create(damage, root, ReportLevel::BOUNDING_BOX)?.check()?;
    Ok(damage)
}

/// Whether the server will tell when the pointer moves.
fn subscribe_to_motion(
    connection: &RustConnection,
    root: xproto::Window,
) -> Result<bool, ReplyError> {
    if connection.extension_information(xinput::X11_EXTENSION_NAME)?.is_none() {
        return Ok(false);
    }
    // From 2.1 on, motion is told even while a program holds the pointer.
    let version = connection.xinput_xi_query_version(2, 2)?.reply()?;
    let mask =
        xinput::EventMask { deviceid: ALL_MASTER_DEVICES, mask: vec![XIEventMask::RAW_MOTION] };
    connection.xinput_xi_select_events(root, &[mask])?.check()?;
    Ok((version.major_version, version.minor_version) >= (2, 1))
}
