//! A scene as pixels: the same for a window and for memory.

use super::Scene;
use super::text::{self, Area, Height};
use crate::Error;
use crate::convert::{self, Scaler};
use crate::picture::{Bgra, I420, Size};

/// Behind everything while there is no picture.
const PLAIN: u32 = 0x0016_191f;
const BLACK: u32 = 0;
/// From the window's edge to a panel, and from a panel's edge to its text.
const MARGIN: u32 = 12;
const PADDING: u32 = 10;

/// Composes scenes; keeps its working memory from one to the next.
#[derive(Default)]
pub(super) struct Composer {
    scaler: Scaler,
    scaled: I420,
}

impl Composer {
    /// Writes a scene into all `pixels` of a display of `size`: 0x00RRGGBB, rows without gaps.
    pub(super) fn compose(
        &mut self,
        scene: &Scene<'_>,
        size: Size,
        pixels: &mut [u32],
    ) -> Result<(), Error> {
        match scene.picture {
            Some(picture) => self.picture(picture, size, pixels)?,
            None => pixels.fill(PLAIN),
        }
        let height = if size.height < 900 { Height::Small } else { Height::Medium };
        if !scene.panel.is_empty() {
            let text = text::extent(scene.panel, height);
            let area = Area { left: MARGIN, top: MARGIN, size: padded(text) };
            written(scene.panel, height, area, size, pixels);
        }
        if !scene.notice.is_empty() {
            let box_size = padded(text::extent(scene.notice, Height::Large));
            let left = size.width.saturating_sub(box_size.width) / 2;
            let top = (size.height * 4 / 5).saturating_sub(box_size.height / 2);
            let area = Area { left, top, size: box_size };
            written(scene.notice, Height::Large, area, size, pixels);
        }
        Ok(())
    }

    fn picture(&mut self, picture: &I420, size: Size, pixels: &mut [u32]) -> Result<(), Error> {
        let target = fit(picture.size(), size);
        if target.is_empty() {
            pixels.fill(BLACK);
            return Ok(());
        }
        let shown = if target == picture.size() {
            picture
        } else {
            self.scaler.scale(picture, target, &mut self.scaled)?;
            &self.scaled
        };
        let (width, row) = (target.width as usize, size.width as usize);
        let left = (row - width) / 2;
        let top = (size.height - target.height) as usize / 2;
        let (above, rest) = pixels.split_at_mut(top * row);
        let (middle, below) = rest.split_at_mut(target.height as usize * row);
        above.fill(BLACK);
        below.fill(BLACK);
        if width < row {
            for line in middle.chunks_exact_mut(row) {
                line[..left].fill(BLACK);
                line[left + width..].fill(BLACK);
            }
        }
        // On the little-endian machines there are, 0x00RRGGBB is blue, green, red, nothing.
        let bytes = &mut bytemuck::cast_slice_mut(middle)[left * Bgra::PIXEL..];
        convert::to_bgra_rows(shown, bytes, row * Bgra::PIXEL)
    }
}

/// The largest even size of the picture's proportions within a window; its own size if that is
/// within a pixel of it.
pub(super) fn fit(picture: Size, window: Size) -> Size {
    let own = picture.width <= window.width && picture.height <= window.height;
    if own && (window.width - picture.width < 2 || window.height - picture.height < 2) {
        return picture;
    }
    picture.fitted(window)
}

fn padded(text: Size) -> Size {
    Size::new(text.width + 2 * PADDING, text.height + 2 * PADDING)
}

/// Text on a darkened area.
fn written(text: &str, height: Height, area: Area, size: Size, pixels: &mut [u32]) {
    let row = size.width as usize;
    let right = (area.left + area.size.width).min(size.width) as usize;
    let left = (area.left as usize).min(right);
    let bottom = (area.top + area.size.height).min(size.height);
    for y in area.top.min(bottom)..bottom {
        for pixel in &mut pixels[y as usize * row + left..y as usize * row + right] {
            *pixel = *pixel >> 3 & 0x001f_1f1f;
        }
    }
    text::write(text, height, (area.left + PADDING, area.top + PADDING), size, pixels);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_proportions() {
        let fitted = |picture: (u32, u32), window: (u32, u32)| {
            fit(Size::new(picture.0, picture.1), Size::new(window.0, window.1))
        };
        assert_eq!(fitted((1280, 720), (1280, 720)), Size::new(1280, 720));
        assert_eq!(fitted((1280, 720), (1281, 800)), Size::new(1280, 720));
        assert_eq!(fitted((1280, 720), (1920, 1200)), Size::new(1920, 1080));
        assert_eq!(fitted((1280, 720), (640, 640)), Size::new(640, 360));
        assert_eq!(fitted((720, 1280), (1280, 720)), Size::new(404, 720));
        assert_eq!(fitted((1280, 720), (1, 1)), Size::new(0, 0));
        assert_eq!(fitted((0, 0), (640, 480)), Size::default());
    }

    fn composed(scene: &Scene<'_>, size: Size) -> Vec<u32> {
        let mut pixels = vec![0xdead_beef; size.pixels()];
        Composer::default().compose(scene, size, &mut pixels).unwrap();
        pixels
    }

    fn white(size: Size) -> I420 {
        let mut picture = I420::new(size);
        picture.planes_mut()[0].fill(235);
        picture
    }

    #[test]
    fn what_the_picture_does_not_cover_is_black() {
        let picture = white(Size::new(160, 90));
        for window in [Size::new(160, 121), Size::new(200, 90), Size::new(83, 83)] {
            let scene = Scene { picture: Some(&picture), ..Scene::default() };
            let pixels = composed(&scene, window);
            let shown = fit(picture.size(), window);
            let bright = pixels.iter().filter(|&&p| p & 0x00ff_ffff == 0x00ff_ffff).count();
            let black = pixels.iter().filter(|&&p| p == BLACK).count();
            assert_eq!((bright, black), (shown.pixels(), window.pixels() - shown.pixels()));
            let middle = (window.height / 2 * window.width + window.width / 2) as usize;
            assert_ne!(pixels[middle], BLACK, "{window}");
        }
    }

    #[test]
    fn text_is_written_over_the_picture_and_never_outside_of_it() {
        let picture = white(Size::new(640, 360));
        let scene = Scene { picture: Some(&picture), panel: "29.9 fps\n12 ms", notice: "Hello" };
        let pixels = composed(&scene, picture.size());
        let dark = pixels.iter().filter(|&&p| p & 0xff < 0x80).count();
        let bright = pixels.iter().filter(|&&p| p & 0xff > 0x80).count();
        assert!(dark > 1000 && bright > 100_000, "{dark} dark and {bright} bright pixels");
        for size in [Size::new(1, 1), Size::new(30, 20), Size::new(90, 10)] {
            composed(&scene, size);
            composed(&Scene { picture: None, ..scene }, size);
        }
    }
}
