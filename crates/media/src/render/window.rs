//! A window of the desktop: winit opens it and tells its events, softbuffer shows pixels in it.
//!
//! The loop is turned from outside ([`Display::wait`]), so that its owner can wait for frames and
//! for a person at once, in its own thread and order.

#[cfg(target_os = "linux")]
mod xlib;

use super::compose::{Composer, fit};
use super::{Config, Display, Event, Key, Scene, icon};
use crate::Error;
use crate::picture::Size;
use softbuffer::{Context, Surface};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};
use winit::application::ApplicationHandler;
use winit::dpi::PhysicalSize;
use winit::event::{ElementState, KeyEvent, WindowEvent};
use winit::event_loop::{ActiveEventLoop, EventLoop, EventLoopProxy, OwnedDisplayHandle};
use winit::keyboard::{Key as WinitKey, NamedKey};
use winit::platform::pump_events::{EventLoopExtPumpEvents, PumpStatus};
use winit::raw_window_handle::HasDisplayHandle;
use winit::window::{Fullscreen, Icon, WindowAttributes, WindowId};

/// How long the first turn of the loop may take to open the window.
const OPENING: Duration = Duration::from_secs(5);
/// The share of a screen that a window takes whose picture is larger than the screen.
const SHARE: u32 = 9;

/// An open window.
pub(super) struct Window {
    events: EventLoop<()>,
    shown: Shown,
    surface: Surface<OwnedDisplayHandle, Rc<winit::window::Window>>,
    composer: Composer,
    bell: Arc<Bell>,
    /// The display, in words for a person.
    name: String,
    /// Whether the system tells when a picture has been drawn.
    draws_in_turn: bool,
    /// Set when the connection to an X server breaks.
    lost: &'static AtomicBool,
    /// The size asked for last.
    asked: Size,
}

/// What the loop's turns work on.
struct Shown {
    config: Config,
    window: Option<Rc<winit::window::Window>>,
    /// Of the window, as told last: asking takes a round trip, and winit panics if nobody answers.
    size: Size,
    failed: Option<String>,
    events: Vec<Event>,
}

/// Connects to the display as [`Window::open`] does, and shows nothing.
pub(super) fn check() -> Result<(), Error> {
    let events = event_loop().map_err(|error| no_window(&error))?;
    let context = Context::new(events.owned_display_handle());
    context.map(drop).map_err(|error| no_window(&error))
}

fn no_window(reason: &dyn std::fmt::Display) -> Error {
    let reason = without_place(&reason.to_string()).trim_end_matches('.').to_owned();
    Error::NoWindow { reason }
}

/// Rung by wakers; at most one ring is under way.
struct Bell {
    proxy: EventLoopProxy<()>,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Fails only when the window is gone, and with it the one who waits.
            let _ = self.proxy.send_event(());
        }
    }
}

impl Window {
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        let mut events = event_loop().map_err(|error| no_window(&error))?;
        let bell = Arc::new(Bell { proxy: events.create_proxy(), rung: AtomicBool::new(false) });
        let mut shown = Shown {
            config: config.clone(),
            window: None,
            size: Size::default(),
            failed: None,
            events: Vec::new(),
        };
        let began = Instant::now();
        while shown.window.is_none() && shown.failed.is_none() && began.elapsed() < OPENING {
            if let PumpStatus::Exit(code) = events.pump_app_events(Some(Duration::ZERO), &mut shown)
            {
                return Err(no_window(&format_args!("the display answered {code}")));
            }
        }
        if let Some(reason) = shown.failed.take() {
            return Err(no_window(&reason));
        }
        let window = shown.window.clone();
        let window = window.ok_or_else(|| no_window(&"the display does not answer"))?;
        let display = events.owned_display_handle();
        let (draws_in_turn, lost) = watch(&display);
        let context = Context::new(display).map_err(|error| no_window(&error))?;
        let surface = Surface::new(&context, window).map_err(|error| no_window(&error))?;
        Ok(Self {
            events,
            shown,
            surface,
            composer: Composer::default(),
            bell,
            name: name(draws_in_turn),
            draws_in_turn,
            lost,
            asked: config.size,
        })
    }

    fn window(&self) -> &winit::window::Window {
        self.surface.window()
    }

    fn lost(&self, reason: impl std::fmt::Display) -> Error {
        Error::DisplayLost { display: self.name.clone(), reason: reason.to_string() }
    }

    fn draw(&mut self, scene: &Scene<'_>) -> Result<(), Draw> {
        let size = self.size();
        let sides = (NonZeroU32::new(size.width), NonZeroU32::new(size.height));
        let (Some(width), Some(height)) = sides else {
            return Ok(()); // minimised
        };
        self.surface.resize(width, height)?;
        let mut pixels = self.surface.buffer_mut()?;
        self.composer.compose(scene, size, &mut pixels).map_err(Draw::Compose)?;
        pixels.present()?;
        if self.draws_in_turn {
            // Given only once the last picture has been drawn.
            self.surface.buffer_mut()?;
        }
        Ok(())
    }
}

/// Why a scene is not seen.
enum Draw {
    Compose(Error),
    Display(softbuffer::SoftBufferError),
}

impl From<softbuffer::SoftBufferError> for Draw {
    fn from(error: softbuffer::SoftBufferError) -> Self {
        Self::Display(error)
    }
}

impl Display for Window {
    fn size(&self) -> Size {
        self.shown.size
    }

    fn show(&mut self, scene: &Scene<'_>) -> Result<Instant, Error> {
        match self.draw(scene) {
            Ok(()) => Ok(Instant::now()),
            Err(Draw::Compose(error)) => Err(error),
            Err(Draw::Display(error)) => Err(self.lost(error)),
        }
    }

