//! How long the parts of something took, each in a row.

use std::time::Duration;

use serde::Serialize;

use super::tally::Tally;
use crate::show::{Page, table};

/// How long one part took.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) part: String,
    pub(super) count: u64,
    pub(super) p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Row {
    pub(super) fn of(part: &str, tally: &Tally) -> Row {
        Row {
            part: part.to_owned(),
            count: tally.count(),
            p50_ms: tally.quantile_ms(0.5),
            p95_ms: tally.quantile_ms(0.95),
            p99_ms: tally.quantile_ms(0.99),
            max_ms: tally.max_ms(),
        }
    }
}

/// Rows that line up, under a word for what they are of.
pub(super) fn shown(what: &'static str, rows: &[Row]) -> Page {
    let row = |row: &Row| {
        let times = [row.p50_ms, row.p95_ms, row.p99_ms, row.max_ms].map(written);
        [vec![row.part.clone(), row.count.to_string()], times.to_vec()].concat()
    };
    table([what, "COUNT", "P50", "P95", "P99", "MAX"], rows.iter().map(row))
}

/// With as many digits as say something.
fn written(ms: f64) -> String {
    match ms < 10.0 {
        true => format!("{ms:.2} ms"),
        false => format!("{ms:.0} ms"),
    }
}

/// Writes down how long something took that went well.
pub(super) fn note(tally: &mut Tally, took: Duration) {
    tally.note(Duration::ZERO, took, Ok(()));
}
