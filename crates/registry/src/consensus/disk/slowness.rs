//! Whether flushes of the log take too long.

use std::time::Duration;

/// So many slow flushes in a row are no accident; so many good ones end it.
const IN_A_ROW: u32 = 3;

#[derive(Debug)]
pub(super) struct Slowness {
    slow_flush: Duration,
    slow: bool,
    /// Flushes in a row that speak against what is said now.
    against: u32,
}

impl Slowness {
    pub(super) fn new(slow_flush: Duration) -> Slowness {
        Slowness {
            slow_flush,
            slow: false,
            against: 0,
        }
    }

    /// One took so long. Between half of the limit and the limit nothing is learned.
    pub(super) fn flushed(&mut self, took: Duration) {
        let speaks_against = match self.slow {
            true => took < self.slow_flush / 2,
            false => took >= self.slow_flush,
        };
        self.against = match speaks_against {
            true => self.against + 1,
            false => 0,
        };
        if self.against >= IN_A_ROW {
            self.turn();
        }
    }

    /// One has been under way for so long: it counts as many.
    pub(super) fn flushing(&mut self, since: Duration) {
        if !self.slow && since >= self.slow_flush * IN_A_ROW {
            self.turn();
        }
    }

    pub(super) fn is_slow(&self) -> bool {
        self.slow
    }

    fn turn(&mut self) {
        self.slow = !self.slow;
        self.against = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn after(flushes: &[u64]) -> bool {
        let mut slowness = Slowness::new(ms(1000));
        flushes.iter().for_each(|took| slowness.flushed(ms(*took)));
        slowness.is_slow()
    }

    #[test]
    fn three_slow_flushes_in_a_row_make_a_slow_disk_and_three_good_ones_end_it() {
        assert!(!after(&[1500, 1500, 3, 1500, 1500]));
        assert!(after(&[1500, 1500, 1500]));
        assert!(after(&[1500, 1500, 1500, 3, 3, 700, 3, 3]));
        assert!(!after(&[1500, 1500, 1500, 3, 3, 3]));
    }

    #[test]
    fn one_that_does_not_end_is_enough() {
        let mut slowness = Slowness::new(ms(1000));
        slowness.flushing(ms(2999));
        assert!(!slowness.is_slow());
        slowness.flushing(ms(3000));
        assert!(slowness.is_slow());
        slowness.flushing(ms(9000));
        assert!(slowness.is_slow(), "it stays so while it lasts");
    }
}
