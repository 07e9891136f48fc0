//! Which layer each viewer is sent: a layer is one encoding of the pictures.
//!
//! Viewers whose paths carry about the same share a layer, so the slowest of all slows down nobody else. A viewer that comes late,
//! or needs a keyframe, gets it in a layer where it disturbs nobody, and joins the others some time later. A viewer changes layers at a
//! keyframe of the new one, and is sent the old one until then if it still can be. This is a pure policy: it knows viewers by what is said of them.

mod split;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{Event, LayerId, ViewerId};
pub(super) use split::shares;

/// The most layers that run at once.
pub const MAX_LAYERS: u8 = 3;
/// Keyframes of a layer made at the viewers' request, at most one in this time.
const KEYFRAME_EVERY: Duration = Duration::from_millis(200);
/// How long a viewer's path may be full while its layer goes on for others, while the layer waits, and while most paths are full.
const FULL_FOR: Duration = Duration::from_millis(100);
const FULL_WHILE_HELD: Duration = Duration::from_millis(300);
const FULL_LIKE_MOST: Duration = Duration::from_secs(1);
/// After a change the next one has so long to wait.
const CHANGE_PAUSE: Duration = Duration::from_secs(1);
/// A viewer leaves its layer once its path has differed from those of the others for this long.
const LEAVES_AFTER: Duration = Duration::from_millis(500);
/// A layer that another could replace costs processor time: its viewers go over after this time and this many frames.
const MERGE_AFTER: Duration = Duration::from_secs(5);
const MERGE_AFTER_FRAMES: u64 = 150;
/// Viewers join those of an equal or better layer at most once in this time, as many as wish to: it costs all of them a keyframe. Those
/// whose path has become too narrow go to a slower layer at once.
const JOINS_EVERY: Duration = Duration::from_secs(3);
/// A viewer that needed a keyframe, left others for a slower layer, or turned its pictures off and on for the second time, joins no
/// others for so long: twice as long each time that it has left, up to so many times. In a layer that is slower than its path it stays a
/// sixth of that.
const BARRED: Duration = Duration::from_secs(60);
const MOST_BARRED: u32 = 5;
const BARRED_BELOW: u32 = 6;
/// What a viewer has done is forgotten when it has done nothing for so long after.
const FORGIVEN: Duration = Duration::from_secs(300);
/// So many times a viewer gets a keyframe with the others where there is only a layer far below its path.
const PARDONS: u32 = 2;
/// And so many times as long its path may be full there.
const FALLS_FAR: u32 = 4;
/// The rate of a layer whose viewers say nothing, bit/s.
const FIRST: u32 = 1_000_000;
/// Viewers that came within this time share the layer in which they begin.
const NEWCOMERS: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Layer {
    is_watched: bool,
    bitrate: u32,
    is_held: bool,
    keyframe_wanted: bool,
    keyframe_at: Instant,
    /// When viewers may join it again.
    joins_at: Instant,
    frames: u64,
}

impl Layer {
    /// Whether its encoder knows how much it may make.
    fn is_rated(&self) -> bool {
        self.bitrate > 0
    }
}

/// A viewer that is sent pictures.
#[derive(Debug)]
struct Watcher {
    since: Instant,
    /// What its path carries, bit/s, as far as that is known.
    rate: f64,
    layer: usize,
    /// The layer that it changes to.
    next: Option<usize>,
    /// It cannot go on without a keyframe.
    is_lost: bool,
    /// It has asked for one, and others of its layer have not.
    asks: bool,
    full_since: Option<Instant>,
    wish: Option<Wish>,
    changed_at: Instant,
    past: Past,
    /// It left others once, and only since its path was taken for a slow one.
    is_misjudged: bool,
}

/// Why a viewer is to leave others alone, which outlasts a pause of its pictures.
#[derive(Debug, Clone, Copy)]
struct Past {
    barred_until: Instant,
    falls: u32,
    /// How often it has come back after a pause.
    returns: u32,
}

