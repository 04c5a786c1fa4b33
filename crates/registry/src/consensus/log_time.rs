//! Log time: what a leader writes into each entry, and what everything in State that expires goes by.
//!
//! A machine's own clock may be off by years, and log time never runs back: one entry from such a leader would let every
//! token expire and every remembered request be forgotten, for good. So a leader goes by the clock in the middle of
//! its group's. Each node tells its own with its answer to the leader's word. While a leader has not heard from a
//! majority lately, log time stands still.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reeve_domain::Stamp;
use tokio::time::Instant;

use crate::mutant::Mutant;

/// What is older says nothing of now.
const LATELY: Duration = Duration::from_secs(10);

/// The clocks of a group, as one node heard them.
#[derive(Clone, Default)]
pub(super) struct LogTime(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    /// The last stamp that this node gave.
    last: u64,
    voters: BTreeSet<u64>,
    /// What each said, and when. An older program says 0.
    clocks: BTreeMap<u64, (u64, Instant)>,
}

/// Who asks for a stamp, and what its own clocks say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) node: u64,
    /// It is the only voter.
    pub(super) is_alone: bool,
    pub(super) wall_ms: u64,
    /// On the machine's own counter.
    pub(super) at: Instant,
}

impl LogTime {
    /// A node told its clock.
    pub(super) fn heard(&self, node: u64, wall_ms: u64, at: Instant) {
        self.0.lock().clocks.insert(node, (wall_ms, at));
    }

    /// Who votes.
    pub(super) fn group(&self, voters: BTreeSet<u64>) {
        let mut heard = self.0.lock();
        heard.clocks.retain(|node, _| voters.contains(node));
        heard.voters = voters;
    }

    /// Now, but never before what was applied or given already.
    pub(super) fn stamp(&self, applied: Stamp, asking: Asking) -> Stamp {
        let mut heard = self.0.lock();
        let now = match asking.is_alone || Mutant::OwnClock.is_planted() {
            true => Some(asking.wall_ms),
            false => heard.middle(asking),
        };
        heard.last = now.unwrap_or_default().max(heard.last).max(applied.0);
        Stamp(heard.last)
    }

    /// How far each voter's clock is from the one in the middle, in milliseconds; nothing while too few are heard.
    pub(super) fn offsets(&self, asking: Asking) -> BTreeMap<u64, i64> {
        let heard = self.0.lock();
        let Some(middle) = heard.middle(asking) else {
            return BTreeMap::new();
        };
        let own = (asking.node, asking.wall_ms);
        let clocks = heard.others(asking).chain([own]);
        let offset = |clock: u64| {
            let offset = i128::from(clock) - i128::from(middle);
            offset.clamp(i64::MIN.into(), i64::MAX.into()) as i64
        };
        clocks.map(|(node, clock)| (node, offset(clock))).collect()
    }
}

impl Heard {
    /// What the clocks of the other voters say now, of those that were heard lately.
    fn others(&self, asking: Asking) -> impl Iterator<Item = (u64, u64)> {
        let others = self.voters.iter().filter(move |node| **node != asking.node);
        others.filter_map(move |node| {
            let (said, at) = self.clocks.get(node)?;
            let since = asking.at.saturating_duration_since(*at);
            let now = match said {
                0 => asking.wall_ms,
                said => said.saturating_add(since.as_millis() as u64),
            };
            (since <= LATELY).then_some((*node, now))
        })
    }

