//! Whether a second node is asked while the first one thinks. Pure: the time comes in.
//!
//! A node that hangs keeps whoever asks it for as long as it is waited for. Two answers to everything would double the
//! load just when nodes are slow. So the second is asked only after what is slow by the standard of recent answers, only
//! out of a small budget that the calls themselves earn, and not while a node asks for peace.

use std::time::{Duration, Instant};

/// As many answers are recent.
const RECENT: usize = 64;
/// Before so many there is no standard.
const RECENT_MIN: usize = 8;
const PATIENCE_MIN: Duration = Duration::from_millis(20);
const PATIENCE_MAX: Duration = Duration::from_millis(500);
/// Each call earns this much of a second one: one in twenty.
const EARNED: f64 = 0.05;
/// Saved up at most, and to begin with.
const SAVED_MAX: f64 = 3.0;
const SAVED_FIRST: f64 = 1.0;

/// What is known of recent calls.
pub(super) struct Hedge {
    recent: [Duration; RECENT],
    answers: usize,
    saved: f64,
    quiet_until: Option<Instant>,
}

impl Default for Hedge {
    fn default() -> Hedge {
        Hedge {
            recent: [Duration::ZERO; RECENT],
            answers: 0,
            saved: SAVED_FIRST,
            quiet_until: None,
        }
    }
}

impl Hedge {
    /// A call begins: how long its first node is waited for alone.
    pub(super) fn begins(&mut self) -> Duration {
        self.saved = (self.saved + EARNED).min(SAVED_MAX);
        let mut recent = self.recent;
        let recent = &mut recent[..self.answers.min(RECENT)];
        if recent.len() < RECENT_MIN {
            return PATIENCE_MAX;
        }
        recent.sort_unstable();
        recent[recent.len() * 95 / 100].clamp(PATIENCE_MIN, PATIENCE_MAX)
    }

    /// That time has passed: whether a second node may be asked.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        if self.quiet_until.is_some_and(|until| now < until) || self.saved < 1.0 {
            return false;
        }
        self.saved -= 1.0;
        true
    }

    /// A node has answered after so long.
    pub(super) fn answered(&mut self, after: Duration) {
        self.recent[self.answers % RECENT] = after;
        self.answers += 1;
    }

    /// A node asks to be left alone for a while.
    pub(super) fn pushed_back(&mut self, now: Instant, pause: Duration) {
        let until = now + pause;
        self.quiet_until = Some(self.quiet_until.map_or(until, |before| before.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_one_call_in_twenty_is_asked_twice_however_slow_all_are() {
        let (mut hedge, now) = (Hedge::default(), Instant::now());
        for (calls, most) in [(1_000, 51), (10_000, 500)] {
            let asked = (0..calls).filter(|_| {
                hedge.begins();
                hedge.may_ask(now)
            });
            let asked = asked.count();
            assert!((most - 2..=most).contains(&asked), "{asked} of {calls}");
        }
    }

    #[test]
    fn what_is_saved_in_quiet_times_is_bounded() {
        let (mut hedge, now) = (Hedge::default(), Instant::now());
        for _ in 0..100_000 {
            hedge.begins();
        }
        let at_once = (0..10).filter(|_| hedge.may_ask(now)).count();
        assert_eq!(at_once, 3);
    }

    #[test]
    fn slow_is_what_nineteen_in_twenty_recent_answers_are_not() {
        let ms = Duration::from_millis;
        let mut hedge = Hedge::default();
        (1..RECENT_MIN).for_each(|_| hedge.answered(ms(1)));
        assert_eq!(hedge.begins(), PATIENCE_MAX, "there is no standard yet");
        hedge.answered(ms(1));
        assert_eq!(hedge.begins(), PATIENCE_MIN, "a hurry helps nobody");
        (0..RECENT as u64).for_each(|n| hedge.answered(ms(n)));
        assert_eq!(hedge.begins(), ms(60));
        (0..RECENT).for_each(|_| hedge.answered(ms(100)));
        assert_eq!(hedge.begins(), ms(100), "what is long past is forgotten");
        (0..RECENT).for_each(|_| hedge.answered(ms(9_000)));
        assert_eq!(hedge.begins(), PATIENCE_MAX);
    }

    #[test]
    fn a_node_that_asks_for_peace_has_it() {
        let (mut hedge, now) = (Hedge::default(), Instant::now());
        hedge.pushed_back(now, Duration::from_secs(2));
        hedge.pushed_back(now, Duration::from_secs(1));
        let after = |ms| now + Duration::from_millis(ms);
        assert!(!hedge.may_ask(after(1_999)));
        assert!(hedge.may_ask(after(2_000)));
    }
}
