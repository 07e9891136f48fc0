//! Just the letters the test card needs, five by seven dots each.

use crate::picture::{Bgra, Size};

/// Dots across a letter, and from one letter to the next.
const WIDTH: u32 = 5;
const ADVANCE: u32 = WIDTH + 1;
/// Dots down a letter.
const HEIGHT: u32 = 7;

/// The rows of a letter, top first; the leftmost dot is bit 4. Unknown ones are blank.
const fn rows(letter: u8) -> [u8; HEIGHT as usize] {
    match letter {
        b'0' => [0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e],
        b'1' => [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
        b'2' => [0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f],
        b'3' => [0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e],
        b'4' => [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
        b'5' => [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
        b'6' => [0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e],
        b'7' => [0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
        b'8' => [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
        b'9' => [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c],
        b':' => [0x00, 0x04, 0x04, 0x00, 0x04, 0x04, 0x00],
        b'.' => [0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x0c],
        b'-' => [0x00, 0x00, 0x00, 0x1f, 0x00, 0x00, 0x00],
        b'A' => [0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        b'C' => [0x0e, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0e],
        b'D' => [0x1c, 0x12, 0x11, 0x11, 0x11, 0x12, 0x1c],
        b'E' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f],
        b'I' => [0x0e, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e],
        b'L' => [0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f],
        b'N' => [0x11, 0x19, 0x15, 0x13, 0x11, 0x11, 0x11],
        b'O' => [0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        b'R' => [0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11],
        b'S' => [0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e],
        b'T' => [0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04],
        b'U' => [0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        _ => [0; HEIGHT as usize],
    }
}

/// The size of a line of `letters` letters whose dots are `dot` pixels wide.
pub(super) const fn line(letters: u32, dot: u32) -> Size {
    Size::new((letters * ADVANCE - 1) * dot, HEIGHT * dot)
}

/// Writes a line of text with its top left corner at `x`, `y`; what lies outside is left out.
pub(super) fn write(picture: &mut Bgra, text: &str, (x, y): (u32, u32), dot: u32, colour: [u8; 4]) {
    for (place, letter) in (0..).zip(text.bytes()) {
        let left = x + place * ADVANCE * dot;
        for (row, dots) in (0..).zip(rows(letter)) {
            for column in (0..WIDTH).filter(|column| dots >> (WIDTH - 1 - column) & 1 == 1) {
                let at = (left + column * dot, y + row * dot);
                fill(picture, at, Size::new(dot, dot), colour);
            }
        }
    }
}

/// Fills a rectangle with its top left corner at `x`, `y`; what lies outside is left out.
pub(super) fn fill(picture: &mut Bgra, (x, y): (u32, u32), area: Size, colour: [u8; 4]) {
    let Size { width, height } = picture.size();
    let stride = picture.stride();
    let (left, right) = (x.min(width) as usize, (x + area.width).min(width) as usize);
    for row in y.min(height)..(y + area.height).min(height) {
        let row = row as usize * stride;
        let pixels = &mut picture.data_mut()[row + left * Bgra::PIXEL..row + right * Bgra::PIXEL];
        for pixel in pixels.chunks_exact_mut(Bgra::PIXEL) {
            pixel.copy_from_slice(&colour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_beyond_the_edge_is_left_out() {
        let mut picture = Bgra::new(Size::new(8, 8));
        write(&mut picture, "EE", (5, 5), 3, [1; 4]);
        fill(&mut picture, (100, 100), Size::new(5, 5), [2; 4]);
        assert!(picture.data().contains(&1) && !picture.data().contains(&2));
    }
}
