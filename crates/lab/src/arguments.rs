//! What the command lines of the lab's programs have in common.

use std::ops::RangeInclusive;

/// A size of a screen, such as `1280x720`.
///
/// # Errors
///
/// If it is none, or not between 640x360 and 7680x4320.
pub fn size(text: &str) -> Result<(u16, u16), String> {
    let size = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    size.filter(|(w, h)| (640..=7680).contains(w) && (360..=4320).contains(h))
        .ok_or(format!("`{text}` is no size between 640x360 and 7680x4320"))
}

/// A number within a range.
///
/// # Errors
///
/// If it is none, or outside of that.
pub fn number(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or(format!("`{text}` is no number from {} to {}", range.start(), range.end()))
}
