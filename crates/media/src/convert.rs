//! Between the colours of screens and those of video (BT.709, limited range), and between sizes.

use crate::Error;
use crate::picture::{Bgra, BgraView, I420, Size};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use std::ops::Range;
use yuv::{
    BufferStoreMut, YuvConversionMode, YuvPlanarImage, YuvPlanarImageMut, YuvRange,
    YuvStandardMatrix,
};

mod bleed;

const RANGE: YuvRange = YuvRange::Limited;
const MATRIX: YuvStandardMatrix = YuvStandardMatrix::Bt709;

/// Turns the given rows of a screen picture into video colours: the others of `into` stay as they
/// are. Where `into` is of another size it takes the new one, and all rows are turned. An odd last
/// column or row is cut off.
///
/// # Errors
/// [`Error::UnusableSize`] when nothing is left of the picture after the cut.
pub fn to_i420(from: BgraView<'_>, rows: Range<u32>, into: &mut I420) -> Result<(), Error> {
    let size = not_empty(from.size().even())?;
    let rows = if into.size() == size { rows } else { 0..size.height };
    into.reset(size);
    // Two rows share their chroma.
    let (top, bottom) = (rows.start & !1, rows.end.next_multiple_of(2).min(size.height));
    if top >= bottom {
        return Ok(());
    }
    let (luma, chroma) = (size.width as usize, size.width as usize / 2);
    let (pairs, stride) = (top as usize / 2..bottom as usize / 2, from.stride());
    let [y, u, v] = into.planes_mut();
    let y = &mut y[2 * pairs.start * luma..2 * pairs.end * luma];
    let [u, v] = [u, v].map(|plane| &mut plane[pairs.start * chroma..pairs.end * chroma]);
    let rows = &from.data()[2 * pairs.start * stride..2 * pairs.end * stride];
    let mut planar = YuvPlanarImageMut {
        y_plane: BufferStoreMut::Borrowed(y),
        y_stride: luma as u32,
        u_plane: BufferStoreMut::Borrowed(u),
        u_stride: chroma as u32,
        v_plane: BufferStoreMut::Borrowed(v),
        v_stride: chroma as u32,
        width: size.width,
        height: bottom - top,
    };
    let mode = YuvConversionMode::Balanced;
    yuv::bgra_to_yuv420(&mut planar, rows, stride as u32, RANGE, MATRIX, mode)
        .map_err(|error| failed(size, error))
}

/// Makes up for what 4:2:0 does to the luma beside colours, in the given rows: coloured text gets
/// as sharp as it can. Takes longer than [`to_i420`], and has to follow it: a second time would
/// correct the correction.
pub fn sharpen(picture: &mut I420, rows: Range<u32>) {
    let size = picture.size();
    let (top, bottom) = (rows.start & !1, rows.end.next_multiple_of(2).min(size.height));
    let (luma, chroma) = (size.width as usize, size.width as usize / 2);
    let [y, u, v] = picture.planes_mut();
    for pair in top as usize / 2..bottom as usize / 2 {
        let luma_rows = &mut y[2 * pair * luma..2 * (pair + 1) * luma];
        let shared = pair * chroma..(pair + 1) * chroma;
        bleed::correct(luma_rows, &u[shared.clone()], &v[shared]);
    }
}

/// Turns a video picture into screen colours, for windows. The fourth byte becomes 255.
///
/// # Errors
/// [`Error::UnusableSize`] for an empty picture.
pub fn to_bgra(from: &I420, into: &mut Bgra) -> Result<(), Error> {
    into.reset(from.size());
    let stride = into.stride();
    to_bgra_rows(from, into.data_mut(), stride)
}

/// The same into a part of a larger picture: `into` begins with the part's first pixel, and its
/// rows are `stride` bytes apart.
///
/// # Errors
/// [`Error::UnusableSize`] for an empty picture, [`Error::Convert`] when `into` is too small.
pub fn to_bgra_rows(from: &I420, into: &mut [u8], stride: usize) -> Result<(), Error> {
    let size = not_empty(from.size())?;
    yuv::yuv420_to_bgra(&planar(from), into, stride as u32, RANGE, MATRIX)
        .map_err(|error| failed(size, error))
}

/// Turns a video picture into packed RGB, three bytes a pixel, for image files. `into` is
/// replaced.
///
/// # Errors
/// [`Error::UnusableSize`] for an empty picture.
pub fn to_rgb(from: &I420, into: &mut Vec<u8>) -> Result<(), Error> {
    let size = not_empty(from.size())?;
    into.resize(size.pixels() * 3, 0);
    yuv::yuv420_to_rgb(&planar(from), into, size.width * 3, RANGE, MATRIX)
        .map_err(|error| failed(size, error))
}

/// Scales video pictures. Keeps its picture memory from one to the next, but makes small tables anew
/// each time.
#[derive(Debug, Default)]
pub struct Scaler {
    resizer: Resizer,
}

impl Scaler {
    /// A scaler with no memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Scales `from` to `size`, cropped to even dimensions, without keeping proportions.
    ///
    /// # Errors
    /// [`Error::UnusableSize`] when either picture is empty.
    pub fn scale(&mut self, from: &I420, size: Size, into: &mut I420) -> Result<(), Error> {
        let source = not_empty(from.size())?;
        let target = not_empty(size.even())?;
        into.reset(target);
        // A triangle over all source pixels: soft text rather than ringing edges, and fast.
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        for (plane, (from, into)) in from.planes().into_iter().zip(into.planes_mut()).enumerate() {
            let halves = if plane == 0 { 1 } else { 2 };
            let (w, h) = (source.width / halves, source.height / halves);
            let from =
                ImageRef::new(w, h, from, PixelType::U8).map_err(|error| failed(source, error))?;
            let (w, h) = (target.width / halves, target.height / halves);
            let mut into = Image::from_slice_u8(w, h, into, PixelType::U8)
                .map_err(|error| failed(target, error))?;
            self.resizer
                .resize(&from, &mut into, &options)
                .map_err(|error| failed(source, error))?;
        }
        Ok(())
    }
}

