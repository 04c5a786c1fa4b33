//! What may be in vain is done again after a pause that doubles, at the longest an hour.

use std::time::Duration;

use tokio::time::Instant;

const LONGEST: Duration = Duration::from_secs(3_600);

/// How often something was done in vain, and when it may be done again.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    times: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Nothing was done yet; the first pause will be so long.
    pub fn of(first: Duration) -> Backoff {
        Backoff {
            first,
            times: 0,
            until: None,
        }
    }

    /// Whether it may be done now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// It is done now, maybe in vain.
    pub fn note(&mut self, now: Instant) {
        let pause = self.first.saturating_mul(2_u32.saturating_pow(self.times));
        self.until = Some(now + pause.min(LONGEST));
        self.times += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::of(Duration::from_secs(60));
        let mut now = Instant::now();
        assert!(backoff.is_due(now), "the first time is now");
        for pause_s in [60, 120, 240, 480, 960, 1_920, 3_600, 3_600] {
            backoff.note(now);
            assert!(!backoff.is_due(now + Duration::from_secs(pause_s - 1)));
            now += Duration::from_secs(pause_s);
            assert!(backoff.is_due(now), "after {pause_s} s");
        }
        backoff.times = u32::MAX - 1;
        backoff.note(now);
        assert!(backoff.is_due(now + LONGEST));
    }
}
