#![allow(clippy::disallowed_methods)] // a test needs some instant to begin at
//! Viewers that come, need keyframes, and have narrow paths.

use super::*;

const MS: Duration = Duration::from_millis(1);
const FRAME: Duration = Duration::from_millis(33);

struct Fixture {
    layers: Layers,
    now: Instant,
    rates: BTreeMap<ViewerId, (f64, bool)>,
    events: Vec<Event>,
}

impl Fixture {
    fn new(count: u8) -> Self {
        let now = Instant::now();
        let layers = Layers::new(now, count, 5_000_000);
        Self { layers, now, rates: BTreeMap::new(), events: Vec::new() }
    }

    /// A viewer comes and gets its first keyframe.
    fn come(&mut self, id: u32) -> u8 {
        self.layers.note(self.now, ViewerId(id), true, false);
        self.layers.want_keyframe(self.now, ViewerId(id));
        self.rates.insert(ViewerId(id), (1e6, false));
        self.pass(FRAME);
        self.of(id)
    }

    fn knows(&mut self, id: u32, rate: f64) {
        self.rates.insert(ViewerId(id), (rate, true));
    }

    fn of(&self, id: u32) -> u8 {
        self.layers.of(ViewerId(id)).0
    }

    /// Lets time pass, with 30 frames a second and keyframes where they are wanted. Returns who was sent the last frame of each layer.
    fn pass(&mut self, time: Duration) -> Vec<(u8, Vec<u32>)> {
        let (end, mut sent) = (self.now + time, Vec::new());
        while self.now < end {
            self.now += FRAME;
            self.layers.reconsider(self.now, &self.rates);
            self.layers.ask_for_keyframes(self.now);
            let events = std::iter::from_fn(|| self.layers.poll_event());
            let events: Vec<_> = events.collect();
            sent.clear();
            for layer in (0..MAX_LAYERS).map(LayerId) {
                let wanted =
                    |event: &Event| matches!(event, Event::KeyframeWanted(of) if *of == layer);
                let to = self.layers.send(self.now, layer, events.iter().any(wanted));
                if !to.is_empty() {
                    sent.push((layer.0, to.iter().map(|id| id.0).collect()));
                }
            }
            self.events.extend(events);
        }
        sent
    }

    fn keyframes_of(&self, layer: u8) -> usize {
        let of = |event: &&Event| matches!(event, Event::KeyframeWanted(of) if of.0 == layer);
        self.events.iter().filter(of).count()
    }

    fn bitrate_of(&self, layer: u8) -> Option<u32> {
        let rate = |event: &Event| match event {
            Event::Bitrate(of, rate) if of.0 == layer => Some(*rate),
            _ => None,
        };
        self.events.iter().rev().find_map(rate)
    }

    fn is_watched(&self, layer: u8) -> bool {
        let told = |event: &Event| match event {
            Event::Watched(of, is_watched) if of.0 == layer => Some(*is_watched),
            _ => None,
        };
        self.events.iter().rev().find_map(told).unwrap_or_default()
    }
}

/// Three viewers that know each other, and of which each path carries 4 Mbit/s.
fn settled() -> Fixture {
    let mut f = Fixture::new(3);
    for id in 1..=3 {
        assert_eq!(f.come(id), 0);
        f.knows(id, 4e6);
    }
    f.pass(NEWCOMERS);
    assert_eq!(f.bitrate_of(0), Some(4_000_000));
    f.events.clear();
    f
}

#[test]
fn who_comes_late_begins_in_another_layer_and_joins_the_others_later() {
    let mut f = settled();
    assert_eq!(f.come(4), 1);
    assert_eq!((f.bitrate_of(1), f.keyframes_of(0)), (Some(1_000_000), 0));
    f.knows(4, 4.5e6);
    let sent = f.pass(MERGE_AFTER - 500 * MS);
    assert_eq!(sent, [(0, vec![1, 2, 3]), (1, vec![4])]);
    assert_eq!((f.bitrate_of(1), f.keyframes_of(0)), (Some(4_500_000), 0));
    let sent = f.pass(1000 * MS);
    assert_eq!((sent, f.keyframes_of(0)), (vec![(0, vec![1, 2, 3, 4])], 1));
    assert!(!f.is_watched(1));
}

