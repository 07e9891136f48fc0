//! The mouse pointer, which is not part of the screen's picture and has to be drawn into it.

use crate::picture::Bgra;
use x11rb::protocol::xfixes::GetCursorImageReply;

/// The pointer's shape and place.
#[derive(Default)]
pub(super) struct Pointer {
    /// Rows of 0xAARRGGBB, colours already multiplied by alpha.
    image: Vec<u32>,
    width: usize,
    /// The pixel of the image that is at `place`.
    hot_spot: (i32, i32),
    place: (i32, i32),
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

    /// Draws the pointer, as far as it is inside the picture.
    pub(super) fn draw(&self, picture: &mut Bgra) {
        let size = picture.size();
        let stride = picture.stride();
        let (left, top) = (self.place.0 - self.hot_spot.0, self.place.1 - self.hot_spot.1);
        for (y, row) in (top..).zip(self.image.chunks_exact(self.width.max(1))) {
            for (x, &colour) in (left..).zip(row) {
                let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
                    continue;
                };
                if x < size.width && y < size.height {
                    let at = y as usize * stride + x as usize * Bgra::PIXEL;
                    blend(&mut picture.data_mut()[at..at + 3], colour);
                }
            }
        }
    }
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
        let mut picture = Bgra::new(Size::new(16, 16));
        picture.data_mut().fill(100);
        arrow().draw(&mut picture);
        let pixel = |x: usize, y: usize| &picture.data()[(y * 16 + x) * 4..][..3];
        assert_eq!(pixel(9, 9), [3, 2, 1]);
        assert_eq!(pixel(10, 9), [100; 3]);
        assert_eq!(pixel(9, 10), [50; 3]);
        assert_eq!(pixel(10, 10), [255; 3]);
    }

    #[test]
    fn a_pointer_on_the_edge_or_without_a_shape_is_no_trouble() {
        let mut picture = Bgra::new(Size::new(4, 4));
        let mut pointer = arrow();
        for place in [(0, 0), (4, 4), (-9, 2), (i32::from(i16::MAX), 0)] {
            pointer.move_to(place);
            pointer.draw(&mut picture);
        }
        Pointer::default().draw(&mut picture);
        assert_eq!(picture.data()[..3], [255; 3]);
        assert!(!pointer.move_to((i32::from(i16::MAX), 0)));
    }
}
