//! The time a call has in all, as gRPC writes it.

use std::time::{Duration, Instant};

use tonic::codegen::http::{HeaderMap, HeaderValue};

const HEADER: &str = "grpc-timeout";
/// For callers that name no deadline.
const DEFAULT: Duration = Duration::from_secs(10);

/// When the caller stops waiting; none for streams, which end when either side is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// Reads the caller's own, or takes the default.
    pub(crate) fn of(headers: &HeaderMap, now: Instant) -> Deadline {
        Deadline(Some(now + headers.get(HEADER).and_then(parse).unwrap_or(DEFAULT)))
    }

    pub(crate) const NEVER: Deadline = Deadline(None);

    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.0
            .map_or(Duration::MAX, |at| at.saturating_duration_since(now))
    }
}

/// Tells the node how long this one try may take.
pub(crate) fn announce(headers: &mut HeaderMap, time: Duration) {
    let millis = time.as_millis().clamp(1, 99_999_999);
    if let Ok(value) = HeaderValue::from_str(&format!("{millis}m")) {
        headers.insert(HEADER, value);
    }
}

fn parse(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_reads_back() {
        let mut headers = HeaderMap::new();
        announce(&mut headers, Duration::from_millis(1500));
        let now = Instant::now();
        assert_eq!(Deadline::of(&headers, now).left(now), Duration::from_millis(1500));
        for odd in ["", "m", "1", "1x", "123456789m", "-1m"] {
            assert_eq!(parse(&HeaderValue::from_str(odd).unwrap()), None, "{odd}");
        }
    }
}