#[test]
fn who_is_taken_for_slow_at_first_comes_back_soon_but_only_once() {
    let mut f = Fixture::new(3);
    for (id, rate) in [(1, 4e6), (2, 4e6), (3, 5e5), (4, 5e5)] {
        assert_eq!(f.come(id), 0);
        f.knows(id, rate);
    }
    f.pass(LEAVES_AFTER + 100 * MS);
    assert_eq!(f.of(3), 1);
    f.knows(3, 4e6);
    f.pass(LEAVES_AFTER + 100 * MS);
    assert_eq!(f.of(3), 0);
    f.knows(3, 5e5);
    f.pass(LEAVES_AFTER + CHANGE_PAUSE);
    assert_eq!(f.of(3), 1);
    f.knows(3, 4e6);
    f.pass(LEAVES_AFTER + 100 * MS);
    assert_eq!(f.of(3), 1);
}

#[test]
fn who_left_at_first_for_a_full_path_or_a_keyframe_does_not_come_back_soon() {
    for is_full in [false, true] {
        let mut f = Fixture::new(3);
        for id in 1..=4 {
            assert_eq!(f.come(id), 0);
            f.knows(id, 4e6);
        }
        // The newcomers of a layer share its keyframes, so the others are older.
        f.pass(NEWCOMERS - 500 * MS);
        assert_eq!(f.come(5), 0);
        f.knows(5, 4e6);
        f.pass(1000 * MS);
        if is_full {
            f.layers.note(f.now, ViewerId(5), true, true);
            f.pass(4 * FULL_FOR);
            f.layers.note(f.now, ViewerId(5), true, false);
        } else {
            f.layers.want_keyframe(f.now, ViewerId(5));
        }
        f.pass(500 * MS);
        assert_eq!(f.of(5), 1, "{is_full}");
        // It is in a layer for slower ones, and its path is as good as the others'.
        f.come(6);
        f.knows(6, 5e5);
        f.pass(LEAVES_AFTER + 200 * MS);
        assert_eq!(f.of(5), 1, "{is_full}");
    }
}

#[test]
fn pauses_bring_no_more_keyframes_for_others() {
    let mut f = settled();
    for _ in 0..60 {
        f.layers.note(f.now, ViewerId(3), false, false);
        f.pass(FRAME);
        f.layers.note(f.now, ViewerId(3), true, false);
        f.layers.want_keyframe(f.now, ViewerId(3));
        f.pass(MERGE_AFTER + CHANGE_PAUSE);
    }
    // It came back 60 times within six minutes, and joined the others once, before that was known of it.
    assert!(f.keyframes_of(0) <= 2, "{} keyframes for the others", f.keyframes_of(0));
    // After a while that is forgotten.
    f.layers.note(f.now, ViewerId(3), false, false);
    f.pass(BARRED + FORGIVEN);
    f.layers.note(f.now, ViewerId(3), true, false);
    f.layers.want_keyframe(f.now, ViewerId(3));
    f.pass(MERGE_AFTER + CHANGE_PAUSE);
    assert_eq!(f.of(3), f.of(1));
    f.layers.remove(f.now, ViewerId(3));
    assert!(f.layers.pausing.is_empty());
}

#[test]
fn however_many_come_they_join_the_others_together_and_seldom() {
    let mut f = settled();
    let (begin, mut keyframes) = (f.now, 0);
    let mut pass = |f: &mut Fixture, time| {
        f.pass(time);
        keyframes += f.keyframes_of(f.of(1));
        f.events.clear();
    };
    for id in 4..64 {
        f.come(id);
        f.knows(id, 4e6);
        pass(&mut f, 500 * MS);
        // Some leave at once, some stay.
        if id % 3 == 0 {
            f.layers.remove(f.now, ViewerId(id));
            f.rates.remove(&ViewerId(id));
        }
        pass(&mut f, 400 * MS);
    }
    pass(&mut f, 20_000 * MS);
    let most = (f.now - begin).as_secs() / JOINS_EVERY.as_secs();
    assert!(keyframes as u64 <= most, "{keyframes} keyframes, at most {most}");
    assert!((1..=3).chain([4, 31, 62]).all(|id| f.of(id) == f.of(1)));
}

