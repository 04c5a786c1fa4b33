//! Which revisions are missing, as ranges.

use std::collections::BTreeMap;

/// Ranges of missing revisions, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps(BTreeMap<u64, u64>);

impl Gaps {
    pub(super) fn from_pairs(pairs: Vec<(u64, u64)>) -> Gaps {
        let mut gaps = Gaps::default();
        for (from, to) in pairs {
            gaps.add(from, to);
        }
        gaps
    }

    pub(super) fn to_pairs(&self) -> Vec<(u64, u64)> {
        self.0.iter().map(|(from, to)| (*from, *to)).collect()
    }

    /// Adds a range; what touches or overlaps becomes one.
    pub(super) fn add(&mut self, mut from: u64, mut to: u64) {
        if from > to {
            return;
        }
        let touching: Vec<u64> = self
            .0
            .range(..=to.saturating_add(1))
            .filter(|(_, end)| end.saturating_add(1) >= from)
            .map(|(begin, _)| *begin)
            .collect();
        for begin in touching {
            let end = self.0.remove(&begin).unwrap_or(begin);
            (from, to) = (from.min(begin), to.max(end));
        }
        self.0.insert(from, to);
    }

    /// A revision has arrived.
    pub(super) fn fill(&mut self, revision: u64) {
        let Some((&from, &to)) = self.0.range(..=revision).next_back() else {
            return;
        };
        if revision > to {
            return;
        }
        self.0.remove(&from);
        if from < revision {
            self.0.insert(from, revision - 1);
        }
        if revision < to {
            self.0.insert(revision + 1, to);
        }
    }

    /// A range is not missing after all.
    pub(super) fn remove(&mut self, from: u64, to: u64) {
        let touched: Vec<(u64, u64)> = self
            .0
            .range(..=to)
            .filter(|(_, end)| **end >= from)
            .map(|(begin, end)| (*begin, *end))
            .collect();
        for (begin, end) in touched {
            self.0.remove(&begin);
            if begin < from {
                self.0.insert(begin, from - 1);
            }
            if end > to {
                self.0.insert(to + 1, end);
            }
        }
    }

    /// The end of the range that a revision lies in.
    pub(super) fn end_of(&self, revision: u64) -> Option<u64> {
        let (_, to) = self.0.range(..=revision).next_back()?;
        Some(*to).filter(|to| revision <= *to)
    }

    pub(super) fn holds(&self, revision: u64) -> bool {
        self.end_of(revision).is_some()
    }

    pub(super) fn first(&self) -> Option<(u64, u64)> {
        self.0.first_key_value().map(|(from, to)| (*from, *to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_split() {
        let mut gaps = Gaps::default();
        gaps.add(5, 9);
        gaps.add(1, 2);
        gaps.add(3, 4);
        assert_eq!(gaps.to_pairs(), [(1, 9)]);
        gaps.add(20, 22);
        for revision in [4, 1, 9, 21, 30] {
            gaps.fill(revision);
        }
        assert_eq!(gaps.to_pairs(), [(2, 3), (5, 8), (20, 20), (22, 22)]);
        assert!(gaps.holds(7) && !gaps.holds(4) && !gaps.holds(23) && !gaps.holds(0));
        gaps.add(1, 40);
        assert_eq!(Gaps::from_pairs(gaps.to_pairs()).first(), Some((1, 40)));
    }

    #[test]
    fn a_range_is_cut_out_of_what_is_missing() {
        let mut gaps = Gaps::from_pairs(vec![(1, 10), (20, 30), (40, 41)]);
        gaps.remove(5, 25);
        assert_eq!(gaps.to_pairs(), [(1, 4), (26, 30), (40, 41)]);
        gaps.remove(27, 28);
        gaps.remove(40, 50);
        assert_eq!(gaps.to_pairs(), [(1, 4), (26, 26), (29, 30)]);
        assert_eq!((gaps.end_of(29), gaps.end_of(28)), (Some(30), None));
    }
}
