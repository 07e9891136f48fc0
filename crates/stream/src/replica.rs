//! A map that is written elsewhere, as it is there.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{DataError, lenient};

/// A change of a map.
///
/// ```
/// use lllsi_stream::MapChange;
///
/// let change = MapChange::Insert("Ada", 7);
/// let bytes = change.to_bytes().unwrap();
/// assert_eq!(MapChange::<String, u32>::read_all(&bytes).unwrap(), [(MapChange::Insert("Ada".into(), 7), bytes.len())]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapChange<K, V> {
    /// A key has this value now.
    Insert(K, V),
    /// A key is not there any more.
    Remove(K),
    /// Nothing is there any more.
    Clear,
}

impl<K: Serialize, V: Serialize> Serialize for MapChange<K, V> {
    /// As an array: key and value, key alone, or nothing.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Insert(key, value) => (key, value).serialize(serializer),
            Self::Remove(key) => (key,).serialize(serializer),
            Self::Clear => <[u8; 0]>::serialize(&[], serializer),
        }
    }
}

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for MapChange<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts<K, V>(PhantomData<(K, V)>);
        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Parts<K, V> {
            type Value = MapChange<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of a key and a value, of a key, or of nothing")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let Some(key) = seq.next_element()? else { return Ok(MapChange::Clear) };
                Ok(match seq.next_element()? {
                    Some(value) => MapChange::Insert(key, value),
                    None => MapChange::Remove(key),
                })
            }
        }
        deserializer.deserialize_seq(Parts(PhantomData))
    }
}

impl<K: Serialize, V: Serialize> MapChange<K, V> {
    /// Its bytes in CBOR.
    ///
    /// # Errors
    /// [`DataError::Encode`], if the key's or the value's own code for serde says so.
    pub fn to_bytes(&self) -> Result<Bytes, DataError> {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).map_err(|e| DataError::Encode(e.to_string()))?;
        Ok(bytes.into())
    }
}

impl<K: DeserializeOwned, V: DeserializeOwned> MapChange<K, V> {
    /// Reads changes that stand one after another, from bytes of a stranger: each, and how many bytes it has.
    ///
    /// # Errors
    /// [`DataError::Decode`] if they make no sense.
    pub fn read_all(bytes: &[u8]) -> Result<Vec<(Self, usize)>, DataError> {
        Self::read_some(bytes, usize::MAX)
    }

    /// The same for at most so many.
    ///
    /// # Errors
    /// [`DataError::Decode`] if they make no sense, or are more.
    pub fn read_some(mut bytes: &[u8], most: usize) -> Result<Vec<(Self, usize)>, DataError> {
        let (length, mut changes) = (bytes.len(), Vec::new());
        while !bytes.is_empty() {
            if changes.len() >= most {
                let detail = format!("more than {most} changes");
                return Err(DataError::Decode { bytes: length, detail });
            }
            let before = bytes.len();
            let change = lenient::read(&mut bytes);
            let change = change.map_err(|detail| DataError::Decode { bytes: length, detail })?;
            changes.push((change, before - bytes.len()));
        }
        Ok(changes)
    }
}

/// What an entry of a map costs besides its coded bytes, wherever maps have a bound.
pub const ENTRY_COST: usize = 128;

/// A copy of a map that is written elsewhere: made of a snapshot in parts, and of every change after it. It has a bound in
/// coded bytes, in which each entry counts as [`ENTRY_COST`] more.
///
/// ```
/// use lllsi_stream::{MapChange, MapReplica};
///
/// let mut copy = MapReplica::<String, u32>::new(1 << 20);
/// copy.reset();
/// copy.apply(MapChange::Insert("Ada".into(), 1), 6).unwrap();
/// copy.apply(MapChange::Insert("Bob".into(), 2), 6).unwrap();
/// copy.apply(MapChange::Remove("Bob".into()), 5).unwrap();
/// assert_eq!((copy.get("Ada"), copy.len(), copy.bytes()), (Some(&1), 1, 134));
/// ```
#[derive(Debug, Clone)]
pub struct MapReplica<K, V> {
    /// Each with what it counts as.
    entries: HashMap<K, (V, usize)>,
    bytes: usize,
    most: usize,
}

