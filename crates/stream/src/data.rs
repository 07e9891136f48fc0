//! What a stream can carry.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::lenient;

/// How the bytes of a stream's items are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// CBOR (RFC 8949), with the names of members.
    Cbor,
    /// Whatever the two sides agree on.
    Bytes,
}

/// Why an item has no bytes, or bytes are no item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// The item cannot be written.
    #[error("an item cannot be written: {0}")]
    Encode(String),
    /// The bytes make no such item.
    #[error("{bytes} bytes are no such item: {detail}")]
    Decode {
        /// How many there are.
        bytes: usize,
        /// What is wrong with them.
        detail: String,
    },
    /// A map would be larger than it may be.
    #[error("a map of more than {0} bytes")]
    Full(usize),
}

/// Anything that a stream can carry: whatever serde can write and read, and [`Raw`] bytes without a copy. Where a float is wanted
/// an integer will do, since browsers know one kind of number.
///
/// ```
/// use lllsi_stream::{Raw, StreamData};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Reading {
///     celsius: f32,
/// }
///
/// let bytes = Reading { celsius: 21.5 }.to_bytes().unwrap();
/// assert_eq!(Reading::from_bytes(bytes), Ok(Reading { celsius: 21.5 }));
/// assert!(Reading::from_bytes(vec![0xff].into()).is_err());
///
/// let bytes = bytes::Bytes::from_static(b"as they are");
/// assert_eq!(Raw(bytes.clone()).to_bytes().unwrap().as_ptr(), bytes.as_ptr());
/// ```
pub trait StreamData: Sized + Send + 'static {
    /// How its bytes are to be read.
    const FORMAT: Format;

    /// Its bytes.
    ///
    /// # Errors
    /// [`DataError::Encode`], if its own code for serde says so.
    fn to_bytes(&self) -> Result<Bytes, DataError>;

    /// An item from bytes of a stranger.
    ///
    /// # Errors
    /// [`DataError::Decode`].
    fn from_bytes(bytes: Bytes) -> Result<Self, DataError>;
}

impl<T: Serialize + DeserializeOwned + Send + 'static> StreamData for T {
    const FORMAT: Format = Format::Cbor;

    fn to_bytes(&self) -> Result<Bytes, DataError> {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).map_err(|e| DataError::Encode(e.to_string()))?;
        Ok(bytes.into())
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, DataError> {
        lenient::read(&mut bytes.as_ref())
            .map_err(|detail| DataError::Decode { bytes: bytes.len(), detail })
    }
}

/// Bytes as they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Raw(pub Bytes);

impl StreamData for Raw {
    const FORMAT: Format = Format::Bytes;

    fn to_bytes(&self) -> Result<Bytes, DataError> {
        Ok(self.0.clone())
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, DataError> {
        Ok(Self(bytes))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = <(u32, String, Vec<f64>)>::from_bytes(bytes.clone().into());
            let _ = <std::collections::BTreeMap<String, i64>>::from_bytes(bytes.into());
        }

        #[test]
        fn items_survive(item: (i64, String, Option<bool>, Vec<u8>)) {
            let bytes = item.to_bytes().unwrap();
            prop_assert_eq!(<(i64, String, Option<bool>, Vec<u8>)>::from_bytes(bytes), Ok(item));
        }
    }
}
