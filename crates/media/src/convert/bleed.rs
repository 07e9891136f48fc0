//! Makes up for what shared chroma does to luma.
//!
//! Four pixels share one chroma value (4:2:0). Beside coloured text, white paper gets some of the
//! ink's colour, which its luma alone does not show: but where a colour channel would go beyond
//! its range it is clipped, and the pixel comes out darker or lighter than it was. That is most of
//! what 4:2:0 does to coloured text. Such pixels get a luma that makes up for it, beyond the
//! nominal range if need be (16 to 235): decoders clip what is beyond, which is what is wanted.
//!
//! Without clipping, a pixel's luma is that of its code: so the codes tell all that is needed.
//! Written in blocks of 16-bit numbers, which compilers turn into vector instructions.

/// Pixels, and chroma values, that are worked on at once.
const BLOCK: usize = 16;
const SHARED: usize = BLOCK / 2;

/// How far red, green and blue of some pixels lie from their luma: BT.709, limited range.
struct Offsets([[i16; BLOCK]; 3]);

/// Corrects two rows of luma, one behind the other, that share a row of chroma.
pub(super) fn correct(luma: &mut [u8], u: &[u8], v: &[u8]) {
    let (upper, lower) = luma.split_at_mut(luma.len() / 2);
    let (upper, upper_rest) = upper.as_chunks_mut();
    let (lower, lower_rest) = lower.as_chunks_mut();
    let ((u, u_rest), (v, v_rest)) = (u.as_chunks(), v.as_chunks());
    for ((upper, lower), (u, v)) in upper.iter_mut().zip(lower).zip(u.iter().zip(v)) {
        correct_block([upper, lower], u, v);
    }
    if !u_rest.is_empty() {
        let mut rows = [padded(upper_rest), padded(lower_rest)];
        correct_block(rows.each_mut(), &padded(u_rest), &padded(v_rest));
        upper_rest.copy_from_slice(&rows[0][..upper_rest.len()]);
        lower_rest.copy_from_slice(&rows[1][..lower_rest.len()]);
    }
}

fn padded<const N: usize>(codes: &[u8]) -> [u8; N] {
    let mut block = [128; N];
    block[..codes.len()].copy_from_slice(codes);
    block
}

fn correct_block(rows: [&mut [u8; BLOCK]; 2], u: &[u8; SHARED], v: &[u8; SHARED]) {
    if is_grey(u) && is_grey(v) {
        return;
    }
    let offsets = Offsets::of(u, v);
    for row in rows {
        offsets.correct(row);
    }
}

/// Whether chroma stands for no colour, give or take one.
fn is_grey(codes: &[u8; SHARED]) -> bool {
    codes.iter().fold(true, |grey, code| grey & (code.wrapping_sub(127) < 3))
}

/// `a × b / 65536`.
fn scaled(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b)) >> 16) as i16
}

impl Offsets {
    fn of(u: &[u8; SHARED], v: &[u8; SHARED]) -> Self {
        let (mut red, mut green, mut blue) = ([0; SHARED], [0; SHARED], [0; SHARED]);
        for i in 0..SHARED {
            // Times 64, so that what is divided by 65536 keeps its precision.
            let (u, v) = ((i16::from(u[i]) - 128) * 64, (i16::from(v[i]) - 128) * 64);
            red[i] = scaled(v, 1836); // 1.7927
            green[i] = -scaled(u, 218) - scaled(v, 546); // 0.2132, 0.5329
            blue[i] = scaled(u, 2163); // 2.1124
        }
        Self([red, green, blue].map(|shared| std::array::from_fn(|i| shared[i / 2])))
    }

    fn correct(&self, codes: &mut [u8; BLOCK]) {
        let Self([red, green, blue]) = self;
        for i in 0..BLOCK {
            let code = i16::from(codes[i]);
            // Codes 16 to 235 as 0 to 255: 1.1644.
            let wanted = code - 16 + scaled((code - 16) * 64, 168);
            let clipped = |offset: i16| (wanted + offset).clamp(0, 255) - wanted - offset;
            let [red, green, blue] = [red[i], green[i], blue[i]].map(clipped);
            // What clipping took, as BT.709 weighs it, is given back: 0.2126, 0.7152, 0.0722.
            let missing =
                -(scaled(red * 64, 218) + scaled(green * 64, 732) + scaled(blue * 64, 74));
            // 219 / 255, and a bit more: some of what is added may be clipped again.
            codes[i] = (code + missing - (missing >> 4)).clamp(1, 254) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::convert::{sharpen, to_bgra, to_i420};
    use crate::picture::{Bgra, I420, Size};

    fn luma(bgr: &[u8]) -> f64 {
        0.2126 * f64::from(bgr[2]) + 0.7152 * f64::from(bgr[1]) + 0.0722 * f64::from(bgr[0])
    }

    /// Luma after the way to video and back, in dB of what it was.
    fn fidelity(picture: &Bgra) -> f64 {
        let (mut video, mut back) = (I420::default(), Bgra::default());
        to_i420(picture.view(), 0..picture.size().height, &mut video).unwrap();
        // In two goes: rows are sharpened one by one.
        sharpen(&mut video, 0..20);
        sharpen(&mut video, 20..99);
        to_bgra(&video, &mut back).unwrap();
        let pairs = picture.data().chunks_exact(4).zip(back.data().chunks_exact(4));
        let squares: f64 = pairs.map(|(was, is)| (luma(was) - luma(is)).powi(2)).sum();
        10.0 * (255.0 * 255.0 * picture.size().pixels() as f64 / squares).log10()
    }

    #[test]
    fn coloured_strokes_on_paper_keep_their_luma() {
        for (paper, ink) in [
            ([255, 255, 255], [176, 79, 31]),
            ([255, 255, 255], [48, 32, 160]),
            ([0, 0, 0], [255, 64, 64]),
            ([30, 30, 30], [60, 220, 250]),
        ] {
            let mut picture = Bgra::new(Size::new(62, 50));
            for (at, pixel) in picture.data_mut().chunks_exact_mut(4).enumerate() {
                // Strokes of one pixel, in every phase to the grid of chroma.
                let (x, y) = (at % 62, at / 62);
                let stroke = x % 7 == 3 || (y % 9 == 4 && x % 2 == 0);
                pixel[..3].copy_from_slice(if stroke { &ink } else { &paper });
            }
            let fidelity = fidelity(&picture);
            assert!(fidelity > 38.0, "{ink:?} on {paper:?}: {fidelity} dB");
        }
    }

    #[test]
    fn pictures_without_colour_stay_as_they_are() {
        let mut picture = Bgra::new(Size::new(64, 16));
        for (at, pixel) in picture.data_mut().chunks_exact_mut(4).enumerate() {
            pixel[..3].fill((at % 256) as u8);
        }
        let mut video = I420::default();
        to_i420(picture.view(), 0..16, &mut video).unwrap();
        let before = video.clone();
        sharpen(&mut video, 0..16);
        assert!(video == before);
    }
}
