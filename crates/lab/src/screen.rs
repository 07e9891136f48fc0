//! What a screen shows, and how alike two screens are.

use crate::connect::{connect, pixels};

/// The luma of a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// BT.709 luma, full range, row by row.
    pub luma: Vec<u8>,
}

/// What a display shows now, without the pointer.
///
/// # Panics
///
/// If the display cannot be reached or has another depth than 24.
#[must_use]
pub fn grab(display: &str) -> Picture {
    let (connection, screen) = connect(display);
    let size = (screen.width_in_pixels, screen.height_in_pixels);
    let bgra = pixels(&connection, screen.root, (0, 0), size)
        .unwrap_or_else(|error| panic!("display {display} cannot be read: {error}"));
    let luma = bgra.chunks_exact(4).map(luma).collect();
    Picture { width: size.0.into(), height: size.1.into(), luma }
}

/// How alike two pictures are, in dB. Infinite if they are the same.
///
/// # Panics
///
/// If their sizes differ.
#[must_use]
pub fn psnr(one: &Picture, other: &Picture) -> f64 {
    let sizes = [one, other].map(|picture| (picture.width, picture.height));
    assert_eq!(sizes[0], sizes[1], "the sizes differ");
    let squares = one
        .luma
        .iter()
        .zip(&other.luma)
        .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2))
        .sum::<u64>();
    10.0 * (255.0 * 255.0 * one.luma.len() as f64 / squares as f64).log10()
}

fn luma(bgra: &[u8]) -> u8 {
    let [blue, green, red] = [bgra[0], bgra[1], bgra[2]].map(u32::from);
    // BT.709: 0.2126, 0.7152, 0.0722, in 65536ths.
    ((red * 13933 + green * 46871 + blue * 4732 + 32768) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(luma: &[u8]) -> Picture {
        Picture { width: luma.len(), height: 1, luma: luma.to_vec() }
    }

    #[test]
    fn luma_has_the_full_range() {
        assert_eq!(luma(&[0, 0, 0, 0]), 0);
        assert_eq!(luma(&[255, 255, 255, 0]), 255);
        assert_eq!(luma(&[255, 0, 0, 9]), 18, "blue");
        assert_eq!(luma(&[0, 255, 0, 9]), 182, "green");
        assert_eq!(luma(&[0, 0, 255, 9]), 54, "red");
    }

    #[test]
    fn psnr_tells_how_alike_pictures_are() {
        let one = picture(&[10, 20, 30, 40]);
        assert!(psnr(&one, &one).is_infinite());
        // A mean square of 4.
        let other = picture(&[12, 18, 32, 38]);
        assert!((psnr(&one, &other) - 42.11).abs() < 0.01);
        assert!(psnr(&picture(&[0]), &picture(&[255])).abs() < 1e-9);
    }
}
