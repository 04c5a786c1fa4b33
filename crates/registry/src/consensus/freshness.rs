//! How old this node's view may be: the time since it heard from the leader, plus what the leader said of itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Words of the leader that are kept until this node has applied what they speak of.
const HEARD_MAX: usize = 64;

/// What the leader told this node.
#[derive(Clone, Default)]
pub(super) struct Freshness {
    heard: Arc<Mutex<VecDeque<Heard>>>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    term: u64,
    at: Instant,
    committed_index: u64,
    quorum_age: Duration,
}

impl Freshness {
    /// The leader of `term` had committed so far when a quorum last answered it, so long ago.
    pub(super) fn heard(&self, term: u64, committed_index: u64, quorum_age_ms: u64) {
        self.heard_at(term, committed_index, quorum_age_ms, Instant::now());
    }

    fn heard_at(&self, term: u64, committed_index: u64, quorum_age_ms: u64, at: Instant) {
        let mut heard = self.heard.lock();
        if heard.back().is_some_and(|last| term < last.term) {
            return;
        }
        if heard.len() == HEARD_MAX {
            heard.pop_front();
        }
        let quorum_age = Duration::from_millis(quorum_age_ms);
        heard.push_back(Heard {
            term,
            at,
            committed_index,
            quorum_age,
        });
    }

    /// The bound for a node that has applied so far; none when it heard nothing that it has applied.
    pub(super) fn staleness(&self, applied_index: u64) -> Option<Duration> {
        self.staleness_at(applied_index, Instant::now())
    }

    fn staleness_at(&self, applied_index: u64, now: Instant) -> Option<Duration> {
        let heard = self.heard.lock();
        let told = heard.iter().filter(|h| h.committed_index <= applied_index);
        told.map(|h| now.duration_since(h.at) + h.quorum_age).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_as_old_as_the_silence_and_what_the_leader_admits() {
        let (freshness, start) = (Freshness::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(freshness.staleness_at(10, at(0)), None);
        freshness.heard_at(1, 10, 50, at(0));
        assert_eq!(
            freshness.staleness_at(10, at(100)),
            Some(Duration::from_millis(150))
        );
        assert_eq!(
            freshness.staleness_at(9, at(100)),
            None,
            "it has not applied what the leader spoke of"
        );
        freshness.heard_at(1, 20, 0, at(100));
        assert_eq!(
            freshness.staleness_at(10, at(100)),
            Some(Duration::from_millis(150))
        );
        assert_eq!(freshness.staleness_at(20, at(100)), Some(Duration::ZERO));
        freshness.heard_at(0, 99, 0, at(200));
        assert_eq!(
            freshness.staleness_at(99, at(300)),
            Some(Duration::from_millis(200)),
            "an old leader is not heard"
        );
    }
}
