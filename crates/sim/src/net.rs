//! What happens to a datagram between a peer and the core of the network.

use std::time::Duration;

/// A small seeded generator (splitmix64): the simulator's only source of chance.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly in 0–1, without 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// An array of random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next_u64() as u8)
    }
}

/// A peer's access to the network, for each direction alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// One way, peer to core.
    pub delay: Duration,
    /// Up to this much is added at random, so that datagrams overtake each other.
    pub jitter: Duration,
    /// Share of datagrams lost, 0–1.
    pub loss: f64,
}

impl Default for Conditions {
    /// 5 ms to the core: peers are 20 ms apart, there and back.
    fn default() -> Self {
        Self { delay: Duration::from_millis(5), jitter: Duration::ZERO, loss: 0.0 }
    }
}

impl Conditions {
    /// How long a datagram takes, or `None` if it is lost.
    pub fn pass(&self, rng: &mut Rng) -> Option<Duration> {
        let (lost, jitter) = (rng.unit() < self.loss, rng.unit());
        (!lost).then(|| self.delay + self.jitter.mul_f64(jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_reproduces_what_happens() {
        let conditions =
            Conditions { jitter: Duration::from_millis(9), loss: 0.3, ..Conditions::default() };
        let run = |seed| {
            let mut rng = Rng::new(seed);
            (0..100).map(|_| conditions.pass(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let lost = run(3).iter().filter(|d| d.is_none()).count();
        assert!((10..50).contains(&lost), "{lost} of 100 lost at 30 %");
    }
}