/// A better layer for a viewer.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Wish {
    layer: usize,
    /// The layer that it has is for viewers of other paths.
    is_misplaced: bool,
    /// Those are wider.
    is_too_slow: bool,
    since: Instant,
    /// Frames of its present layer by then.
    frames: u64,
}

impl Watcher {
    /// The layer that it is in, or will be.
    fn home(&self) -> usize {
        self.next.unwrap_or(self.layer)
    }

    fn is_new(&self, now: Instant) -> bool {
        now < self.since + NEWCOMERS
    }

    /// It joins no others for a while.
    fn bar(&mut self, now: Instant) {
        self.past.bar(now);
        self.is_misjudged = false;
    }
}

impl Past {
    fn new(now: Instant) -> Self {
        Self { barred_until: now, falls: 0, returns: 0 }
    }

    /// The same after a pause: each return costs others a keyframe, once the viewer joins them.
    fn returned(mut self, now: Instant) -> Self {
        if now >= self.barred_until + FORGIVEN {
            return Self::new(now);
        }
        self.returns += 1;
        if self.returns > 1 {
            self.barred_until = self.barred_until.max(now + BARRED);
        }
        self
    }

    fn bar(&mut self, now: Instant) {
        if now >= self.barred_until + FORGIVEN {
            self.falls = self.falls.min(1);
        }
        let times = self.falls.saturating_sub(1).min(MOST_BARRED);
        self.barred_until = now + BARRED * 2_u32.pow(times);
    }
}

/// Layers and who is sent them.
#[derive(Debug)]
pub(super) struct Layers {
    layers: Vec<Layer>,
    watchers: BTreeMap<ViewerId, Watcher>,
    /// Viewers that have been sent pictures and are not now.
    pausing: BTreeMap<ViewerId, Past>,
    /// What a layer may take, bit/s.
    most: u32,
    events: VecDeque<Event>,
}

