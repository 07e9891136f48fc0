//! What a stream keeps its items in: bounded, with a stated rule for what is over the bound.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

/// What happens when an item comes and there is no place for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// It is handed back; whoever can wait does, until there is a place.
    Block,
    /// The oldest item makes room.
    DropOldest,
    /// It is dropped itself.
    DropNewest,
    /// All others make room: only the newest counts.
    KeepNewest,
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Pushed<T> {
    /// It is in. So many others made room for it.
    Kept {
        /// Items that were dropped.
        dropped: usize,
    },
    /// There was no place: it was dropped.
    Dropped,
    /// There is no place at present: here it is again.
    Full(T),
}

/// Where a stream keeps its items. Bring your own where neither [`StreamVectorContainer`] nor [`StreamMapContainer`] fits:
/// what takes one takes all.
///
/// ```
/// use lllsi_stream::{Pushed, StreamContainer};
///
/// /// Keeps nothing but the largest.
/// #[derive(Default)]
/// struct Largest(Option<u32>);
///
/// impl StreamContainer for Largest {
///     type Item = u32;
///     fn push(&mut self, item: u32) -> Pushed<u32> {
///         let dropped = usize::from(self.0.is_some());
///         self.0 = self.0.max(Some(item));
///         Pushed::Kept { dropped }
///     }
///     fn pop(&mut self) -> Option<u32> {
///         self.0.take()
///     }
///     fn len(&self) -> usize {
///         usize::from(self.0.is_some())
///     }
///     fn clear(&mut self) {
///         self.0 = None;
///     }
/// }
///
/// let (sender, receiver) = lllsi_stream::handoff(Largest::default());
/// for number in [3, 7, 5] {
///     sender.send(number).unwrap();
/// }
/// assert_eq!(receiver.try_recv(), Some(7));
/// ```
pub trait StreamContainer {
    /// What it holds.
    type Item;

    /// Puts an item in, as the container's rule says.
    fn push(&mut self, item: Self::Item) -> Pushed<Self::Item>;

    /// Takes the next item out.
    fn pop(&mut self) -> Option<Self::Item>;

    /// How many items are in it.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops all items.
    fn clear(&mut self);
}

/// Items in their order, with two ends.
///
/// ```
/// use lllsi_stream::{Overflow, Pushed, StreamVectorContainer};
///
/// let mut frames = StreamVectorContainer::new(2, Overflow::DropOldest);
/// assert_eq!(frames.push_back(1), Pushed::Kept { dropped: 0 });
/// assert_eq!(frames.push_back(2), Pushed::Kept { dropped: 0 });
/// assert_eq!(frames.push_back(3), Pushed::Kept { dropped: 1 });
/// assert_eq!((frames.pop_front(), frames.pop_back()), (Some(2), Some(3)));
/// ```
#[derive(Debug, Clone)]
pub struct StreamVectorContainer<T> {
    items: VecDeque<T>,
    capacity: usize,
    overflow: Overflow,
}

impl<T> StreamVectorContainer<T> {
    /// An empty one for at most `capacity` items, at least one.
    pub fn new(capacity: usize, overflow: Overflow) -> Self {
        Self { items: VecDeque::new(), capacity: capacity.max(1), overflow }
    }

    /// Puts an item behind all others. The oldest is the one in front.
    pub fn push_back(&mut self, item: T) -> Pushed<T> {
        self.insert(item, VecDeque::push_back, VecDeque::pop_front)
    }

    /// Puts an item in front of all others. The oldest is the one behind.
    pub fn push_front(&mut self, item: T) -> Pushed<T> {
        self.insert(item, VecDeque::push_front, VecDeque::pop_back)
    }

