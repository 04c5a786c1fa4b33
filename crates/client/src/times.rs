//! How long things took, for whoever scrapes; without the feature `metrics` nobody does, and nothing is kept.

use std::time::Duration;

#[cfg(feature = "metrics")]
use prometheus_client::metrics::histogram::Histogram;

/// Seconds: from a round trip within a building to longer than anybody is waited for.
#[cfg(feature = "metrics")]
const BUCKETS: [f64; 15] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Durations of one kind.
#[derive(Debug)]
#[cfg_attr(not(feature = "metrics"), derive(Default))]
pub(crate) struct Times {
    #[cfg(feature = "metrics")]
    shown: Histogram,
}

#[cfg(feature = "metrics")]
impl Default for Times {
    fn default() -> Times {
        Times {
            shown: Histogram::new(BUCKETS),
        }
    }
}

impl Times {
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, reason = "nobody reads it")
    )]
    pub(crate) fn took(&self, duration: Duration) {
        #[cfg(feature = "metrics")]
        self.shown.observe(duration.as_secs_f64());
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn shown(&self) -> &Histogram {
        &self.shown
    }
}
