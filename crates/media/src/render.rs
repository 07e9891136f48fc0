//! Where pictures are seen: a [`window`], or [`memory`] instead of one.
//!
//! The picture keeps its proportions; what is left of the window is black. Over it go a panel of
//! text, for figures, and a notice, for what a person should know.
//!
//! ```
//! use lllsi_media::picture::{I420, Size};
//! use lllsi_media::render::{self, Display, Scene};
//!
//! # fn main() -> Result<(), lllsi_media::Error> {
//! let mut display = render::memory(Size::new(640, 480));
//! let picture = I420::new(Size::new(320, 180));
//! let seen_at = display.show(&Scene { picture: Some(&picture), ..Scene::default() })?;
//! assert!(seen_at <= std::time::Instant::now());
//! # Ok(())
//! # }
//! ```

use crate::Error;
use crate::picture::{I420, Size};
use std::task::Waker;
use std::time::Instant;

mod compose;
mod icon;
mod memory;
mod text;
mod window;

pub use memory::Memory;

/// Something that shows pictures to a person, and tells what that person does.
///
/// It belongs to the thread that made it. Others can end its waiting by [`Display::waker`].
pub trait Display {
    /// The size of what can be seen, in pixels; a person may change it at any time.
    fn size(&self) -> Size;

    /// Shows a scene instead of the one before, and waits until it has gone to the screen as far
    /// as the system tells. Answers when that was.
    ///
    /// # Errors
    /// [`Error::DisplayLost`] when the display has gone; it is of no more use then.
    fn show(&mut self, scene: &Scene<'_>) -> Result<Instant, Error>;

    /// Waits until something happens, it is woken, or `deadline` comes; may return earlier. What
    /// has happened is put behind what is in `events`.
    ///
    /// # Errors
    /// [`Error::DisplayLost`] when the display has gone; it is of no more use then.
    fn wait(&mut self, deadline: Instant, events: &mut Vec<Event>) -> Result<(), Error>;

    /// Ends [`Display::wait`] from any thread, or makes the next call return at once.
    fn waker(&self) -> Waker;

    /// Takes the size of a picture if that fits the screen, else the largest of its proportions
    /// that does. A size that a person has chosen stays.
    fn fit(&mut self, picture: Size);

    /// Covers the whole screen, or no longer.
    fn set_fullscreen(&mut self, on: bool);
}

/// What is to be seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scene<'a> {
    /// The picture; without one the background is plain.
    pub picture: Option<&'a I420>,
    /// Lines of text in the upper left corner; nothing if empty. Letters up to U+00FF.
    pub panel: &'a str,
    /// One line in the middle below; nothing if empty.
    pub notice: &'a str,
}

/// What a person, or the system, wants of a display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It is to be closed.
    Close,
    /// What it shows is gone or does not fit any more: show the scene again.
    Redraw,
    /// A key went down.
    Key(Key),
}

/// The keys that a display tells so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Key {
    /// F11.
    F11,
    /// F12.
    F12,
}

/// What to open a window with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// In its title bar.
    pub title: String,
    /// Its size in pixels at first.
    pub size: Size,
    /// Whether it covers the whole screen at first.
    pub fullscreen: bool,
}

/// A window on the desktop of this session. A process can open one in its life; on macOS only its
/// main thread can.
///
/// # Errors
/// [`Error::NoWindow`] with the reason, such as that there is no display.
pub fn window(config: &Config) -> Result<Box<dyn Display>, Error> {
    Ok(Box::new(window::Window::open(config)?))
}

/// Whether [`window`] could open one, as far as that shows without doing so: connects to the display, with the system's libraries.
/// The process can open no window after that.
///
/// # Errors
/// [`Error::NoWindow`] with the reason, such as that there is no display.
pub fn check_window() -> Result<(), Error> {
    window::check()
}

/// Whether [`window`] has a display to try.
pub fn has_display() -> bool {
    let named = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(not(target_os = "linux")) || named("DISPLAY") || named("WAYLAND_DISPLAY")
}

/// A display in memory, for tests: it has the pixels that a window of this size would show.
pub fn memory(size: Size) -> Memory {
    Memory::new(size)
}
