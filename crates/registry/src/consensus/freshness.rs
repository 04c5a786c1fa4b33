//! How old this node's view may be: the time since it heard from the leader, plus what the leader said of itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::ground::time;

/// Words of the leader that are kept until this node has applied what they speak of.
const HEARD_MAX: usize = 64;

/// What the leader told this node.
///
/// The network may hold a word back for a while. So the leader sends each node's own clock back, as the node last
/// told it: a word is as old as the clock in it, however long it travelled.
#[derive(Clone)]
pub(super) struct Freshness {
    heard: Arc<Mutex<VecDeque<Heard>>>,
    /// The other nodes' clocks, as they last told them.
    clocks: Arc<Mutex<BTreeMap<u64, u64>>>,
    started: Instant,
    /// What this node's clock began with: by chance, so that another life's clock is not mistaken for this one's.
    start_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    term: u64,
    at: Instant,
    committed_index: u64,
    quorum_age: Duration,
}

impl Freshness {
    pub(super) fn new() -> Freshness {
        Freshness {
            heard: Arc::default(),
            clocks: Arc::default(),
            started: time::now(),
            start_ms: 1 + u64::from(rand::random::<u32>()),
        }
    }

    /// This node's clock, for the leader to send back.
    pub(super) fn clock_ms(&self) -> u64 {
        self.start_ms + (time::now() - self.started).as_millis() as u64
    }

    /// Another node's clock, as it last told it; 0 when it never did.
    pub(super) fn clock_of(&self, node: u64) -> u64 {
        self.clocks.lock().get(&node).copied().unwrap_or_default()
    }

    pub(super) fn keep_clock(&self, node: u64, clock_ms: u64) {
        self.clocks.lock().insert(node, clock_ms);
    }

    /// The leader of `term` had committed so far when a quorum last answered it, so long ago. It said so after this
    /// node's clock stood at `clock_ms`.
    pub(super) fn heard(&self, term: u64, committed_index: u64, quorum_age_ms: u64, clock_ms: u64) {
        if let Some(at) = self.said_at(clock_ms) {
            self.heard_at(term, committed_index, quorum_age_ms, at);
        }
    }

    /// When a word was said, at the earliest, that carries this clock. None: this node's never stood there.
    pub(super) fn said_at(&self, clock_ms: u64) -> Option<Instant> {
        let is_own = (self.start_ms..=self.clock_ms()).contains(&clock_ms);
        is_own.then(|| self.started + Duration::from_millis(clock_ms - self.start_ms))
    }

    /// The same, said by this node as the leader.
    pub(super) fn said(&self, term: u64, committed_index: u64, quorum_age_ms: u64) {
        self.heard_at(term, committed_index, quorum_age_ms, time::now());
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
        self.staleness_at(applied_index, time::now())
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
        let (freshness, start) = (Freshness::new(), Instant::now());
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

    #[test]
    fn a_word_is_as_old_as_the_clock_in_it() {
        let freshness = Freshness::new();
        freshness.heard(1, 10, 0, 0);
        freshness.heard(1, 10, 0, freshness.start_ms - 1);
        freshness.heard(1, 10, 0, freshness.clock_ms() + 60_000);
        assert_eq!(freshness.staleness(10), None, "a clock that this node never had");
        let asked = Instant::now();
        let clock_ms = freshness.clock_ms();
        std::thread::sleep(Duration::from_millis(30));
        freshness.heard(1, 10, 50, clock_ms);
        let age = freshness.staleness(10).unwrap();
        assert!(age >= asked.elapsed() + Duration::from_millis(48), "{age:?}");
    }
}
