//! How calls went: a histogram of the good ones, the others by reason, and the report of both.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::show::{Page, Show, pairs};

/// Three digits of each latency are kept, up to an hour; longer ones count as an hour.
const DIGITS: u8 = 3;
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// Latencies in microseconds and errors by reason.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// None until the first good call.
    latencies: Option<Histogram<u64>>,
    errors: BTreeMap<String, u64>,
    /// When the first that counts could begin, and when the last ended.
    from: Duration,
    until: Duration,
}

impl Tally {
    /// Writes down how one call went.
    pub fn note(&mut self, ended: Duration, took: Duration, answered: Result<(), String>) {
        self.until = self.until.max(ended);
        match answered {
            Ok(()) => self.took(took),
            Err(reason) => self.failed(&reason, 1),
        }
    }

    /// Counts some failures of one kind.
    pub fn failed(&mut self, reason: &str, times: u64) {
        *self.errors.entry(reason.to_owned()).or_insert(0) += times;
    }

    fn took(&mut self, took: Duration) {
        if self.latencies.is_none() {
            // It refuses only bounds and digits that no histogram can have.
            self.latencies = Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).ok();
        }
        if let Some(latencies) = &mut self.latencies {
            latencies.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn begin_at(&mut self, from: Duration) {
        self.from = from;
    }

    /// Good calls.
    pub fn count(&self) -> u64 {
        self.latencies.as_ref().map_or(0, Histogram::len)
    }

    /// Good calls a second, until the last one ended.
    pub fn per_second(&self) -> f64 {
        let span = self.until.saturating_sub(self.from).as_secs_f64();
        if span > 0.0 {
            self.count() as f64 / span
        } else {
            0.0
        }
    }

    /// The latency that this part of the calls did not exceed: 0.5 is the median.
    pub fn quantile_ms(&self, part: f64) -> f64 {
        let at = self.latencies.as_ref().map(|all| all.value_at_quantile(part));
        at.unwrap_or(0) as f64 / 1_000.0
    }

    pub fn max_ms(&self) -> f64 {
        self.latencies.as_ref().map_or(0, Histogram::max) as f64 / 1_000.0
    }

    /// Failed calls by reason.
    pub fn errors(&self) -> &BTreeMap<String, u64> {
        &self.errors
    }
}

/// What was run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Settings {
    pub what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    pub connections: usize,
    pub nodes: usize,
    pub seconds: u64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub settings: Settings,
    pub count: u64,
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
    /// Of watchers: from the call of the change, not from its acknowledgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_call_p99_ms: Option<f64>,
    pub errors: BTreeMap<String, u64>,
}

impl Report {
    pub fn of(settings: Settings, tally: &Tally) -> Report {
        Report {
            settings,
            count: tally.count(),
            per_second: tally.per_second(),
            p50_ms: tally.quantile_ms(0.5),
            p99_ms: tally.quantile_ms(0.99),
            p999_ms: tally.quantile_ms(0.999),
            max_ms: tally.max_ms(),
            from_call_p99_ms: None,
            errors: tally.errors.clone(),
        }
    }

    /// The reason that most failures had.
    pub fn worst_error(&self) -> Option<String> {
        let worst = self.errors.iter().max_by_key(|(_, times)| **times);
        worst.map(|(reason, times)| format!("{reason}, {times} times"))
    }
}

impl Show for Report {
    fn page(&self) -> Page {
        let number = |number: Option<usize>| number.map(|n| n.to_string()).unwrap_or_default();
        let ms = |ms: f64| format!("{ms:.3} ms");
        let errors: Vec<_> = (self.errors.iter())
            .map(|(reason, times)| format!("{reason} {times}"))
            .collect();
        let settings = &self.settings;
        let what = [settings.what, settings.level.unwrap_or_default()].join(" ");
        let asked = settings.rate.map(|rate| format!("{rate} a second"));
        pairs([
            ("what", what.trim_end().to_owned()),
            ("watchers", number(settings.watchers)),
            ("in flight", number(settings.in_flight)),
            ("asked", asked.unwrap_or_default()),
            (
                "connections",
                format!("{} to {} nodes", settings.connections, settings.nodes),
            ),
            ("count", format!("{} in {} s", self.count, settings.seconds)),
            ("per second", format!("{:.0}", self.per_second)),
            ("p50", ms(self.p50_ms)),
            ("p99", ms(self.p99_ms)),
            ("p99.9", ms(self.p999_ms)),
            ("max", ms(self.max_ms)),
            (
                "p99 from the call",
                self.from_call_p99_ms.map(ms).unwrap_or_default(),
            ),
            ("errors", errors.join(", ")),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let mut tally = Tally::default();
        for ms in 1..=1_000 {
            let ended = Duration::from_secs(1) + Duration::from_millis(2 * ms);
            tally.note(ended, Duration::from_millis(ms), Ok(()));
        }
        tally.note(Duration::from_secs(3), Duration::ZERO, Err("NO_LEADER".into()));
        tally.begin_at(Duration::from_secs(1));
        tally
    }

    #[test]
    fn a_report_counts_the_good_and_names_the_bad() {
        let settings = Settings {
            what: "resolve",
            level: Some("bounded"),
            in_flight: Some(64),
            connections: 3,
            nodes: 3,
            seconds: 2,
            ..Settings::default()
        };
        let report = Report::of(settings, &tally());
        assert_eq!((report.count, report.per_second), (1_000, 500.0));
        for (found, wanted) in [
            (report.p50_ms, 500.0),
            (report.p99_ms, 990.0),
            (report.p999_ms, 999.0),
            (report.max_ms, 1_000.0),
        ] {
            assert!(
                (found / wanted - 1.0).abs() < 0.002,
                "{found} instead of {wanted}"
            );
        }
        let table = report.table();
        for line in [
            "resolve bounded",
            "64",
            "3 to 3 nodes",
            "1000 in 2 s",
            "NO_LEADER 1",
        ] {
            assert!(table.contains(line), "{line}: {table}");
        }
        assert!(!table.contains("watchers"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(
            (&json["level"], &json["errors"]["NO_LEADER"]),
            (&"bounded".into(), &1.into())
        );
        assert!(json.get("watchers").is_none() && json["p999_ms"].is_f64());
        assert_eq!(report.worst_error().unwrap(), "NO_LEADER, 1 times");
    }

    #[test]
    fn nothing_is_reported_of_nothing() {
        let report = Report::of(Settings::default(), &Tally::default());
        assert_eq!((report.count, report.per_second, report.max_ms), (0, 0.0, 0.0));
        assert_eq!(report.worst_error(), None);
    }
}
