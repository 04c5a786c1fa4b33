//! Moments and lengths of time.

use std::time::Duration;

use reeve_domain::Stamp;

/// A stamp as the wire writes it.
pub fn timestamp(stamp: Stamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: (stamp.0 / 1000) as i64,
        nanos: (stamp.0 % 1000) as i32 * 1_000_000,
    }
}

/// A length of time as the wire writes it.
pub fn duration(length: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: length.as_secs() as i64,
        nanos: length.subsec_nanos() as i32,
    }
}

/// A length of time from the wire; negative ones are none at all.
pub fn length(wire: &prost_types::Duration) -> Option<Duration> {
    let seconds = u64::try_from(wire.seconds).ok()?;
    let nanos = u32::try_from(wire.nanos).ok().filter(|n| *n < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}
