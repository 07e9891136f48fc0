//! What streams carry: items and changes of maps from anybody, and containers that are used in any order.
#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use lllsi_fuzz::Choices;
use lllsi_stream::{
    MapChange, MapReplica, Overflow, Pushed, StreamContainer, StreamData, StreamMapContainer,
    StreamVectorContainer,
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(item) = <(u32, String, Vec<i64>)>::from_bytes(bytes.to_vec().into()) {
        let again = item.to_bytes().expect("it was read");
        assert_eq!(StreamData::from_bytes(again), Ok(item));
    }
    if let Ok(changes) = MapChange::<u32, String>::read_all(bytes) {
        merge(changes.into_iter().map(|(change, _)| change));
    }
    let mut choices = Choices::new(bytes);
    let mut changes = Vec::new();
    while !choices.is_empty() {
        let (key, value) = (u32::from(choices.one(9)), choices.one(9).to_string());
        changes.push(match choices.one(8) {
            0 => MapChange::Clear,
            1 | 2 => MapChange::Remove(key),
            _ => MapChange::Insert(key, value),
        });
    }
    merge(changes);
    containers(&mut Choices::new(bytes));
});

/// A copy is what the last value of each key makes it, however it is coded on the way.
fn merge(changes: impl IntoIterator<Item = MapChange<u32, String>>) {
    let (mut model, mut coded) = (HashMap::new(), Vec::new());
    for change in changes {
        coded.extend(change.to_bytes().expect("it has bytes"));
        match change {
            MapChange::Insert(key, value) => drop(model.insert(key, value)),
            MapChange::Remove(key) => drop(model.remove(&key)),
            MapChange::Clear => model.clear(),
        }
    }
    let mut copy = MapReplica::<u32, String>::new(usize::MAX);
    for (change, bytes) in MapChange::read_all(&coded).expect("we wrote it") {
        copy.apply(change, bytes).expect("there is place");
    }
    assert_eq!(copy.iter().collect::<HashMap<_, _>>(), model.iter().collect());
}

fn containers(choices: &mut Choices<'_>) {
    let rules = [Overflow::Block, Overflow::DropOldest, Overflow::DropNewest, Overflow::KeepNewest];
    let (capacity, rule) = (usize::from(choices.one(5)) + 1, rules[usize::from(choices.one(4))]);
    let mut vector = StreamVectorContainer::new(capacity, rule);
    let mut map = StreamMapContainer::new(capacity, rule);
    while !choices.is_empty() {
        let item = choices.one(12);
        let before = (vector.len(), map.len());
        match choices.one(6) {
            0 => drop(vector.pop_front()),
            1 => drop(vector.pop_back()),
            2 => drop(map.remove(&item)),
            3 => check(vector.push_front(item), before.0, vector.len()),
            4 => check(vector.push_back(item), before.0, vector.len()),
            _ if map.get(&item).is_some() => {
                let _ = map.insert(item, item);
                assert_eq!(map.len(), before.1);
            }
            _ => check(map.insert(item, item), before.1, map.len()),
        }
        assert!(vector.len() <= capacity && map.len() <= capacity);
    }
}

fn check<T>(pushed: Pushed<T>, before: usize, after: usize) {
    match pushed {
        Pushed::Kept { dropped } => assert_eq!(before + 1 - dropped, after),
        Pushed::Dropped | Pushed::Full(_) => assert_eq!(before, after),
    }
}
