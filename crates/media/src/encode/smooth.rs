//! A plane of a picture without its finest detail.

/// How far a weighted mean reaches to each side, in steps.
const REACH: usize = 2;

/// Makes each pixel the mean of 5 × 5 that are `step` apart, weighted by 1, 4, 6, 4, 1 in both directions. Beyond an edge its
/// pixels count again. `row` is memory for one row.
// Rows of one length by index: so the loops become vector instructions, and take a quarter of the time.
pub(super) fn smooth(
    width: usize,
    pixels: &[u8],
    step: usize,
    into: &mut [u8],
    row: &mut Vec<u16>,
) {
    if width == 0 {
        return;
    }
    let (last, reach) = ((pixels.len() / width).saturating_sub(1), REACH * step);
    row.resize(width + 2 * reach, 0);
    for (y, out) in into.chunks_exact_mut(width).enumerate() {
        let at = |y: usize| &pixels[y * width..(y + 1) * width];
        let (a, b) = (at(y.saturating_sub(reach)), at(y.saturating_sub(step)));
        let (c, d, e) = (at(y), at((y + step).min(last)), at((y + reach).min(last)));
        let sums = &mut row[reach..][..width];
        for x in 0..width {
            sums[x] = mean([a[x], b[x], c[x], d[x], e[x]].map(u16::from));
        }
        let (first, end) = (row[reach], row[reach + width - 1]);
        row[..reach].fill(first);
        row[reach + width..].fill(end);
        let part = |steps: usize| &row[steps * step..][..width];
        let (a, b, c, d, e) = (part(0), part(1), part(2), part(3), part(4));
        for x in 0..width {
            // At most 255 × 256, and a half.
            out[x] = ((mean([a[x], b[x], c[x], d[x], e[x]]) + 128) >> 8) as u8;
        }
    }
}

/// Sixteen times the weighted mean.
fn mean([a, b, c, d, e]: [u16; 5]) -> u16 {
    a + e + 4 * (b + d) + 6 * c
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smoothed(width: usize, pixels: &[u8], step: usize) -> Vec<u8> {
        let mut out = vec![0; pixels.len()];
        smooth(width, pixels, step, &mut out, &mut Vec::new());
        out
    }

    #[test]
    fn one_colour_stays_as_it_is_whatever_the_size() {
        for (width, height) in [(1, 1), (2, 2), (1, 5), (5, 1), (3, 2), (7, 9), (64, 33)] {
            for (colour, step) in [(0, 1), (201, 2), (255, 4)] {
                let plain = vec![colour; width * height];
                assert_eq!(smoothed(width, &plain, step), plain, "{width}x{height}");
            }
        }
    }

    #[test]
    fn lines_become_grey_and_ramps_stay() {
        let lines: Vec<u8> = (0..32 * 9).map(|at| if at % 2 == 0 { 0 } else { 200 }).collect();
        assert!(smoothed(32, &lines, 1).chunks(32).all(|row| row[2..30].iter().all(|p| *p == 100)));
        let ramp: Vec<u8> = (0..32 * 9).map(|at| (at % 32 * 8) as u8).collect();
        let pairs = smoothed(32, &ramp, 1).into_iter().zip(ramp);
        assert!(pairs.enumerate().all(|(at, (a, b))| !(2..30).contains(&(at % 32)) || a == b));
    }
}
