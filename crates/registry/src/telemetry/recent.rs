//! How long the last flushes took: a quantile of now, where a histogram has one of ever since.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// So many are remembered.
const KEPT: usize = 1024;

/// Written on the log's own thread, so nothing in it waits. 0 is an empty place.
pub struct Recent {
    next: AtomicUsize,
    micros: Box<[AtomicU32]>,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent {
            next: AtomicUsize::new(0),
            micros: (0..KEPT).map(|_| AtomicU32::new(0)).collect(),
        }
    }
}

impl Recent {
    pub fn took(&self, took: Duration) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % KEPT;
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        self.micros[at].store(micros, Ordering::Relaxed);
    }

    /// What all but one in a hundred stayed below; none before the first.
    pub fn p99(&self) -> Option<Duration> {
        let all = self.micros.iter().map(|micros| micros.load(Ordering::Relaxed));
        let mut taken: Vec<u32> = all.filter(|micros| *micros > 0).collect();
        taken.sort_unstable();
        let rank = (taken.len() * 99).div_ceil(100);
        let micros = taken.get(rank.checked_sub(1)?)?;
        Some(Duration::from_micros(u64::from(*micros)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_flush_in_a_hundred_is_left_out_and_old_ones_are_forgotten() {
        let recent = Recent::default();
        assert_eq!(recent.p99(), None);
        let ms = Duration::from_millis;
        recent.took(ms(500));
        assert_eq!(recent.p99(), Some(ms(500)));
        (0..99).for_each(|_| recent.took(ms(2)));
        assert_eq!(recent.p99(), Some(ms(2)));
        recent.took(ms(400));
        (0..2).for_each(|_| recent.took(ms(400)));
        assert_eq!(recent.p99(), Some(ms(400)));
        (0..KEPT).for_each(|_| recent.took(ms(1)));
        assert_eq!(recent.p99(), Some(ms(1)));
    }
}
