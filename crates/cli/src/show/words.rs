//! Words for times, sizes and states.

use jiff::{SignedDuration, Timestamp};

/// The plain word of an enum on the wire: `STATE_ACTIVE` with `STATE_` is `active`.
pub fn plain(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

/// RFC 3339; empty for a time that is not known.
pub fn time(time: Option<prost_types::Timestamp>) -> String {
    time.and_then(instant)
        .map(|at| at.to_string())
        .unwrap_or_default()
}

/// The same to the second, as tables have it.
pub fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

/// How long something took; empty unless both ends are known.
pub fn took(from: Option<prost_types::Timestamp>, to: Option<prost_types::Timestamp>) -> String {
    let (Some(from), Some(to)) = (from.and_then(instant), to.and_then(instant)) else {
        return String::new();
    };
    let took: SignedDuration = to.duration_since(from);
    match took.as_millis() {
        ms @ ..1000 => format!("{ms} ms"),
        ms => format!("{:.1} s", ms as f64 / 1000.0),
    }
}

/// Milliseconds of a span on the wire; never negative.
pub fn ago_ms(span: prost_types::Duration) -> u64 {
    let ms = i128::from(span.seconds) * 1000 + i128::from(span.nanos) / 1_000_000;
    u64::try_from(ms).unwrap_or_default()
}

/// A size in the largest unit that keeps it above one.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = size as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" {
        format!("{size} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

fn instant(time: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_plainly() {
        let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        assert_eq!(time(at(0, 0)), "1970-01-01T00:00:00Z");
        assert_eq!(time(at(1_795_472_100, 250_000_000)), "2026-11-23T22:15:00.25Z");
        assert_eq!(to_the_second("2026-11-23T22:15:00.25Z"), "2026-11-23T22:15:00Z");
        assert_eq!(to_the_second(&time(at(0, 0))), "1970-01-01T00:00:00Z");
        assert_eq!(time(None), "");
        assert_eq!(took(at(1, 0), at(1, 42_000_000)), "42 ms");
        assert_eq!(took(at(1, 0), at(4, 100_000_000)), "3.1 s");
        assert_eq!(took(at(1, 0), None), "");
        assert_eq!((bytes(0), bytes(1536)), ("0 B".to_owned(), "1.5 KiB".to_owned()));
        assert_eq!(plain("STATE_ACTIVE", "STATE_"), "active");
    }
}
