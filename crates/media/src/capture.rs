//! Where pictures come from: the [`screen`], or a [`test_card`] instead of one.

use crate::Error;
use crate::picture::{BgraView, Size};
use std::ops::Range;
use std::time::Instant;

mod card;
mod glyphs;
#[cfg(target_os = "linux")]
mod x11;

/// Something that can be looked at again and again.
pub trait Source: Send {
    /// The size of the next picture, as far as known; screens change theirs at any time.
    fn size(&self) -> Size;

    /// What is captured, in words for a person.
    fn describe(&self) -> String;

    /// Waits until the picture differs from the last one given, or until `deadline`, then reads
    /// what has changed and lends the whole picture. `None`: nothing has changed. The first call
    /// gives a picture at once.
    ///
    /// Nothing is read before `earliest`: that is how a caller keeps to a frame rate. Changes are
    /// noticed all the while, so [`Grab::changed_at`] tells how long they had to wait.
    ///
    /// # Errors
    /// [`Error::DisplayLost`] when a screen has gone; the source is of no more use then.
    fn next(&mut self, earliest: Instant, deadline: Instant) -> Result<Option<Grab<'_>>, Error>;

    /// The last picture given, once more; of no size before the first.
    fn last(&self) -> BgraView<'_>;
}

/// A picture that differs from the one before it.
#[derive(Debug, Clone)]
pub struct Grab<'a> {
    /// The whole picture, where the source keeps it.
    pub picture: BgraView<'a>,
    /// The rows outside of which it is as before; all of them if its size is another one.
    pub rows: Range<u32>,
    /// When the first change since the last picture was noticed.
    pub changed_at: Instant,
    /// When reading the picture began. A source may go on reading for some milliseconds, until
    /// what a program paints is complete; only what changes after that is in the next picture.
    pub grabbed_at: Instant,
}

/// The whole screen with its mouse pointer: `display` by name (`:0`), or the session's own. On
/// Linux that is an X11 display; the one that a Wayland session offers shows no screen and is
/// refused unless it is named.
///
/// # Errors
/// [`Error::NoDisplay`], [`Error::OpenDisplay`] and [`Error::UnsupportedDisplay`], each with its
/// reason; [`Error::NoScreenCapture`] where screens cannot be captured yet.
pub fn screen(display: Option<&str>) -> Result<Box<dyn Source>, Error> {
    #[cfg(target_os = "linux")]
    return Ok(Box::new(x11::Screen::open(display)?));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = display;
        Err(Error::NoScreenCapture { system: std::env::consts::OS })
    }
}

/// Whether [`screen`] has a display to try without being given one.
pub fn default_display() -> bool {
    cfg!(target_os = "linux") && std::env::var_os("DISPLAY").is_some_and(|name| !name.is_empty())
}

/// A moving picture that says what it is: colours, a clock in UTC, and the words "test card". Its
/// pictures are due at a fixed pace of `fps` (at least 1) from now on; one whose time has passed
/// is left out, so the pace never drifts.
pub fn test_card(size: Size, fps: u32) -> Box<dyn Source> {
    Box::new(card::TestCard::new(size, fps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_display_that_is_not_there_is_named_in_the_error() {
        assert!(matches!(screen(Some("")), Err(Error::NoDisplay)));
        let error = screen(Some(":9999")).err().expect("no such display").to_string();
        assert!(error.contains(":9999"), "{error}");
    }

    #[test]
    fn the_test_card_says_what_it_is() {
        let card = test_card(Size::new(640, 360), 25);
        assert_eq!(card.size(), Size::new(640, 360));
        assert_eq!(card.describe(), "test card, 640x360, 25 pictures a second");
    }
}
