//! Pictures in memory: a [`Size`], packed [`Bgra`] as screens give it (lent as a [`BgraView`]),
//! planar [`I420`] as codecs take it. Both keep their allocation when they are reset, so that one
//! picture serves a stream.

use crate::Error;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Width and height in pixels. Reads and writes as `1280x720`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Size {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// A size of `width` × `height` pixels.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// This size without an odd last column or row: what 4:2:0 video can carry.
    pub const fn even(self) -> Self {
        Self::new(self.width & !1, self.height & !1)
    }

    /// The largest even size of these proportions within `bounds`; empty if either is.
    ///
    /// ```
    /// use lllsi_media::picture::Size;
    ///
    /// assert_eq!(Size::new(5120, 1440).fitted(Size::new(4096, 4096)), Size::new(4096, 1152));
    /// ```
    pub fn fitted(self, bounds: Self) -> Self {
        if self.is_empty() || bounds.is_empty() {
            return Self::default();
        }
        let [w, h, most_w, most_h] =
            [self.width, self.height, bounds.width, bounds.height].map(u64::from);
        let (w, h) = if most_w * h <= most_h * w {
            (most_w, most_w * h / w)
        } else {
            (most_h * w / h, most_h)
        };
        Self::new(w as u32, h as u32).even()
    }

    /// This size, even, or [`Self::fitted`] if it is larger than `bounds`.
    pub fn at_most(self, bounds: Self) -> Self {
        let fits = self.width <= bounds.width && self.height <= bounds.height;
        if fits { self.even() } else { self.fitted(bounds) }
    }

    /// Pixels in the whole picture.
    pub const fn pixels(self) -> usize {
        self.width as usize * self.height as usize
    }

    /// Whether there is no pixel at all.
    pub const fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }
}

/// The smallest range of rows that holds both; an empty one holds nothing.
///
/// ```
/// assert_eq!(lllsi_media::picture::hull(3..5, 8..9), 3..9);
/// assert_eq!(lllsi_media::picture::hull(0..0, 8..9), 8..9);
/// ```
pub fn hull(one: Range<u32>, other: Range<u32>) -> Range<u32> {
    match (one.is_empty(), other.is_empty()) {
        (true, _) => other,
        (_, true) => one,
        _ => one.start.min(other.start)..one.end.max(other.end),
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Size {
    type Err = Error;

    /// Reads `1280x720`: two positive decimal numbers of at most 16384 around one `x`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let side = |digits: &str| {
            let plain = digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|n| plain && (1..=16384).contains(n))
        };
        text.split_once('x')
            .and_then(|(width, height)| Some(Self::new(side(width)?, side(height)?)))
            .ok_or_else(|| Error::NotASize { text: text.to_owned() })
    }
}

/// A packed picture, four bytes a pixel: blue, green, red, and one that means nothing (screens
/// leave any value there).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bgra {
    size: Size,
    data: Vec<u8>,
}

impl Bgra {
    /// Bytes a pixel.
    pub const PIXEL: usize = 4;

    /// A black picture of `size`.
    pub fn new(size: Size) -> Self {
        Self { size, data: vec![0; size.pixels() * Self::PIXEL] }
    }

    /// Makes this a picture of `size`, with whatever content, in the same allocation if it fits.
    pub fn reset(&mut self, size: Size) {
        self.size = size;
        self.data.resize(size.pixels() * Self::PIXEL, 0);
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Bytes from one row to the next; rows follow each other without gaps.
    pub fn stride(&self) -> usize {
        self.size.width as usize * Self::PIXEL
    }

    /// All rows, top first.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// All rows, top first, to write to.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// The whole picture, to be read where it is.
    pub fn view(&self) -> BgraView<'_> {
        BgraView { size: self.size, data: &self.data }
    }
}

/// A packed picture in somebody else's memory, such as that which a screen is read into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BgraView<'a> {
    size: Size,
    data: &'a [u8],
}

