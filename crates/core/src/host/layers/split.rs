//! Which viewers should share a layer, and what each may take of an uplink: pure functions over what their paths carry.

use std::ops::Range;

use super::ViewerId;

/// Viewers of one layer are parted where the rate of the faster ones is so many times as high…
pub(super) const PARTS: f64 = 2.0;
/// … and stay parted until it is no more than so many times.
const STAYS: f64 = 1.5;

/// A viewer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Member {
    pub(super) id: ViewerId,
    /// What its path carries, bit/s.
    pub(super) rate: f64,
    /// Its layer.
    pub(super) layer: usize,
}

/// Viewers that should share a layer, slowest first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) layer: usize,
    pub(super) members: Vec<Member>,
}

/// Groups viewers for so many layers at most, so that the product of what they get is highest. A group has the layer in which most
/// of it is already.
pub(super) fn split(mut members: Vec<Member>, layers: usize) -> Vec<Group> {
    if members.is_empty() {
        return Vec::new();
    }
    members.sort_by(|a, b| a.rate.total_cmp(&b.rate).then(a.id.cmp(&b.id)));
    let mut ranges: Vec<Range<usize>> = std::iter::once(0..members.len()).collect();
    while ranges.len() < layers {
        let best = ranges.iter().enumerate().filter_map(|(which, range)| {
            let (gain, at) = best_cut(&members, range.clone())?;
            Some((gain, which, at))
        });
        let Some((_, which, at)) = best.max_by(|a, b| a.0.total_cmp(&b.0)) else { break };
        let upper = at..ranges[which].end;
        ranges[which].end = at;
        ranges.push(upper);
    }
    ranges.sort_by_key(|range| std::cmp::Reverse((range.len(), range.end)));
    let mut free: Vec<usize> = (0..layers).collect();
    let groups = ranges.into_iter().map(|range| {
        let members = members[range].to_vec();
        let there = |layer: usize| members.iter().filter(|member| member.layer == layer).count();
        let best = (0..free.len()).rev().max_by_key(|at| there(free[*at])).unwrap_or_default();
        Group { layer: free.remove(best), members }
    });
    groups.collect()
}

/// Where to part a group, and how much that helps.
fn best_cut(members: &[Member], range: Range<usize>) -> Option<(f64, usize)> {
    let slowest = members[range.start];
    let cuts = range.clone().skip(1).filter_map(|at| {
        let factor = if members[at].layer == slowest.layer { PARTS } else { STAYS };
        let times = members[at].rate / slowest.rate.max(1.0);
        (times >= factor).then(|| ((range.end - at) as f64 * times.ln(), at))
    });
    cuts.max_by(|a, b| a.0.total_cmp(&b.0))
}

/// What each of these rates may be so that together they take no more than `uplink`: a viewer that needs less than its share leaves
/// the rest to the others.
pub(crate) fn shares(rates: &mut [&mut f64], uplink: f64) {
    rates.sort_by(|a, b| a.total_cmp(b));
    let (mut left, mut others) = (uplink, rates.len());
    for rate in rates {
        **rate = rate.min(left / others as f64);
        left -= **rate;
        others -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(rates: &[(f64, usize)]) -> Vec<Member> {
        let number = |(at, (rate, layer)): (usize, &(f64, usize))| Member {
            id: ViewerId(at as u32),
            rate: *rate,
            layer: *layer,
        };
        rates.iter().enumerate().map(number).collect()
    }

    fn grouped(rates: &[(f64, usize)]) -> Vec<(usize, Vec<u32>)> {
        let groups = split(members(rates), 3);
        let ids = |group: &Group| group.members.iter().map(|member| member.id.0).collect();
        groups.iter().map(|group| (group.layer, ids(group))).collect()
    }

    #[test]
    fn viewers_of_like_paths_share_a_layer() {
        assert_eq!(grouped(&[(3e6, 0), (4e6, 0), (5e6, 0)]), [(0, vec![0, 1, 2])]);
        assert_eq!(grouped(&[(5e6, 0), (0.5e6, 0), (6e6, 0)]), [(0, vec![0, 2]), (1, vec![1])]);
        let three = grouped(&[(5e6, 0), (0.5e6, 0), (6e6, 0), (0.1e6, 0), (7e6, 0)]);
        assert_eq!(three, [(0, vec![0, 2, 4]), (1, vec![1]), (2, vec![3])]);
        assert!(grouped(&[]).is_empty());
    }

    #[test]
    fn a_group_keeps_its_layer_and_those_parted_come_together_late() {
        assert_eq!(grouped(&[(5e6, 2), (0.5e6, 1), (6e6, 2)]), [(2, vec![0, 2]), (1, vec![1])]);
        assert_eq!(grouped(&[(5e6, 0), (3e6, 0)]), [(0, vec![1, 0])]);
        assert_eq!(grouped(&[(5e6, 0), (3e6, 1)]).len(), 2);
        assert_eq!(grouped(&[(5e6, 0), (4e6, 1)]).len(), 1);
    }

    #[test]
    fn an_uplink_is_shared_by_need() {
        let mut rates = [5e6, 1e6, 9e6];
        shares(&mut rates.each_mut(), 7e6);
        assert_eq!(rates, [3e6, 1e6, 3e6]);
        shares(&mut rates.each_mut(), 20e6);
        assert_eq!(rates, [3e6, 1e6, 3e6]);
        shares(&mut [], 1e6);
    }
}
