//! Whether the registry answers at all: who has something to fall back on does not wait for what others waited for in
//! vain.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// After nobody answered, before one asks again; and how long that one is waited for.
const PAUSE: Duration = Duration::from_secs(1);
const PROBE: Duration = Duration::from_secs(4);

/// None while nodes answer; else from when on one may ask.
#[derive(Default)]
pub(crate) struct Away(Mutex<Option<Instant>>);

/// Leave to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Nodes answer, as far as is known.
    Anybody,
    /// Nobody answers, and this is the one who tries.
    One,
}

impl Away {
    /// Whether this caller may ask, or falls back: while nobody answers only one asks at a time.
    pub(crate) fn leave(&self, now: Instant) -> Option<Leave> {
        let mut next = self.0.lock();
        match *next {
            Some(at) if now < at => None,
            Some(_) => {
                *next = Some(now + PROBE);
                Some(Leave::One)
            }
            None => Some(Leave::Anybody),
        }
    }

    pub(crate) fn answered(&self) {
        *self.0.lock() = None;
    }

    pub(crate) fn silent(&self, now: Instant) {
        *self.0.lock() = Some(now + PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_nobody_answers_one_asks_at_a_time() {
        let (away, began) = (Away::default(), Instant::now());
        let leave = |ms| away.leave(began + Duration::from_millis(ms));
        assert_eq!([leave(0), leave(0)], [Some(Leave::Anybody); 2]);
        away.silent(began);
        assert_eq!(leave(999), None);
        assert_eq!(leave(1_000), Some(Leave::One), "one tries");
        assert_eq!(
            [leave(1_001), leave(4_999)],
            [None; 2],
            "and the others wait for that"
        );
        assert_eq!(leave(5_000), Some(Leave::One), "unless it never came back");
        away.answered();
        assert_eq!([leave(5_001), leave(5_001)], [Some(Leave::Anybody); 2]);
    }
}
