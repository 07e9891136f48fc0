//! A moment in time as a picture: painted at one end, read at the other, whatever lies between.
//!
//! A code is 48 bits: 40 bits of microseconds and a CRC of 8. It is drawn as two rows of 24 blocks, black or white.
//! Blocks of 16×16 pixels are whole blocks to every video codec, and only their middle is read: the code survives
//! compression, scaled colour and blurred edges.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Edge of a block, in pixels.
pub const BLOCK: usize = 16;
/// Blocks in a row.
const COLUMNS: usize = 24;
/// The part of a block that is read, in each direction.
const MIDDLE: std::ops::Range<usize> = 4..12;
/// Times are told modulo 2^40 µs, which is 12.7 days.
const MOMENT: u64 = (1 << 40) - 1;

/// Width of a code in pixels.
pub const WIDTH: usize = COLUMNS * BLOCK;
/// Height of a code in pixels.
pub const HEIGHT: usize = 2 * BLOCK;

/// The present time by the clock that all processes of this machine share, modulo 2^40 µs.
#[must_use]
pub fn now_micros() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1000;
    micros & MOMENT
}

/// The time from one moment to a later one. A moment that is not later gives almost 2^40 µs.
#[must_use]
pub fn between(earlier: u64, later: u64) -> Duration {
    Duration::from_micros(later.wrapping_sub(earlier) & MOMENT)
}

/// The bits of a moment, in the order in which they are drawn.
#[must_use]
pub fn encode(micros: u64) -> [bool; 48] {
    let moment = micros & MOMENT;
    let word = moment << 8 | u64::from(crc(moment));
    std::array::from_fn(|i| word >> (47 - i) & 1 == 1)
}

/// The moment that these bits tell, if the CRC is right.
#[must_use]
pub fn decode(bits: [bool; 48]) -> Option<u64> {
    let word = bits.iter().fold(0_u64, |word, bit| word << 1 | u64::from(*bit));
    let moment = word >> 8;
    (u64::from(crc(moment)) == word & 0xff).then_some(moment)
}

/// The upper left corners of the white blocks of a moment, in pixels. All else of the code is black.
pub fn white_blocks(micros: u64) -> impl Iterator<Item = (usize, usize)> {
    let bits = encode(micros).into_iter().enumerate();
    bits.filter(|(_, white)| *white).map(|(i, _)| corner(i))
}

/// Draws a moment into rows of BGRA pixels, at the upper left.
///
/// # Panics
///
/// If there are fewer than [`HEIGHT`] rows or a row has fewer than [`WIDTH`] pixels.
pub fn draw(micros: u64, bgra: &mut [u8], stride: usize) {
    (0..HEIGHT).for_each(|y| bgra[y * stride..][..WIDTH * 4].fill(0));
    for (left, top) in white_blocks(micros) {
        let rows = top..top + BLOCK;
        rows.for_each(|y| bgra[y * stride + left * 4..][..BLOCK * 4].fill(255));
    }
}

/// The moment at the upper left of these rows of BGRA pixels, if a whole code is there.
#[must_use]
pub fn read(bgra: &[u8], stride: usize) -> Option<u64> {
    if stride < WIDTH * 4 || bgra.len() < (HEIGHT - 1) * stride + WIDTH * 4 {
        return None;
    }
    decode(std::array::from_fn(|i| {
        let (left, top) = corner(i);
        let rows = MIDDLE.map(|y| &bgra[(top + y) * stride..]);
        let pixels = rows.flat_map(|row| MIDDLE.map(move |x| &row[(left + x) * 4..][..3]));
        let sum: u32 = pixels.flatten().map(|channel| u32::from(*channel)).sum();
        sum >= 128 * 3 * (MIDDLE.len() * MIDDLE.len()) as u32
    }))
}

/// Where the block of a bit is.
fn corner(bit: usize) -> (usize, usize) {
    (bit % COLUMNS * BLOCK, bit / COLUMNS * BLOCK)
}

/// CRC-8 of the five bytes of a moment. It begins with ones, so that a black picture is no code.
fn crc(moment: u64) -> u8 {
    moment.to_be_bytes()[3..].iter().fold(0xff, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| crc << 1 ^ if crc & 0x80 != 0 { 7 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wider than a code, as rows of a screen are.
    const STRIDE: usize = (WIDTH + 10) * 4;

    fn picture(micros: u64) -> Vec<u8> {
        let mut bgra = vec![99; HEIGHT * STRIDE];
        draw(micros, &mut bgra, STRIDE);
        bgra
    }

    /// Every pixel through this function of its place and value.
    fn spoilt(micros: u64, spoil: impl Fn(usize, u8) -> u8) -> Option<u64> {
        let spoilt: Vec<u8> =
            picture(micros).into_iter().enumerate().map(|(i, v)| spoil(i, v)).collect();
        read(&spoilt, STRIDE)
    }

    #[test]
    fn a_moment_is_read_as_it_was_drawn() {
        for micros in [0, 1, 0x55_5555_5555, MOMENT, now_micros()] {
            assert_eq!(read(&picture(micros), STRIDE), Some(micros));
        }
        assert_eq!(read(&picture(MOMENT + 6), STRIDE), Some(5), "modulo 2^40");
    }

    #[test]
    fn a_flipped_block_is_refused() {
        for flipped in 0..48 {
            let mut bits = encode(123_456_789);
            bits[flipped] = !bits[flipped];
            assert_eq!(decode(bits), None, "block {flipped}");
        }
    }

    #[test]
    fn half_of_one_code_and_half_of_the_next_is_refused() {
        let (mut old, new) = (picture(0x12_3456_7890), picture(0x12_3457_0a3f));
        let middle = HEIGHT / 2 * STRIDE;
        old[middle..].copy_from_slice(&new[middle..]);
        assert_eq!(read(&old, STRIDE), None);
    }

    #[test]
    fn grey_and_noisy_blocks_are_read() {
        let micros = 987_654_321;
        let grey = spoilt(micros, |_, v| if v > 128 { 150 } else { 105 });
        assert_eq!(grey, Some(micros));
        // Steps of ±63 in a pattern that repeats neither by blocks nor by rows.
        let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) as u8 & 63;
        let noisy = |i, v: u8| if v > 128 { 140 + noise(i) } else { 115 - noise(i) };
        assert_eq!(spoilt(micros, noisy), Some(micros));
    }

    #[test]
    fn blurred_edges_are_not_read() {
        let micros = 31_415_926;
        let edge = |at: usize| !MIDDLE.contains(&(at % BLOCK));
        let blurred = |i, v| if edge(i % STRIDE / 4) || edge(i / STRIDE) { 128 } else { v };
        assert_eq!(spoilt(micros, blurred), Some(micros));
    }

    #[test]
    fn a_picture_of_one_colour_is_no_code() {
        for colour in [0, 127, 128, 255] {
            assert_eq!(read(&vec![colour; HEIGHT * STRIDE], STRIDE), None, "{colour}");
        }
    }

    #[test]
    fn what_is_too_small_is_no_code() {
        let bgra = picture(7);
        assert_eq!(read(&bgra[..(HEIGHT - 1) * STRIDE], STRIDE), None);
        assert_eq!(read(&bgra, WIDTH * 4 - 1), None);
        assert_eq!(read(&[], 0), None);
    }

    #[test]
    fn time_goes_on_over_the_end_of_the_count() {
        assert_eq!(between(MOMENT - 9, 10), Duration::from_micros(20));
        assert_eq!(between(5, 5), Duration::ZERO);
    }
}