impl Layers {
    /// So many layers at most, of at most so many bits a second each.
    pub(super) fn new(now: Instant, count: u8, most: u32) -> Self {
        let layer = || Layer {
            is_watched: false,
            bitrate: 0,
            is_held: false,
            keyframe_wanted: false,
            keyframe_at: now,
            joins_at: now,
            frames: 0,
        };
        let layers = (0..count.clamp(1, MAX_LAYERS)).map(|_| layer()).collect();
        let (watchers, pausing) = (BTreeMap::new(), BTreeMap::new());
        Self { layers, watchers, pausing, most, events: VecDeque::new() }
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The layer that a viewer is sent.
    pub(super) fn of(&self, id: ViewerId) -> LayerId {
        LayerId(self.watchers.get(&id).map_or(0, |watcher| watcher.layer as u8))
    }

    /// When a keyframe is asked for next.
    pub(super) fn timeout(&self) -> Option<Instant> {
        let wanted = self.layers.iter().filter(|layer| layer.keyframe_wanted && layer.is_rated());
        wanted.map(|layer| layer.keyframe_at).min()
    }

    /// Asks for keyframes that are due.
    pub(super) fn ask_for_keyframes(&mut self, now: Instant) {
        for (at, layer) in self.layers.iter_mut().enumerate() {
            if layer.keyframe_wanted && now >= layer.keyframe_at && layer.is_rated() {
                layer.keyframe_wanted = false;
                layer.keyframe_at = now + KEYFRAME_EVERY;
                self.events.push_back(Event::KeyframeWanted(LayerId(at as u8)));
            }
        }
    }

    // --- Who watches ---

    /// What a viewer's layer is coded at, bit/s.
    pub(super) fn bitrate_of(&self, id: ViewerId) -> f64 {
        let layer = self.watchers.get(&id).map(|watcher| &self.layers[watcher.layer]);
        layer.map_or(0.0, |layer| f64::from(layer.bitrate))
    }

    /// Viewers on whose paths another frame would only wait.
    pub(super) fn full(&self) -> Vec<ViewerId> {
        let full = self.watchers.iter().filter(|(_, watcher)| watcher.full_since.is_some());
        full.map(|(id, _)| *id).collect()
    }

    /// Takes note of whether a viewer is sent pictures, and whether another frame would only wait on its path.
    pub(super) fn note(&mut self, now: Instant, id: ViewerId, watches: bool, is_full: bool) {
        match (watches, self.watchers.get_mut(&id)) {
            (true, None) => self.come(now, id),
            (true, Some(watcher)) if watcher.full_since.is_some() != is_full => {
                watcher.full_since = is_full.then_some(now);
                self.decide_holds();
            }
            (false, Some(watcher)) => {
                self.pausing.insert(id, watcher.past);
                self.watchers.remove(&id);
                self.look_who_watches();
            }
            _ => {}
        }
    }

    /// A viewer has left.
    pub(super) fn remove(&mut self, now: Instant, id: ViewerId) {
        self.note(now, id, false, false);
        self.pausing.remove(&id);
    }

    fn come(&mut self, now: Instant, id: ViewerId) {
        let layer = self.entrance(now);
        let past = self.pausing.remove(&id).map_or(Past::new(now), |past| past.returned(now));
        let watcher = Watcher {
            since: now,
            rate: 0.0,
            layer,
            next: None,
            is_lost: true,
            asks: false,
            full_since: None,
            wish: None,
            changed_at: now,
            past,
            is_misjudged: false,
        };
        self.watchers.insert(id, watcher);
        self.look_who_watches();
    }

    fn members(&self, layer: usize) -> impl Iterator<Item = &Watcher> {
        self.watchers.values().filter(move |watcher| watcher.home() == layer)
    }

    /// Whether viewers of a layer have been there for a while, so that others disturb them when they join.
    fn is_settled(&self, now: Instant, layer: usize) -> bool {
        self.members(layer).any(|watcher| !watcher.is_new(now))
    }

    /// The layer of the most viewers.
    fn main(&self) -> usize {
        let layers = (0..self.layers.len()).rev();
        layers.max_by_key(|layer| self.members(*layer).count()).unwrap_or_default()
    }

    /// Where a viewer begins.
    fn entrance(&self, now: Instant) -> usize {
        let are_new = |layer: &usize| self.members(*layer).all(|watcher| watcher.is_new(now));
        let layers = || 0..self.layers.len();
        let shared = layers().find(|layer| self.layers[*layer].is_watched && are_new(layer));
        let beside = || self.beside(self.main(), f64::MAX).unwrap_or_default();
        shared.or_else(|| layers().find(are_new)).unwrap_or_else(beside)
    }

    /// A layer besides this one for a viewer of this rate: one that nobody is sent, or else the best for slower ones.
    fn beside(&self, layer: usize, rate: f64) -> Option<usize> {
        let others = (0..self.layers.len()).filter(|other| *other != layer).rev();
        let rated = others.filter_map(|other| {
            let Layer { is_watched, bitrate, .. } = self.layers[other];
            let bitrate = if is_watched { bitrate } else { 0 };
            (f64::from(bitrate) <= rate).then_some((!is_watched, bitrate, other))
        });
        rated.max_by_key(|(is_free, bitrate, _)| (*is_free, *bitrate)).map(|(.., other)| other)
    }

    fn look_who_watches(&mut self) {
        for at in 0..self.layers.len() {
            // Who leaves a layer is sent it until it has another.
            let is_watched = self.watchers.values().any(|w| w.home() == at || w.layer == at);
            let layer = &mut self.layers[at];
            if std::mem::replace(&mut layer.is_watched, is_watched) != is_watched {
                self.events.push_back(Event::Watched(LayerId(at as u8), is_watched));
                if is_watched {
                    layer.bitrate = 0;
                }
            }
        }
        self.decide_holds();
    }

    // --- Who is sent what ---

    /// A viewer needs a keyframe: in its layer, or soon in another where that disturbs nobody.
    pub(super) fn want_keyframe(&mut self, now: Instant, id: ViewerId) {
        let Some(watcher) = self.watchers.get_mut(&id) else { return };
        if !std::mem::replace(&mut watcher.is_lost, true) {
            watcher.bar(now);
        }
        let (home, is_on_its_way) = (watcher.home(), watcher.next.is_some());
        let are_new = self.members(home).all(|member| member.is_new(now));
        if is_on_its_way || are_new || self.members(home).count() == 1 || self.layers.len() == 1 {
            self.layers[home].keyframe_wanted = true;
        } else if let Some(watcher) = self.watchers.get_mut(&id) {
            watcher.asks = true;
        }
    }

    /// Viewers that need a keyframe get one where they are if most there do, and else each somewhere else.
    fn help_those_who_ask(&mut self, now: Instant) {
        for at in 0..self.layers.len() {
            let all = self.members(at).count();
            let lost = self.members(at).filter(|member| member.is_lost).count();
            let here = self.watchers.iter_mut().filter(|(_, watcher)| watcher.home() == at);
            let ask = here.filter_map(|(id, w)| std::mem::take(&mut w.asks).then_some(*id));
            for id in ask.collect::<Vec<_>>() {
                if 2 * lost > all || self.pardons(id) || !self.fall(now, id) {
                    self.layers[at].keyframe_wanted = true;
                }
            }
        }
    }

    /// A viewer leaves those with whom it shares its layer, if there is another for it.
    fn fall(&mut self, now: Instant, id: ViewerId) -> bool {
        let Some(watcher) = self.watchers.get(&id) else { return false };
        let Some(layer) = self.beside(watcher.home(), watcher.rate) else { return false };
        if let Some(watcher) = self.watchers.get_mut(&id) {
            watcher.past.falls += 1;
            watcher.is_lost = true;
            watcher.bar(now);
        }
        self.send_to(now, id, layer);
        true
    }

    /// Whether a viewer that needs a keyframe gets it where it is, since the layer beside is far below what its path carries.
    fn pardons(&mut self, id: ViewerId) -> bool {
        let Some(watcher) = self.watchers.get(&id) else { return false };
        let is_pardoned = watcher.past.falls < PARDONS && self.falls_far(watcher);
        if let Some(watcher) = self.watchers.get_mut(&id) {
            watcher.past.falls += u32::from(is_pardoned);
        }
        is_pardoned
    }

    /// Whether the layer that there is for a viewer beside its own is far below what its path carries.
    fn falls_far(&self, watcher: &Watcher) -> bool {
        let Some(beside) = self.beside(watcher.home(), watcher.rate) else { return false };
        let Layer { is_watched, bitrate, .. } = self.layers[beside];
        is_watched && f64::from(bitrate) * split::PARTS < watcher.rate
    }

    /// A viewer changes to a layer at its next keyframe.
    fn send_to(&mut self, now: Instant, id: ViewerId, layer: usize) {
        let Some(watcher) = self.watchers.get_mut(&id) else { return };
        watcher.next = Some(layer).filter(|layer| *layer != watcher.layer);
        (watcher.wish, watcher.changed_at) = (None, now);
        self.layers[layer].keyframe_wanted = true;
        self.look_who_watches();
    }

    /// Who is to be sent a frame of this layer, now that there is one.
    pub(super) fn send(
        &mut self,
        now: Instant,
        layer: LayerId,
        is_keyframe: bool,
    ) -> VecDeque<ViewerId> {
        let at = usize::from(layer.0);
        let Some(layer) = self.layers.get_mut(at) else { return VecDeque::new() };
        layer.frames += 1;
        if is_keyframe {
            layer.keyframe_wanted = false;
        }
        self.part_with_the_full(now, at);
        let mut has_changed = false;
        let mut takes = |watcher: &mut Watcher| {
            if is_keyframe && watcher.next == Some(at) {
                (watcher.layer, watcher.next, has_changed) = (at, None, true);
                watcher.wish = None;
            }
            let is_here = watcher.layer == at;
            // What it could not take only fills its path before the keyframe that it waits for.
            watcher.is_lost |= is_here && watcher.next.is_some() && watcher.full_since.is_some();
            watcher.is_lost &= !(is_keyframe && is_here);
            is_here && !watcher.is_lost
        };
        let to = self.watchers.iter_mut().filter_map(|(id, w)| takes(w).then_some(*id)).collect();
        if has_changed {
            self.look_who_watches();
        }
        to
    }

    /// Those on whose paths the frames of a layer only wait, while they come through to others, need a layer of their own.
    fn part_with_the_full(&mut self, now: Instant, layer: usize) {
        let is_full = |w: &&Watcher| w.full_since.is_some();
        if self.layers.len() == 1 || self.members(layer).all(|w| is_full(&w)) {
            return;
        }
        // Where most are full the host's own line may be, and is then shared soon.
        let most_are = 2 * self.watchers.values().filter(is_full).count() > self.watchers.len();
        let patience = match self.layers[layer].is_held {
            _ if most_are => FULL_LIKE_MOST,
            true => FULL_WHILE_HELD,
            false => FULL_FOR,
        };
        let patience_with =
            |w: &Watcher| if self.falls_far(w) { FALLS_FAR * patience } else { patience };
        let is_over =
            |w: &Watcher| w.full_since.is_some_and(|since| now >= since + patience_with(w));
        let may = |w: &Watcher| w.home() == layer && now >= w.changed_at + CHANGE_PAUSE;
        let full = self.watchers.iter().filter(|(_, w)| may(w) && is_over(w));
        let full: Vec<_> = full.map(|(id, _)| *id).collect();
        for id in full {
            self.fall(now, id);
        }
    }

    /// A layer waits while half of its viewers' paths are full.
    fn decide_holds(&mut self) {
        for at in 0..self.layers.len() {
            let full = self.members(at).filter(|w| w.full_since.is_some()).count();
            let is_held = full > 0 && 2 * full >= self.members(at).count();
            if std::mem::replace(&mut self.layers[at].is_held, is_held) != is_held {
                self.events.push_back(Event::Hold(LayerId(at as u8), is_held));
            }
        }
    }

    // --- Rates ---

    /// Whether a layer has no rate yet: it begins with one.
    pub(super) fn is_unrated(&self) -> bool {
        self.layers.iter().any(|layer| layer.is_watched && !layer.is_rated())
    }

    /// Takes what each viewer's path carries, bit/s, and whether that is known; viewers that do not report have no say.
    pub(super) fn reconsider(&mut self, now: Instant, rates: &BTreeMap<ViewerId, (f64, bool)>) {
        for (id, watcher) in &mut self.watchers {
            watcher.rate = rates.get(id).map_or(watcher.rate, |(rate, _)| *rate);
        }
        let known = self.watchers.iter().filter_map(|(id, watcher)| {
            let (rate, is_known) = rates.get(id).copied()?;
            is_known.then_some(split::Member { id: *id, rate, layer: watcher.home() })
        });
        let groups = split::split(known.collect(), self.layers.len());
        let least = |layer: usize| {
            let group = groups.iter().find(|group| group.layer == layer);
            group.map(|group| group.members[0].rate)
        };
        for group in &groups {
            for member in &group.members {
                let there = least(member.layer).filter(|_| member.layer != group.layer);
                let wish = Wish {
                    layer: group.layer,
                    is_misplaced: there.is_some(),
                    is_too_slow: there.is_some_and(|there| group.members[0].rate < there),
                    since: now,
                    frames: 0,
                };
                self.wish(member.id, wish);
            }
        }
        self.help_those_who_ask(now);
        self.grant(now);
        for at in 0..self.layers.len() {
            self.set_bitrate(at, rates);
        }
        for layer in 0..self.layers.len() {
            self.part_with_the_full(now, layer);
        }
    }

    fn wish(&mut self, id: ViewerId, wish: Wish) {
        let Some(watcher) = self.watchers.get_mut(&id) else { return };
        let had = watcher.wish.filter(|had| {
            let (of, was) = (wish.is_misplaced, had.is_misplaced);
            had.layer == wish.layer && of == was && had.is_too_slow == wish.is_too_slow
        });
        let frames = self.layers[watcher.layer].frames;
        let differs = watcher.home() != wish.layer;
        watcher.wish = differs.then(|| had.unwrap_or(Wish { frames, ..wish }));
    }

    /// Lets those go whose wish has lasted.
    fn grant(&mut self, now: Instant) {
        let lasts = |watcher: &Watcher| {
            let wish = watcher.wish?;
            let frames = self.layers[watcher.layer].frames.saturating_sub(wish.frames);
            let bar = watcher.past.barred_until.saturating_duration_since(watcher.changed_at);
            let bar = if wish.is_misplaced { bar / BARRED_BELOW } else { bar };
            // What is thought of a path at first is often wrong: who went down for that comes back once, and soon.
            let Past { falls, returns, .. } = watcher.past;
            let is_found_good = wish.is_misplaced
                && (falls == 0 || watcher.is_misjudged)
                && returns <= 1
                && watcher.is_new(wish.since);
            let is_free = is_found_good || now >= watcher.changed_at + bar;
            let is_open =
                now >= self.layers[wish.layer].joins_at || !self.is_settled(now, wish.layer);
            let may = wish.is_too_slow || watcher.next.is_none() && is_free && is_open;
            let is_due = match wish.is_misplaced {
                true => now >= wish.since + LEAVES_AFTER,
                false => now >= wish.since + MERGE_AFTER && frames >= MERGE_AFTER_FRAMES,
            };
            (may && is_due).then_some(wish)
        };
        let due = self.watchers.iter().filter_map(|(id, watcher)| Some((*id, lasts(watcher)?)));
        let due: Vec<_> = due.collect();
        for (id, wish) in due {
            let is_settled = self.is_settled(now, wish.layer);
            self.send_to(now, id, wish.layer);
            if is_settled && !wish.is_too_slow {
                self.layers[wish.layer].joins_at = now + JOINS_EVERY;
            }
            if let Some(watcher) = self.watchers.get_mut(&id).filter(|_| wish.is_too_slow) {
                watcher.past.falls += 1;
                watcher.bar(now);
                watcher.is_misjudged = watcher.past.falls == 1;
            }
        }
    }

    /// The narrowest path of a layer decides. One of which nothing is known has a say only where there is no other, and one that
    /// is about to leave for a slower layer only where all are.
    fn set_bitrate(&mut self, at: usize, rates: &BTreeMap<ViewerId, (f64, bool)>) {
        let members = || {
            let members = self.watchers.iter().filter(|(_, watcher)| watcher.home() == at);
            members.filter_map(|(id, watcher)| Some((watcher, *rates.get(id)?)))
        };
        let stays = |watcher: &Watcher| !watcher.wish.is_some_and(|wish| wish.is_too_slow);
        let staying = members().filter(|(w, (_, is_known))| *is_known && stays(w));
        let known = members().filter(|(_, (_, is_known))| *is_known);
        let least = staying
            .map(|(_, (rate, _))| rate)
            .reduce(f64::min)
            .or_else(|| known.map(|(_, (rate, _))| rate).reduce(f64::min))
            .or_else(|| members().map(|(_, (rate, _))| rate).reduce(f64::min));
        let (layer, most) = (&mut self.layers[at], self.most);
        let had = layer.bitrate;
        let first = (layer.is_watched && had == 0).then_some(FIRST.min(most));
        let Some(bitrate) = least.map(|least| (least as u32).max(1)).or(first) else { return };
        if bitrate != had && (bitrate.abs_diff(had) > had / 20 || bitrate == most) {
            layer.bitrate = bitrate;
            self.events.push_back(Event::Bitrate(LayerId(at as u8), bitrate));
        }
    }
}