    /// The clock in the middle, and of two the earlier one: log time that waits can go on later.
    fn middle(&self, asking: Asking) -> Option<u64> {
        let others = self.others(asking).map(|(_, now)| now);
        let mut clocks: Vec<u64> = others.chain([asking.wall_ms]).collect();
        clocks.sort_unstable();
        let is_majority = clocks.len() * 2 > self.voters.len() && !self.voters.is_empty();
        is_majority.then(|| clocks[(clocks.len() - 1) / 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3_600_000;
    const TRUE: u64 = 20_000 * DAY;

    fn asking(wall_ms: u64, at: Instant) -> Asking {
        Asking {
            node: 1,
            is_alone: false,
            wall_ms,
            at,
        }
    }

    fn group(clocks: &[(u64, u64)], at: Instant) -> LogTime {
        let time = LogTime::default();
        time.group((1..=clocks.len() as u64 + 1).collect());
        clocks
            .iter()
            .for_each(|(node, said)| time.heard(*node, *said, at));
        time
    }

    #[test]
    fn each_clock_is_held_against_the_one_in_the_middle() {
        let at = Instant::now();
        let time = group(&[(2, TRUE + 7_000), (3, TRUE)], at);
        let own = asking(TRUE - 3_000, at);
        assert_eq!(time.offsets(own), [(1, -3_000), (2, 7_000), (3, 0)].into());
        let far = group(&[(2, u64::MAX), (3, TRUE)], at).offsets(own);
        assert_eq!((far[&1], far[&2]), (-3_000, i64::MAX));
        let late = at + LATELY + Duration::from_millis(1);
        assert!(
            time.offsets(asking(TRUE, late)).is_empty(),
            "nobody was heard lately"
        );
    }

    #[test]
    fn one_clock_that_is_years_off_is_overruled_whosever_it_is() {
        let at = Instant::now();
        let later = at + Duration::from_millis(500);
        let off = TRUE + 3_650 * DAY;
        for (own, others, now) in [
            (off, [(2, TRUE), (3, TRUE + 7)], TRUE + 507),
            (TRUE + 500, [(2, off), (3, TRUE)], TRUE + 500),
            (TRUE + 500, [(2, 1), (3, TRUE)], TRUE + 500),
            (1, [(2, TRUE), (3, TRUE + 7)], TRUE + 500),
        ] {
            let said = group(&others, at).stamp(Stamp(0), asking(own, later));
            assert_eq!(said, Stamp(now), "{own} {others:?}");
        }
    }

    #[test]
    fn of_two_the_earlier_one_counts_and_one_alone_goes_by_its_own() {
        let at = Instant::now();
        let two = group(&[(2, TRUE)], at);
        assert_eq!(two.stamp(Stamp(0), asking(TRUE + DAY, at)), Stamp(TRUE));
        let three = group(&[(2, TRUE + DAY), (3, TRUE)], at - 2 * LATELY);
        three.heard(3, TRUE, at);
        assert_eq!(three.stamp(Stamp(0), asking(TRUE + DAY, at)), Stamp(TRUE));
        let alone = Asking {
            is_alone: true,
            ..asking(TRUE, at)
        };
        assert_eq!(LogTime::default().stamp(Stamp(0), alone), Stamp(TRUE));
    }

    #[test]
    fn without_a_majority_it_stands_still_and_it_never_runs_back() {
        let at = Instant::now();
        let silent = group(&[(2, TRUE), (3, TRUE)], at);
        let later = at + LATELY + Duration::from_millis(1);
        assert_eq!(
            silent.stamp(Stamp(TRUE - 9), asking(TRUE, later)),
            Stamp(TRUE - 9)
        );
        assert_eq!(LogTime::default().stamp(Stamp(5), asking(TRUE, at)), Stamp(5));
        let behind = group(&[(2, TRUE), (3, TRUE)], at);
        assert_eq!(behind.stamp(Stamp(TRUE + 9), asking(TRUE, at)), Stamp(TRUE + 9));
        assert_eq!(behind.stamp(Stamp(0), asking(TRUE, at)), Stamp(TRUE + 9));
    }

    #[test]
    fn an_older_program_that_says_nothing_counts_as_the_leader_itself() {
        let at = Instant::now();
        let old = group(&[(2, 0), (3, 0)], at);
        assert_eq!(old.stamp(Stamp(0), asking(TRUE, at)), Stamp(TRUE));
    }

    #[test]
    fn who_left_the_group_is_not_asked_any_more() {
        let at = Instant::now();
        let left = group(&[(2, TRUE), (3, TRUE)], at);
        left.group([1, 2, 4].into());
        left.heard(4, TRUE + DAY, at);
        assert_eq!(left.stamp(Stamp(0), asking(TRUE + DAY, at)), Stamp(TRUE + DAY));
    }
}
