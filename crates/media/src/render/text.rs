//! Text over pictures, in letters of one width.

use crate::picture::Size;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

const WEIGHT: FontWeight = FontWeight::Regular;
/// The colour of text: nearly white.
const INK: u32 = 0xf0;

/// How high a line is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Height {
    Small,
    Medium,
    Large,
}

impl Height {
    fn raster(self) -> RasterHeight {
        match self {
            Self::Small => RasterHeight::Size16,
            Self::Medium => RasterHeight::Size20,
            Self::Large => RasterHeight::Size24,
        }
    }
}

/// A rectangle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) size: Size,
}

/// The room that lines of text take.
pub(super) fn extent(text: &str, height: Height) -> Size {
    let letters = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let width = letters * get_raster_width(WEIGHT, height.raster());
    let height = text.lines().count() * height.raster().val();
    Size::new(width as u32, height as u32)
}

/// Writes lines of text with their upper left corner at `x`, `y`; what lies outside is left out.
pub(super) fn write(
    text: &str,
    height: Height,
    (x, y): (u32, u32),
    size: Size,
    pixels: &mut [u32],
) {
    let advance = get_raster_width(WEIGHT, height.raster());
    for (row, line) in text.lines().enumerate() {
        for (column, letter) in line.chars().enumerate() {
            let raster = get_raster(letter, WEIGHT, height.raster())
                .or_else(|| get_raster('?', WEIGHT, height.raster()));
            let left = x as usize + column * advance;
            let top = y as usize + row * height.raster().val();
            for (y, dots) in (top..).zip(raster.iter().flat_map(|raster| raster.rows())) {
                for (x, &ink) in (left..).zip(dots) {
                    if x < size.width as usize && y < size.height as usize {
                        let pixel = &mut pixels[y * size.width as usize + x];
                        *pixel = blend(*pixel, ink.into());
                    }
                }
            }
        }
    }
}

/// Lays ink of an opacity of 0 to 255 over a pixel.
fn blend(pixel: u32, opacity: u32) -> u32 {
    let channel = |shift: u32| {
        let under = pixel >> shift & 0xff;
        ((under * (255 - opacity) + INK * opacity) / 255) << shift
    };
    channel(16) | channel(8) | channel(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_line_and_all_lines_have_room() {
        let one = extent("four", Height::Small);
        let two = extent("four\nfour4", Height::Small);
        assert_eq!(two.height, 2 * one.height);
        assert_eq!(two.width, one.width / 4 * 5);
        assert!(extent("", Height::Large).is_empty());
    }

    #[test]
    fn letters_leave_ink_and_unknown_ones_a_question_mark() {
        let drawn = |text: &str| {
            let size = Size::new(32, 32);
            let mut pixels = vec![0; size.pixels()];
            write(text, Height::Large, (0, 0), size, &mut pixels);
            pixels
        };
        assert!(drawn("A").contains(&(INK * 0x01_0101)));
        assert!(drawn("A") != drawn("B") && drawn("\u{4e2d}") == drawn("?"));
        assert!(drawn(" ").iter().all(|&p| p == 0));
    }
}