    fn insert(
        &mut self,
        item: T,
        push: fn(&mut VecDeque<T>, T),
        pop_oldest: fn(&mut VecDeque<T>) -> Option<T>,
    ) -> Pushed<T> {
        let before = self.items.len();
        if before >= self.capacity {
            match self.overflow {
                Overflow::Block => return Pushed::Full(item),
                Overflow::DropNewest => return Pushed::Dropped,
                Overflow::DropOldest => drop(pop_oldest(&mut self.items)),
                Overflow::KeepNewest => self.items.clear(),
            }
        }
        let dropped = before - self.items.len();
        push(&mut self.items, item);
        Pushed::Kept { dropped }
    }

    /// Takes the item in front.
    pub fn pop_front(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// Takes the item behind all others.
    pub fn pop_back(&mut self) -> Option<T> {
        self.items.pop_back()
    }

    /// All items, from front to back.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.items.iter()
    }
}

impl<T> StreamContainer for StreamVectorContainer<T> {
    type Item = T;

    fn push(&mut self, item: T) -> Pushed<T> {
        self.push_back(item)
    }

    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    fn clear(&mut self) {
        self.items.clear();
    }
}

/// One value for each key: the last one wins.
///
/// ```
/// use lllsi_stream::{Overflow, Pushed, StreamContainer, StreamMapContainer};
///
/// let mut cursors = StreamMapContainer::new(2, Overflow::DropOldest);
/// let _ = cursors.insert("Ada", (1, 1));
/// let _ = cursors.insert("Bob", (2, 2));
/// // Ada's is newer than Bob's from now on.
/// assert_eq!(cursors.insert("Ada", (3, 3)), Pushed::Kept { dropped: 0 });
/// assert_eq!(cursors.insert("Eve", (4, 4)), Pushed::Kept { dropped: 1 });
/// assert_eq!((cursors.get("Ada"), cursors.get("Bob")), (Some(&(3, 3)), None));
/// assert_eq!(cursors.pop(), Some(("Ada", (3, 3))));
/// ```
#[derive(Debug, Clone)]
pub struct StreamMapContainer<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// Keys by when they were written last.
    order: BTreeMap<u64, K>,
    writes: u64,
    capacity: usize,
    overflow: Overflow,
}

impl<K: Clone + Eq + Hash, V> StreamMapContainer<K, V> {
    /// An empty one for at most `capacity` entries, at least one.
    pub fn new(capacity: usize, overflow: Overflow) -> Self {
        let (entries, order) = (HashMap::new(), BTreeMap::new());
        Self { entries, order, writes: 0, capacity: capacity.max(1), overflow }
    }

    /// Sets a key's value. A key that is there needs no place. The oldest entry is the one written least lately.
    pub fn insert(&mut self, key: K, value: V) -> Pushed<(K, V)> {
        let (before, is_new) = (self.entries.len(), !self.entries.contains_key(&key));
        if is_new && before >= self.capacity {
            match self.overflow {
                Overflow::Block => return Pushed::Full((key, value)),
                Overflow::DropNewest => return Pushed::Dropped,
                Overflow::DropOldest => drop(self.pop()),
                Overflow::KeepNewest => self.clear(),
            }
        }
        let dropped = before - self.entries.len();
        self.writes += 1;
        if let Some((written, _)) = self.entries.insert(key.clone(), (self.writes, value)) {
            self.order.remove(&written);
        }
        self.order.insert(self.writes, key);
        Pushed::Kept { dropped }
    }

    /// A key's value.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Takes a key out; its value.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (written, value) = self.entries.remove(key)?;
        self.order.remove(&written);
        Some(value)
    }

    /// All entries, from the one written least lately on.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.order.values().filter_map(|key| Some((key, self.get(key)?)))
    }
}

impl<K: Clone + Eq + Hash, V> StreamContainer for StreamMapContainer<K, V> {
    type Item = (K, V);

    fn push(&mut self, (key, value): (K, V)) -> Pushed<(K, V)> {
        self.insert(key, value)
    }

    fn pop(&mut self) -> Option<(K, V)> {
        let (_, key) = self.order.pop_first()?;
        let (_, value) = self.entries.remove(&key)?;
        Some((key, value))
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }
}