fn planar(picture: &I420) -> YuvPlanarImage<'_, u8> {
    let [y_plane, u_plane, v_plane] = picture.planes();
    let [y_stride, u_stride, v_stride] = picture.strides().map(|stride| stride as u32);
    let Size { width, height } = picture.size();
    YuvPlanarImage { y_plane, y_stride, u_plane, u_stride, v_plane, v_stride, width, height }
}

fn not_empty(size: Size) -> Result<Size, Error> {
    if size.is_empty() {
        return Err(Error::UnusableSize { size, reason: "it must have two columns and two rows" });
    }
    Ok(size)
}

fn failed(size: Size, error: impl std::fmt::Display) -> Error {
    Error::Convert { size, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Soft colours, so that 4:2:0 itself loses next to nothing.
    fn gradient(size: Size) -> Bgra {
        let mut picture = Bgra::new(size);
        let stride = picture.stride();
        for (at, pixel) in picture.data_mut().chunks_exact_mut(Bgra::PIXEL).enumerate() {
            let (x, y) = (at % (stride / 4), at / (stride / 4));
            let shade = |n: usize, of: u32| (n * 255 / of as usize) as u8;
            pixel.copy_from_slice(&[shade(x, size.width), shade(y, size.height), 128, 0]);
        }
        picture
    }

    #[test]
    fn colours_survive_the_way_to_video_and_back() {
        let before = gradient(Size::new(64, 48));
        let (mut video, mut after, mut rgb) = (I420::default(), Bgra::default(), Vec::new());
        to_i420(before.view(), 0..48, &mut video).unwrap();
        to_bgra(&video, &mut after).unwrap();
        to_rgb(&video, &mut rgb).unwrap();
        assert_eq!(after.size(), before.size());
        let pixels = before.data().chunks_exact(4).zip(after.data().chunks_exact(4));
        for ((was, is), rgb) in pixels.zip(rgb.chunks_exact(3)) {
            let near = |a: u8, b: u8| a.abs_diff(b) <= 8;
            assert!((0..3).all(|i| near(was[i], is[i])), "{was:?} became {is:?}");
            assert_eq!([is[2], is[1], is[0], 255], [rgb[0], rgb[1], rgb[2], is[3]]);
        }
    }

    #[test]
    fn known_colours_have_their_bt709_values() {
        for (bgr, [y, u, v]) in [
            ([255, 255, 255], [235, 128, 128]),
            ([0, 0, 0], [16, 128, 128]),
            ([0, 0, 255], [63, 102, 240]),
            ([0, 255, 0], [173, 42, 26]),
        ] {
            let mut picture = Bgra::new(Size::new(16, 16));
            for pixel in picture.data_mut().chunks_exact_mut(4) {
                pixel[..3].copy_from_slice(&bgr);
            }
            let mut video = I420::default();
            to_i420(picture.view(), 0..16, &mut video).unwrap();
            let [py, pu, pv] = video.planes().map(|plane| plane[0]);
            let near = py.abs_diff(y).max(pu.abs_diff(u)).max(pv.abs_diff(v)) <= 1;
            assert!(near, "{bgr:?} became {:?}", [py, pu, pv]);
        }
    }

    #[test]
    fn odd_sizes_are_cropped_and_empty_ones_refused() {
        let mut video = I420::default();
        for (odd, even) in [((65, 49), (64, 48)), ((3, 3), (2, 2)), ((64, 49), (64, 48))] {
            let picture = gradient(Size::new(odd.0, odd.1));
            to_i420(picture.view(), 0..odd.1, &mut video).unwrap();
            assert_eq!(video.size(), Size::new(even.0, even.1));
        }
        for size in [Size::new(1, 9), Size::new(9, 1), Size::default()] {
            let refused = to_i420(Bgra::new(size).view(), 0..size.height, &mut video);
            assert!(matches!(refused, Err(Error::UnusableSize { .. })), "{size}: {refused:?}");
        }
    }

    #[test]
    fn rows_turned_one_after_another_make_the_same_picture() {
        let picture = gradient(Size::new(66, 51));
        let (mut whole, mut parts) = (I420::default(), I420::new(Size::new(66, 50)));
        to_i420(picture.view(), 0..1, &mut whole).unwrap();
        for rows in [9..10, 0..9, 10..10, 11..40, 39..51, 60..70] {
            to_i420(picture.view(), rows, &mut parts).unwrap();
        }
        assert!(whole == parts);
    }

    #[test]
    fn scaling_keeps_the_picture() {
        let (mut large, mut small) = (I420::default(), I420::default());
        to_i420(gradient(Size::new(320, 240)).view(), 0..240, &mut large).unwrap();
        to_i420(gradient(Size::new(160, 120)).view(), 0..120, &mut small).unwrap();
        let mut scaled = I420::default();
        Scaler::new().scale(&large, Size::new(161, 121), &mut scaled).unwrap();
        assert_eq!(scaled.size(), small.size());
        assert!(scaled.luma_psnr(&small) > 40.0, "{} dB", scaled.luma_psnr(&small));
    }
}
