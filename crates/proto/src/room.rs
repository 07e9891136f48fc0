//! A room's name, and the password that lets in whoever knows both: for people who cannot pass a link on.
//!
//! ```
//! use lllsi_proto::room::{Password, RoomName};
//!
//! let name: RoomName = " kitchen ".parse().unwrap();
//! assert_eq!(name.as_str(), "kitchen");
//! let password = Password::from_random([0xff; 5]);
//! assert!(!password.is_short());
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::Error;

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// The longest password, in bytes.
const MAX_PASSWORD_BYTES: usize = 256;
/// A password with fewer characters is short, however they were chosen.
const SHORT_PASSWORD: usize = 8;
/// 32 letters and digits of which no two look alike.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What people call a room at one server: 1 to 64 bytes of UTF-8 in NFC, without control characters and without white
/// space at its ends. Capital letters count.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RoomName(String);

impl RoomName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Brings what somebody typed into the one form that both sides use.
fn normal(what: &'static str, text: &str, max: usize) -> Result<String, Error> {
    // What is typed may be longer than its composed form: Hangul three times.
    if text.len() > 4 * max {
        return Err(Error::TooLong { what, got: text.len(), max });
    }
    let text: String = text.trim().nfc().collect();
    if text.is_empty() {
        return Err(Error::invalid(what, "nothing but white space"));
    }
    if text.len() > max {
        return Err(Error::TooLong { what, got: text.len(), max });
    }
    if text.contains(char::is_control) {
        return Err(Error::invalid(what, "control characters in it"));
    }
    Ok(text)
}

impl FromStr for RoomName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        normal("room name", text, MAX_NAME_BYTES).map(Self)
    }
}

impl<'de> Deserialize<'de> for RoomName {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let name: Self = text.parse().map_err(serde::de::Error::custom)?;
        if is_nfc(&text) && name.0 == text {
            Ok(name)
        } else {
            Err(serde::de::Error::custom("the room name is not in its normal form"))
        }
    }
}

/// What whoever knows it is let in with: 1 to 256 bytes of UTF-8 in NFC, without white space at its ends. It is never
/// sent, nor anything to try passwords with.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Eight letters and digits: 40 random bits.
    pub fn from_random(random: [u8; 5]) -> Self {
        let bits = random.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        let letter = |i: u64| char::from(ALPHABET[(bits >> (5 * i) & 31) as usize]);
        let half = |from| (from..from + 4).map(letter).collect::<String>();
        Self(format!("{}-{}", half(0), half(4)))
    }

    /// The password.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is so short that somebody may guess it, slow as guessing is.
    pub fn is_short(&self) -> bool {
        self.0.chars().count() < SHORT_PASSWORD
    }
}

impl FromStr for Password {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        normal("password", text, MAX_PASSWORD_BYTES).map(Self)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_the_same_however_they_were_typed() {
        let composed: RoomName = "Caf\u{e9}".parse().unwrap();
        assert_eq!(" Cafe\u{301}\n".parse(), Ok(composed.clone()));
        assert_ne!("caf\u{e9}".parse(), Ok(composed));
    }

    #[test]
    fn names_that_nobody_could_type_are_refused() {
        for (name, needle) in [
            ("", "white space"),
            (" \t", "white space"),
            ("a\u{0}b", "control"),
            (&"x".repeat(65), "at most 64"),
            (&"x".repeat(5000), "at most 64"),
        ] {
            let error = name.parse::<RoomName>().unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
        }
        assert!("x".repeat(64).parse::<RoomName>().is_ok());
        let password = |length| "x".repeat(length).parse::<Password>();
        assert!(password(MAX_PASSWORD_BYTES).is_ok() && password(MAX_PASSWORD_BYTES + 1).is_err());
    }

    #[test]
    fn only_the_normal_form_is_taken_from_the_wire() {
        assert!(serde_json::from_str::<RoomName>("\"Caf\u{e9}\"").is_ok());
        for other in ["\"Cafe\u{301}\"", "\" x\"", "\"\""] {
            assert!(serde_json::from_str::<RoomName>(other).is_err(), "{other}");
        }
    }

    #[test]
    fn passwords_are_made_of_all_their_bits_and_do_not_show() {
        assert_eq!(Password::from_random([0; 5]).as_str(), "0000-0000");
        assert_eq!(Password::from_random([0xff; 5]).as_str(), "zzzz-zzzz");
        assert_eq!(Password::from_random([0x80, 0, 0, 0, 1]).as_str(), "1000-000g");
        assert!("hunter2".parse::<Password>().unwrap().is_short());
        assert_eq!(format!("{:?}", Password::from_random([1; 5])), "Password(..)");
    }

    proptest! {
        #[test]
        fn what_is_normal_stays_so(text in ".{0,100}") {
            if let Ok(name) = text.parse::<RoomName>() {
                prop_assert_eq!(name.as_str().parse::<RoomName>(), Ok(name.clone()));
                let json = serde_json::to_string(&name).unwrap();
                prop_assert_eq!(serde_json::from_str::<RoomName>(&json).unwrap(), name);
            }
        }
    }
}
