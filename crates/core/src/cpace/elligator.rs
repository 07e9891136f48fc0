//! From bytes to a point of Curve25519: `map_to_curve_elligator2` of RFC 9380, sections 6.7.1 and 4.1, of which only the
//! u-coordinate is wanted. Field arithmetic is fiat-crypto's, which is proved correct and takes the same time for all
//! inputs; so do the powers here, since their exponents are constants.

use fiat_crypto::curve25519_64 as fiat;

/// The curve's coefficient: v² = u³ + J u² + u.
const J: [u8; 32] = little(486_662);
/// p - 2 and (p - 1) / 2, where p = 2²⁵⁵ - 19; little-endian.
const INVERSE: [u8; 32] = exponent(0xeb, 0x7f);
const LEGENDRE: [u8; 32] = exponent(0xf6, 0x3f);

const fn little(value: u32) -> [u8; 32] {
    let [a, b, c, d] = value.to_le_bytes();
    let mut bytes = [0; 32];
    (bytes[0], bytes[1], bytes[2], bytes[3]) = (a, b, c, d);
    bytes
}

const fn exponent(first: u8, last: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    (bytes[0], bytes[31]) = (first, last);
    bytes
}

/// A number modulo p.
#[derive(Clone, Copy)]
struct Element(fiat::fiat_25519_tight_field_element);

impl Element {
    const ZERO: Self = Self(fiat::fiat_25519_tight_field_element([0; 5]));
    const ONE: Self = Self(fiat::fiat_25519_tight_field_element([1, 0, 0, 0, 0]));

    /// From little-endian bytes; bit 255 is not looked at (`decodeUCoordinate` of RFC 7748).
    fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut masked = *bytes;
        masked[31] &= 0x7f;
        let mut out = Self::ZERO;
        fiat::fiat_25519_from_bytes(&mut out.0, &masked);
        out
    }

    fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        fiat::fiat_25519_to_bytes(&mut bytes, &self.0);
        bytes
    }

    fn loose(self) -> fiat::fiat_25519_loose_field_element {
        let mut out = fiat::fiat_25519_loose_field_element([0; 5]);
        fiat::fiat_25519_relax(&mut out, &self.0);
        out
    }

    fn carried(loose: &fiat::fiat_25519_loose_field_element) -> Self {
        let mut out = Self::ZERO;
        fiat::fiat_25519_carry(&mut out.0, loose);
        out
    }

    fn plus(self, other: Self) -> Self {
        let mut sum = fiat::fiat_25519_loose_field_element([0; 5]);
        fiat::fiat_25519_add(&mut sum, &self.0, &other.0);
        Self::carried(&sum)
    }

    fn negative(self) -> Self {
        let mut out = fiat::fiat_25519_loose_field_element([0; 5]);
        fiat::fiat_25519_opp(&mut out, &self.0);
        Self::carried(&out)
    }

    fn times(self, other: Self) -> Self {
        let mut out = Self::ZERO;
        fiat::fiat_25519_carry_mul(&mut out.0, &self.loose(), &other.loose());
        out
    }

    fn power(self, exponent: &[u8; 32]) -> Self {
        let bits = exponent.iter().rev().flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1));
        bits.fold(Self::ONE, |power, bit| {
            let square = power.times(power);
            if bit == 1 { square.times(self) } else { square }
        })
    }

    /// `other` where `choice` is 1, this one where it is 0.
    fn or(self, other: Self, choice: u8) -> Self {
        let mut out = [0; 5];
        fiat::fiat_25519_selectznz(&mut out, choice, &self.0.0, &other.0.0);
        Self(fiat::fiat_25519_tight_field_element(out))
    }
}

/// The u-coordinate of the point that belongs to these bytes, little-endian.
pub(super) fn map(bytes: &[u8; 32]) -> [u8; 32] {
    let (u, j) = (Element::from_bytes(bytes), Element::from_bytes(&J));
    // x1 = -J / (1 + 2 u²). The denominator is never 0: -1/2 is not a square.
    let square = u.times(u);
    let denominator = Element::ONE.plus(square).plus(square);
    let x1 = j.negative().times(denominator.power(&INVERSE));
    // x1³ + J x1² + x1 = x1 (x1 (x1 + J) + 1)
    let gx1 = x1.times(x1.times(x1.plus(j)).plus(Element::ONE));
    // Euler: 1 or 0 for a square, p - 1 otherwise; of these only p - 1 has bits in its last byte.
    let legendre = gx1.power(&LEGENDRE).to_bytes();
    let is_other = u8::from(legendre[31] == 0x7f);
    x1.or(x1.plus(j).negative(), is_other).to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_compute() {
        let three = Element::from_bytes(&little(3));
        let inverse = three.power(&INVERSE);
        assert_eq!(three.times(inverse).to_bytes(), little(1));
        assert_eq!(three.plus(three.negative()).to_bytes(), [0; 32]);
        // 2 is not a square modulo p, 4 is.
        assert_eq!(Element::from_bytes(&little(4)).power(&LEGENDRE).to_bytes(), little(1));
        assert_eq!(
            Element::from_bytes(&little(2)).power(&LEGENDRE).to_bytes(),
            exponent(0xec, 0x7f)
        );
    }

    proptest! {
        /// Whatever is hashed, its point is on the curve itself and not on its twist.
        #[test]
        fn every_result_is_on_the_curve(bytes: [u8; 32]) {
            let (x, j) = (Element::from_bytes(&map(&bytes)), Element::from_bytes(&J));
            let right = x.times(x.times(x.plus(j)).plus(Element::ONE));
            prop_assert!(right.power(&LEGENDRE).to_bytes()[31] == 0);
        }
    }
}