#[test]
fn a_wide_newcomer_that_lost_a_packet_leaves_slow_ones_soon() {
    let mut f = Fixture::new(3);
    for (id, rate) in [(1, 4e6), (2, 5e5), (3, 5e5), (4, 5e5)] {
        f.come(id);
        f.knows(id, rate);
    }
    f.layers.want_keyframe(f.now, ViewerId(1));
    f.pass(LEAVES_AFTER + 200 * MS);
    assert_ne!(f.of(1), f.of(2));
}

#[test]
fn a_path_that_becomes_narrow_gets_a_layer_and_moves_nobody_else() {
    let mut f = settled();
    f.knows(2, 0.5e6);
    let sent = f.pass(LEAVES_AFTER + 100 * MS);
    assert_eq!(sent, [(0, vec![1, 3]), (1, vec![2])]);
    assert_eq!((f.bitrate_of(0), f.bitrate_of(1)), (None, Some(500_000)));
    assert_eq!(f.keyframes_of(0), 0);
    // Somewhat better is not good enough; as good as the others is.
    f.knows(2, 2.5e6);
    f.pass(20_000 * MS);
    assert_eq!((f.of(2), f.bitrate_of(1)), (1, Some(2_500_000)));
    f.knows(2, 3e6);
    f.pass(BARRED);
    assert_eq!((f.of(2), f.bitrate_of(0)), (0, Some(3_000_000)));
}

#[test]
fn who_needs_keyframes_gets_them_where_they_disturb_nobody() {
    let mut f = settled();
    for asked in 1..=20 {
        f.layers.want_keyframe(f.now, ViewerId(3));
        f.pass(1000 * MS);
        assert_eq!((f.of(3), f.keyframes_of(0)), (1, 0), "asked {asked} times");
    }
    // Each time it falls it stays away for longer.
    f.pass(BARRED);
    assert_eq!(f.of(3), 0);
    f.layers.want_keyframe(f.now, ViewerId(3));
    f.pass(BARRED + MERGE_AFTER);
    assert_eq!(f.of(3), 1);
    f.pass(BARRED);
    assert_eq!(f.of(3), 0);
    // Where most need one they get it where they are.
    (1..=3).for_each(|id| f.layers.want_keyframe(f.now, ViewerId(id)));
    f.events.clear();
    f.pass(FRAME);
    assert!(f.keyframes_of(0) == 1 && f.of(2) == 0);
}

#[test]
fn who_cannot_follow_is_parted_with_before_its_path_is_known_to_be_narrow() {
    let mut f = settled();
    f.layers.note(f.now, ViewerId(2), true, true);
    let sent = f.pass(FULL_FOR + 2 * FRAME);
    assert_eq!(sent, [(0, vec![1, 3]), (1, vec![2])]);
    assert_eq!(f.keyframes_of(0), 0);
    assert!(f.events.iter().any(|e| matches!(e, Event::Hold(LayerId(1), true))));
    assert!(!f.events.iter().any(|e| matches!(e, Event::Hold(LayerId(0), _))));
    // Where all are full, all wait together.
    let mut f = settled();
    (1..=3).for_each(|id| f.layers.note(f.now, ViewerId(id), true, true));
    f.pass(1000 * MS);
    assert!(f.events.iter().any(|e| matches!(e, Event::Hold(LayerId(0), true))));
    assert!((1..=3).all(|id| f.of(id) == 0));
}

#[test]
fn who_says_the_worst_of_its_path_does_not_slow_down_another_slow_one() {
    let mut f = settled();
    f.knows(1, 0.6e6);
    f.knows(2, 0.1e6);
    assert_eq!(f.come(4), 1);
    f.knows(4, 5e6);
    f.pass(1000 * MS);
    let rates: Vec<_> = [1, 2].iter().map(|id| f.bitrate_of(f.of(*id))).collect();
    assert_eq!(rates, [Some(600_000), Some(100_000)]);
}

