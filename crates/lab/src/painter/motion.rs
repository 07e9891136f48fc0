//! Pictures that move all over, pixel by pixel.

/// Sides of the texture that moves, a power of two.
const SIDE: usize = 256;

/// What makes the pictures.
#[derive(Debug, Clone)]
pub(super) struct Motion {
    texture: Vec<u8>,
    state: u64,
    step: usize,
}

impl Motion {
    pub(super) fn new() -> Self {
        let mut motion = Self { texture: Vec::new(), state: 0x9e37_79b9_7f4a_7c15, step: 0 };
        let grains: Vec<u8> = (0..SIDE * SIDE).map(|_| motion.random() as u8).collect();
        // Smooth over some pixels, as what a lens shows is.
        let at = |x: usize, y: usize| u32::from(grains[(y % SIDE) * SIDE + x % SIDE]);
        let mean = |i: usize| {
            let (x, y) = (i % SIDE, i / SIDE);
            let near = (0..4).flat_map(|dy| (0..4).map(move |dx| (dx, dy)));
            (near.map(|(dx, dy)| at(x + dx, y + dy)).sum::<u32>() / 16) as u8
        };
        motion.texture = (0..SIDE * SIDE).map(mean).collect();
        motion
    }

    /// Xorshift, as Marsaglia describes it.
    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// The next picture of a film: a textured scene over which the camera pans, under light that changes.
    pub(super) fn film(&mut self, (width, height): (usize, usize), bgrx: &mut Vec<u8>) {
        self.step += 1;
        let t = self.step;
        bgrx.clear();
        for y in 0..height {
            for x in 0..width {
                let far = self.texture[((y + t) % SIDE) * SIDE + (x + 3 * t) % SIDE];
                let near = self.texture[((y / 3 + 2 * t) % SIDE) * SIDE + (x / 3 + t) % SIDE];
                let light = ((x + 4 * t) / 8 + y / 8) as u8 / 2;
                let (far, near) = (far / 2, near / 2);
                bgrx.extend([far.wrapping_add(light), far + near, near.wrapping_add(light), 0]);
            }
        }
    }

    /// Noise, of which nothing can be foretold.
    pub(super) fn noise(&mut self, (width, height): (usize, usize), bgrx: &mut Vec<u8>) {
        bgrx.clear();
        for _ in 0..(width * height).div_ceil(2) {
            bgrx.extend(self.random().to_le_bytes());
        }
        bgrx.truncate(width * height * 4);
    }
}