impl<'a> BgraView<'a> {
    /// A picture of `size` in `data`: rows without gaps, top first. What is behind them is ignored.
    ///
    /// # Panics
    /// When `data` is too short.
    pub fn new(size: Size, data: &'a [u8]) -> Self {
        Self { size, data: &data[..size.pixels() * Bgra::PIXEL] }
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Bytes from one row to the next.
    pub fn stride(&self) -> usize {
        self.size.width as usize * Bgra::PIXEL
    }

    /// All rows, top first.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }
}

/// A planar 4:2:0 picture: full-size luma (Y), then quarter-size chroma (U, V), in one buffer
/// without gaps. Its dimensions are always even. Colours are BT.709, limited range; luma may go
/// beyond it where chroma takes it back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct I420 {
    size: Size,
    data: Vec<u8>,
}

impl I420 {
    /// A black picture of `size`, cropped to even dimensions.
    pub fn new(size: Size) -> Self {
        let mut picture = Self::default();
        picture.reset(size);
        let [y, u, v] = picture.planes_mut();
        y.fill(16);
        u.fill(128);
        v.fill(128);
        picture
    }

    /// Makes this a picture of `size` cropped to even dimensions, with whatever content, in the
    /// same allocation if it fits.
    pub fn reset(&mut self, size: Size) {
        self.size = size.even();
        self.data.resize(self.size.pixels() * 3 / 2, 0);
    }

    /// Width and height of the luma plane; both even.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Bytes from one row to the next in the planes Y, U and V.
    pub fn strides(&self) -> [usize; 3] {
        let luma = self.size.width as usize;
        [luma, luma / 2, luma / 2]
    }

    /// The planes Y, U and V.
    pub fn planes(&self) -> [&[u8]; 3] {
        let luma = self.size.pixels();
        let (y, uv) = self.data.split_at(luma);
        let (u, v) = uv.split_at(luma / 4);
        [y, u, v]
    }

    /// The planes Y, U and V, to write to.
    pub fn planes_mut(&mut self) -> [&mut [u8]; 3] {
        let luma = self.size.pixels();
        let (y, uv) = self.data.split_at_mut(luma);
        let (u, v) = uv.split_at_mut(luma / 4);
        [y, u, v]
    }

    /// How close the luma of `other` comes to this one's, in dB (peak signal-to-noise ratio):
    /// infinite when equal, above 40 hardly to be told apart, below 30 plainly worse.
    ///
    /// # Panics
    /// When the sizes differ: there is nothing to compare.
    pub fn luma_psnr(&self, other: &Self) -> f64 {
        assert_eq!(self.size, other.size, "pictures of different sizes cannot be compared");
        let pairs = self.planes()[0].iter().zip(other.planes()[0]);
        let squares: u64 = pairs.map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum();
        let mean = squares as f64 / self.size.pixels() as f64;
        10.0 * (255.0 * 255.0 / mean).log10()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_they_are_written() {
        let size: Size = "1280x720".parse().unwrap();
        assert_eq!(size, Size::new(1280, 720));
        assert_eq!(size.to_string(), "1280x720");
        assert_eq!("7x5".parse::<Size>().unwrap().even(), Size::new(6, 4));
    }

    #[test]
    fn what_is_no_size_is_refused_and_named() {
        for text in
            ["", "x", "1280", "1280x", "x720", "0x720", "-1x7", "+1x7", "1x2x3", "1 x 2", "99999x1"]
        {
            let error = text.parse::<Size>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn planes_share_one_buffer_of_even_size() {
        let mut picture = I420::new(Size::new(7, 5));
        assert_eq!(picture.size(), Size::new(6, 4));
        assert_eq!(picture.strides(), [6, 3, 3]);
        assert_eq!(picture.planes().map(<[u8]>::len), [24, 6, 6]);
        picture.planes_mut()[2].fill(9);
        assert_eq!(picture.planes()[1][5], 128);
    }

    #[test]
    fn a_reset_keeps_the_allocation() {
        let mut picture = I420::new(Size::new(640, 480));
        let before = picture.data.as_ptr();
        picture.reset(Size::new(320, 240));
        picture.reset(Size::new(640, 480));
        assert_eq!(picture.data.as_ptr(), before);
    }

    #[test]
    fn psnr_is_infinite_for_equal_and_low_for_different_pictures() {
        let black = I420::new(Size::new(16, 16));
        let mut grey = black.clone();
        assert!(black.luma_psnr(&grey).is_infinite());
        grey.planes_mut()[0].fill(16 + 16);
        assert!((black.luma_psnr(&grey) - 24.05).abs() < 0.01);
    }
}