impl<K: Eq + Hash, V> MapReplica<K, V> {
    /// For at most so many bytes.
    pub fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), bytes: 0, most }
    }

    /// A snapshot follows: what was known before counts no more.
    pub fn reset(&mut self) {
        (self.entries, self.bytes) = (HashMap::new(), 0);
    }

    /// Makes a change that has so many bytes. The last value of a key wins.
    ///
    /// # Errors
    /// [`DataError::Full`] if the map would be larger than it may: the change is not made.
    pub fn apply(&mut self, change: MapChange<K, V>, bytes: usize) -> Result<(), DataError> {
        match change {
            MapChange::Insert(key, value) => {
                let counts = bytes + ENTRY_COST;
                let before = self.entries.get(&key).map_or(0, |(_, counts)| *counts);
                if self.bytes - before + counts > self.most {
                    return Err(DataError::Full(self.most));
                }
                self.bytes = self.bytes - before + counts;
                self.entries.insert(key, (value, counts));
            }
            MapChange::Remove(key) => {
                self.bytes -= self.entries.remove(&key).map_or(0, |(_, counts)| counts);
            }
            MapChange::Clear => self.reset(),
        }
        Ok(())
    }

    /// What all entries count as.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A key's value.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (value, _))| (key, value))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn change() -> impl Strategy<Value = MapChange<u8, String>> {
        prop_oneof![
            8 => (0u8..20, ".{0,5}").prop_map(|(key, value)| MapChange::Insert(key, value)),
            3 => (0u8..20).prop_map(MapChange::Remove),
            1 => Just(MapChange::Clear),
        ]
    }

    proptest! {
        /// However the changes are cut into frames, and wherever a snapshot takes the place of those before it.
        #[test]
        fn a_copy_is_what_the_map_is(
            changes in proptest::collection::vec(change(), 0..60),
            cuts in proptest::collection::vec(0usize..60, 0..6),
            snapshot_at in 0usize..60,
        ) {
            let mut model = HashMap::new();
            let mut copy = MapReplica::new(usize::MAX);
            let mut frame = Vec::new();
            fn apply(copy: &mut MapReplica<u8, String>, bytes: &[u8]) {
                for (change, bytes) in MapChange::read_all(bytes).unwrap() {
                    copy.apply(change, bytes).unwrap();
                }
            }
            for (at, change) in changes.into_iter().enumerate() {
                frame.extend(change.to_bytes().unwrap());
                match change {
                    MapChange::Insert(key, value) => drop(model.insert(key, value)),
                    MapChange::Remove(key) => drop(model.remove(&key)),
                    MapChange::Clear => model.clear(),
                }
                if at == snapshot_at {
                    frame.clear();
                    copy.reset();
                    copy.apply(MapChange::Insert(99, "old".into()), 6).unwrap();
                    copy.reset();
                    for (key, value) in &model {
                        frame.extend(MapChange::Insert(key, value).to_bytes().unwrap());
                    }
                }
                if cuts.contains(&at) {
                    apply(&mut copy, &std::mem::take(&mut frame));
                }
            }
            apply(&mut copy, &frame);
            let counts: usize = copy.entries.values().map(|(_, counts)| counts).sum();
            prop_assert_eq!(copy.bytes(), counts);
            prop_assert_eq!(copy.iter().map(|(k, v)| (*k, v.clone())).collect::<HashMap<_, _>>(), model);
        }

        /// Whatever is inserted, and over what.
        #[test]
        fn a_copy_is_never_larger_than_it_may_be(inserts in proptest::collection::vec((0u8..8, 0usize..300), 0..60)) {
            let mut copy = MapReplica::new(1000);
            for (key, bytes) in inserts {
                let before = copy.clone();
                if copy.apply(MapChange::Insert(key, bytes), bytes).is_err() {
                    prop_assert_eq!(&copy.entries, &before.entries);
                }
                prop_assert!(copy.bytes() <= 1000);
            }
        }

        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = MapChange::<u32, String>::read_all(&bytes);
            let _ = MapChange::<String, Vec<f64>>::read_all(&bytes);
        }
    }
}
