//! The window's icon, drawn: a sign for "play" on a coloured tile.

/// Pixels in a row and rows.
pub(super) const SIDE: u32 = 64;

/// Red, green, blue, opacity of each pixel.
pub(super) fn rgba() -> Vec<u8> {
    let pixel = |at: u32| {
        let (x, y) = (f64::from(at % SIDE) + 0.5, f64::from(at / SIDE) + 0.5);
        let tile = cover(rounded_square(x, y));
        let sign = cover(triangle(x, y));
        let shade = y / f64::from(SIDE);
        let tint = |top: f64, bottom: f64| {
            let tile = top + (bottom - top) * shade;
            (tile + (255.0 - tile) * sign).round() as u8
        };
        [tint(42.0, 24.0), tint(157.0, 92.0), tint(244.0, 196.0), (255.0 * tile) as u8]
    };
    (0..SIDE * SIDE).flat_map(pixel).collect()
}

/// How much of a pixel lies inside, given its distance from the edge (negative inside).
fn cover(distance: f64) -> f64 {
    (0.5 - distance).clamp(0.0, 1.0)
}

fn rounded_square(x: f64, y: f64) -> f64 {
    let (half, radius) = (29.0, 13.0);
    let from_core = |at: f64| ((at - f64::from(SIDE) / 2.0).abs() - (half - radius)).max(0.0);
    from_core(x).hypot(from_core(y)) - radius
}

/// With its corners at (24, 18), (24, 46) and (48, 32).
fn triangle(x: f64, y: f64) -> f64 {
    let (dx, dy) = (14.0, 24.0); // normal of both slopes, before scaling
    let slope = ((x - 48.0) * dx + (y - 32.0).abs() * dy) / f64::hypot(dx, dy);
    slope.max(24.0 - x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_clear_outside_white_in_the_middle_and_coloured_between() {
        let icon = rgba();
        let pixel = |x: u32, y: u32| &icon[((y * SIDE + x) * 4) as usize..][..4];
        assert_eq!(pixel(0, 0)[3], 0);
        assert_eq!(pixel(30, 32), [255; 4]);
        assert!(pixel(10, 32)[3] == 255 && pixel(10, 32)[0] < 60);
    }
}