#[test]
fn of_two_viewers_neither_can_force_keyframes_on_the_other() {
    let mut f = Fixture::new(3);
    for id in 1..=2 {
        f.come(id);
        f.knows(id, 4e6);
    }
    f.pass(NEWCOMERS);
    f.events.clear();
    for _ in 0..20 {
        f.layers.want_keyframe(f.now, ViewerId(2));
        f.pass(500 * MS);
    }
    assert_eq!((f.of(1), f.of(2), f.keyframes_of(0)), (0, 1, 0));
    // A viewer that is sent no pictures is not heard.
    f.layers.want_keyframe(f.now, ViewerId(3));
    f.pass(500 * MS);
    assert_eq!(f.keyframes_of(0), 0);
}

#[test]
fn a_good_viewer_is_not_sent_far_down_for_one_keyframe() {
    let mut f = settled();
    f.knows(1, 0.5e6);
    f.knows(2, 0.1e6);
    f.come(4);
    f.knows(4, 4e6);
    f.pass(BARRED);
    let main = f.of(3);
    assert_eq!(f.of(4), main);
    for asked in 1..=5 {
        f.layers.want_keyframe(f.now, ViewerId(4));
        f.pass(500 * MS);
        assert_eq!(f.of(4) == main, asked <= PARDONS, "asked {asked} times");
        if asked > PARDONS {
            return;
        }
    }
}

#[test]
fn a_path_that_is_full_for_a_moment_does_not_send_its_viewer_far_down() {
    let mut f = settled();
    f.knows(1, 0.5e6);
    f.knows(2, 0.1e6);
    for id in [4, 5] {
        f.come(id);
        f.knows(id, 4e6);
    }
    f.pass(BARRED);
    let main = f.of(3);
    assert_eq!([4, 5].map(|id| f.of(id)), [main; 2]);
    let full = |f: &mut Fixture, time: Duration| {
        f.layers.note(f.now, ViewerId(4), true, true);
        f.pass(time);
        let there = f.of(4);
        f.layers.note(f.now, ViewerId(4), true, false);
        there
    };
    assert_eq!(full(&mut f, 2 * FULL_FOR), main);
    assert_ne!(full(&mut f, FALLS_FAR * FULL_FOR + 200 * MS), main);
}

#[test]
fn most_that_take_nothing_do_not_hold_up_the_rest_for_long() {
    let mut f = settled();
    (1..=2).for_each(|id| f.layers.note(f.now, ViewerId(id), true, true));
    f.pass(FULL_LIKE_MOST + 100 * MS);
    let held = |event: &&Event| matches!(event, Event::Hold(LayerId(0), _));
    assert!(matches!(f.events.iter().rev().find(held), Some(Event::Hold(_, false))));
    assert_eq!((f.of(3), f.keyframes_of(0)), (0, 0));
}

#[test]
fn one_layer_alone_serves_all() {
    let mut f = Fixture::new(1);
    for id in 1..=3 {
        f.come(id);
        f.knows(id, f64::from(id) * 1e6);
        f.pass(5000 * MS);
    }
    f.layers.want_keyframe(f.now, ViewerId(3));
    f.layers.note(f.now, ViewerId(2), true, true);
    assert_eq!(f.pass(10_000 * MS), [(0, vec![1, 2, 3])]);
    assert_eq!((f.bitrate_of(0), f.keyframes_of(0)), (Some(1_000_000), 4));
}

#[test]
fn a_layer_that_nobody_is_sent_any_more_ends() {
    let mut f = settled();
    assert_eq!(f.come(4), 1);
    f.layers.note(f.now, ViewerId(4), false, false);
    f.pass(FRAME);
    assert!(!f.is_watched(1));
    (1..=3).for_each(|id| f.layers.note(f.now, ViewerId(id), false, false));
    f.pass(FRAME);
    assert!(!f.is_watched(0));
    assert_eq!(f.come(5), 0);
    assert!(f.is_watched(0) && f.keyframes_of(0) == 1);
}
