//! Containers against the simplest model of what they promise.
#![cfg(not(loom))]

use std::collections::VecDeque;

use lllsi_stream::{Overflow, Pushed, StreamContainer, StreamMapContainer, StreamVectorContainer};
use proptest::prelude::*;

fn rule() -> impl Strategy<Value = Overflow> {
    prop_oneof![
        Just(Overflow::Block),
        Just(Overflow::DropOldest),
        Just(Overflow::DropNewest),
        Just(Overflow::KeepNewest),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Push(u8, u32),
    Pop,
    Remove(u8),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u8..6, any::<u32>()).prop_map(|(key, value)| Step::Push(key, value)),
        3 => Just(Step::Pop),
        1 => (0u8..6).prop_map(Step::Remove),
        1 => Just(Step::Clear),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn a_vector_is_a_queue_with_a_bound(capacity in 1usize..5, rule in rule(), steps in steps()) {
        let (mut vector, mut model) = (StreamVectorContainer::new(capacity, rule), VecDeque::new());
        for step in steps {
            match step {
                Step::Push(_, item) => {
                    let expected = match (model.len() < capacity, rule) {
                        (true, _) => Pushed::Kept { dropped: 0 },
                        (_, Overflow::Block) => Pushed::Full(item),
                        (_, Overflow::DropNewest) => Pushed::Dropped,
                        (_, Overflow::DropOldest) => Pushed::Kept { dropped: 1 },
                        (_, Overflow::KeepNewest) => Pushed::Kept { dropped: model.len() },
                    };
                    if let Pushed::Kept { dropped } = expected {
                        model.drain(..dropped);
                        model.push_back(item);
                    }
                    prop_assert_eq!(vector.push(item), expected);
                }
                Step::Pop => prop_assert_eq!(vector.pop(), model.pop_front()),
                Step::Remove(_) => prop_assert_eq!(vector.pop_back(), model.pop_back()),
                Step::Clear => {
                    vector.clear();
                    model.clear();
                }
            }
            prop_assert!(vector.iter().eq(&model) && vector.len() == model.len());
        }
    }

    #[test]
    fn a_map_keeps_the_last_value_of_each_key(
        capacity in 1usize..5, rule in rule(), steps in steps()
    ) {
        // In the order of their last writes.
        let (mut map, mut model) = (StreamMapContainer::new(capacity, rule), Vec::new());
        for step in steps {
            match step {
                Step::Push(key, value) => {
                    let known = model.iter().position(|(k, _)| *k == key);
                    let expected = match (known.is_some() || model.len() < capacity, rule) {
                        (true, _) => Pushed::Kept { dropped: 0 },
                        (_, Overflow::Block) => Pushed::Full((key, value)),
                        (_, Overflow::DropNewest) => Pushed::Dropped,
                        (_, Overflow::DropOldest) => Pushed::Kept { dropped: 1 },
                        (_, Overflow::KeepNewest) => Pushed::Kept { dropped: model.len() },
                    };
                    if let Pushed::Kept { dropped } = expected {
                        known.map(|at| model.remove(at));
                        model.drain(..dropped);
                        model.push((key, value));
                    }
                    prop_assert_eq!(map.push((key, value)), expected);
                }
                Step::Pop => {
                    let oldest = if model.is_empty() { None } else { Some(model.remove(0)) };
                    prop_assert_eq!(map.pop(), oldest);
                }
                Step::Remove(key) => {
                    let at = model.iter().position(|(k, _)| *k == key);
                    prop_assert_eq!(map.remove(&key), at.map(|at| model.remove(at).1));
                }
                Step::Clear => {
                    map.clear();
                    model.clear();
                }
            }
            prop_assert!(map.iter().map(|(k, v)| (*k, *v)).eq(model.iter().copied()));
            prop_assert!(map.len() == model.len() && map.len() <= capacity);
        }
    }
}