    fn wait(&mut self, deadline: Instant, events: &mut Vec<Event>) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        let (system, shown) = (&mut self.events, &mut self.shown);
        // winit panics where a display that is gone would have to answer. Nothing of it is used after that.
        let turn = AssertUnwindSafe(|| system.pump_app_events(Some(left), shown));
        let status = catch_unwind(turn).map_err(|_| self.lost("it does not answer any more"))?;
        self.bell.rung.store(false, Ordering::Release);
        if self.lost.load(Ordering::Relaxed) {
            return Err(self.lost("the connection broke"));
        }
        if let PumpStatus::Exit(code) = status {
            return Err(self.lost(format_args!("the connection ended with {code}")));
        }
        events.append(&mut self.shown.events);
        Ok(())
    }

    fn waker(&self) -> Waker {
        Arc::clone(&self.bell).into()
    }

    fn fit(&mut self, picture: Size) {
        let window = self.window();
        if window.fullscreen().is_some() || self.size() != self.asked || picture.is_empty() {
            return;
        }
        let screen = window.current_monitor().map(|monitor| monitor.size());
        let screen = screen.map_or(picture, |size| Size::new(size.width, size.height));
        let fits = picture.width <= screen.width && picture.height <= screen.height;
        let share = Size::new(screen.width / 10 * SHARE, screen.height / 10 * SHARE);
        let size = if fits { picture } else { fit(picture, share) };
        // An answer means that it has that size already; else it is told as an event.
        let now = window.request_inner_size(PhysicalSize::new(size.width, size.height));
        self.asked = now.map_or(size, |size| Size::new(size.width, size.height));
        if now.is_some() {
            self.shown.size = self.asked;
        }
    }

    fn set_fullscreen(&mut self, on: bool) {
        self.window().set_fullscreen(on.then_some(Fullscreen::Borderless(None)));
    }
}

impl ApplicationHandler for Shown {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        if self.window.is_some() {
            return;
        }
        match events.create_window(attributes(&self.config)) {
            Ok(window) => {
                let PhysicalSize { width, height } = window.inner_size();
                self.size = Size::new(width, height);
                self.window = Some(Rc::new(window));
            }
            Err(error) => self.failed = Some(error.to_string()),
        }
    }

    fn window_event(&mut self, _: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        if let WindowEvent::Resized(PhysicalSize { width, height }) = event {
            self.size = Size::new(width, height);
        }
        let event = match event {
            WindowEvent::CloseRequested | WindowEvent::Destroyed => Event::Close,
            WindowEvent::RedrawRequested | WindowEvent::Resized(_) => Event::Redraw,
            WindowEvent::KeyboardInput {
                event:
                    KeyEvent {
                        logical_key: WinitKey::Named(key),
                        state: ElementState::Pressed,
                        repeat: false,
                        ..
                    },
                ..
            } => match key {
                NamedKey::F11 => Event::Key(Key::F11),
                NamedKey::F12 => Event::Key(Key::F12),
                _ => return,
            },
            _ => return,
        };
        // One of each kind is enough, and bounds what an owner who looks away misses.
        if !self.events.contains(&event) {
            self.events.push(event);
        }
    }
}

fn event_loop() -> Result<EventLoop<()>, winit::error::EventLoopError> {
    let mut builder = EventLoop::builder();
    #[cfg(target_os = "linux")]
    winit::platform::x11::EventLoopBuilderExtX11::with_any_thread(&mut builder, true);
    #[cfg(target_os = "windows")]
    winit::platform::windows::EventLoopBuilderExtWindows::with_any_thread(&mut builder, true);
    builder.build()
}

fn attributes(config: &Config) -> WindowAttributes {
    let icon = Icon::from_rgba(icon::rgba(), icon::SIDE, icon::SIDE);
    let attributes = WindowAttributes::default()
        .with_title(&config.title)
        .with_window_icon(icon.ok())
        .with_inner_size(PhysicalSize::new(config.size.width, config.size.height))
        .with_fullscreen(config.fullscreen.then_some(Fullscreen::Borderless(None)));
    #[cfg(target_os = "linux")]
    let attributes = {
        // Both traits set the same name: the class of an X11 window, the app id of a Wayland one.
        use winit::platform::x11::WindowAttributesExtX11;
        attributes.with_name("lllsi", "lllsi")
    };
    attributes
}

/// Whether the display draws in turn, and where it is noted that its connection broke.
fn watch(display: &OwnedDisplayHandle) -> (bool, &'static AtomicBool) {
    // Never freed: Xlib may look at it as long as the process lives, which opens one window.
    let lost = Box::leak(Box::new(AtomicBool::new(false)));
    match display.display_handle().map(|handle| handle.as_raw()) {
        #[cfg(target_os = "linux")]
        Ok(winit::raw_window_handle::RawDisplayHandle::Xlib(handle)) => {
            xlib::note_loss(handle, lost);
            (true, lost)
        }
        _ => (false, lost),
    }
}

/// What the window library says, without the line of its source where it says so.
fn without_place(reason: &str) -> &str {
    match reason.split_once(".rs:") {
        Some((_, rest)) => rest.split_once(": ").map_or(reason, |(_, told)| told),
        None => reason,
    }
}

fn name(x11: bool) -> String {
    let variable = if x11 { "DISPLAY" } else { "WAYLAND_DISPLAY" };
    std::env::var(variable).unwrap_or_else(|_| "of this session".into())
}
