//! The mouse pointer, which is not part of the screen's picture and has to be drawn into it.

use crate::picture::{Bgra, Size};
use std::ops::Range;
use x11rb::protocol::xfixes::GetCursorImageReply;

/// The pointer's shape and place, and what it covers.
#[derive(Default)]
pub(super) struct Pointer {
    /// Rows of 0xAARRGGBB, colours already multiplied by alpha.
    image: Vec<u32>,
    width: usize,
    /// The pixel of the image that is at `place`.
    hot_spot: (i32, i32),
    place: (i32, i32),
    covered: Covered,
}

/// The pixels under the pointer, while it is drawn.
#[derive(Default)]
struct Covered {
    left: usize,
    width: usize,
    rows: Range<u32>,
    pixels: Vec<u8>,
}

impl Pointer {
    /// Takes another shape, and the place that comes with it.
    pub(super) fn set(&mut self, reply: GetCursorImageReply) {
        self.width = reply.width.into();
        self.hot_spot = (reply.xhot.into(), reply.yhot.into());
        self.place = (reply.x.into(), reply.y.into());
        self.image = reply.cursor_image;
    }

    /// Moves; answers whether that was somewhere else.
    pub(super) fn move_to(&mut self, place: (i32, i32)) -> bool {
        std::mem::replace(&mut self.place, place) != place
    }

    /// Draws the pointer, as far as it is inside the picture; answers the rows it is in.
    pub(super) fn draw(&mut self, picture: &mut [u8], size: Size) -> Range<u32> {
        let (left, top) = (self.place.0 - self.hot_spot.0, self.place.1 - self.hot_spot.1);
        let within = |from: i32, length: usize, most: u32| {
            let to = from.saturating_add(length as i32).clamp(0, most as i32) as u32;
            from.clamp(0, most as i32) as u32..to
        };
        let width = self.width.max(1);
        let columns = within(left, width, size.width);
        let rows = within(top, self.image.len() / width, size.height);
        if columns.is_empty() || rows.is_empty() {
            return 0..0;
        }
        let covered = &mut self.covered;
        (covered.left, covered.width) = (columns.start as usize, columns.len());
        covered.rows = rows.clone();
        covered.pixels.clear();
        for y in rows.clone() {
            let pixels = &mut picture[span(size, y, columns.start as usize, columns.len())];
            covered.pixels.extend_from_slice(pixels);
            let at = (y as i32 - top) as usize * width + (columns.start as i32 - left) as usize;
            let colours = &self.image[at..at + columns.len()];
            for (pixel, &colour) in pixels.chunks_exact_mut(Bgra::PIXEL).zip(colours) {
                blend(pixel, colour);
            }
        }
        rows
    }

    /// Puts back what the pointer covers; answers the rows it was in.
    pub(super) fn lift(&mut self, picture: &mut [u8], size: Size) -> Range<u32> {
        let Covered { left, width, rows, pixels } = &mut self.covered;
        let rows = std::mem::replace(rows, 0..0);
        let saved = pixels.chunks_exact((*width * Bgra::PIXEL).max(1));
        for (y, saved) in rows.clone().zip(saved) {
            picture[span(size, y, *left, *width)].copy_from_slice(saved);
        }
        rows
    }
}

/// Where `width` pixels of row `y` are in a picture of `size`.
fn span(size: Size, y: u32, left: usize, width: usize) -> Range<usize> {
    let start = (y as usize * size.width as usize + left) * Bgra::PIXEL;
    start..start + width * Bgra::PIXEL
}

/// Lays a colour (alpha already multiplied in) over a pixel.
fn blend(pixel: &mut [u8], colour: u32) {
    let [blue, green, red, alpha] = colour.to_le_bytes();
    for (under, over) in pixel.iter_mut().zip([blue, green, red]) {
        let seen = (u32::from(*under) * u32::from(255 - alpha) + 127) / 255;
        *under = over.saturating_add(seen as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Size;

    fn arrow() -> Pointer {
        let mut pointer = Pointer::default();
        pointer.set(GetCursorImageReply {
            sequence: 0,
            length: 0,
            x: 10,
            y: 10,
            width: 2,
            height: 2,
            xhot: 1,
            yhot: 1,
            cursor_serial: 1,
            cursor_image: vec![0xff01_0203, 0, 0x8000_0000, 0xffff_ffff],
        });
        pointer
    }

    #[test]
    fn the_pointer_is_blended_around_its_hot_spot() {
        let size = Size::new(16, 16);
        let mut picture = vec![100; size.pixels() * Bgra::PIXEL];
        let mut pointer = arrow();
        assert_eq!(pointer.draw(&mut picture, size), 9..11);
        let pixel = |x: usize, y: usize| &picture[(y * 16 + x) * 4..][..3];
        assert_eq!(pixel(9, 9), [3, 2, 1]);
        assert_eq!(pixel(10, 9), [100; 3]);
        assert_eq!(pixel(9, 10), [50; 3]);
        assert_eq!(pixel(10, 10), [255; 3]);
        assert_eq!(pointer.lift(&mut picture, size), 9..11);
        assert!(picture.iter().all(|&value| value == 100), "what was covered is back");
        assert_eq!(pointer.lift(&mut picture, size), 0..0);
    }

    #[test]
    fn a_pointer_on_the_edge_or_without_a_shape_is_no_trouble() {
        let size = Size::new(4, 4);
        let mut picture = vec![100; size.pixels() * Bgra::PIXEL];
        let mut pointer = arrow();
        for place in [(0, 0), (4, 4), (-9, 2), (i32::from(i16::MAX), 0), (3, -9)] {
            pointer.move_to(place);
            pointer.draw(&mut picture, size);
            assert!(place != (0, 0) || picture[..3] == [255; 3]);
            pointer.lift(&mut picture, size);
            assert!(picture.iter().all(|&value| value == 100), "{place:?}");
        }
        pointer.move_to((i32::from(i16::MAX), 0));
        Pointer::default().draw(&mut picture, size);
        assert!(!pointer.move_to((i32::from(i16::MAX), 0)));
    }
}
