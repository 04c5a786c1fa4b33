//! Pictures of a whole run and of a part of one.

use serde_json::{Map, Value, json};

use super::*;
use crate::summary::KEYS;

/// A run whose rows all hold the same, but for these.
fn seen(without: &str) -> Seen {
    let settings = json!({"commit": "abc", "etcd": "3.4.23", "cores": 2, "nodes": 3, "quick": false, "rounds": 2,
        "seconds": 5, "kills": 20, "rates": [700, 350]});
    let keys = KEYS.iter().filter(|key| **key != without);
    let rows: Map<String, Value> = keys
        .clone()
        .map(|key| {
            (
                (*key).to_owned(),
                json!({"ours": 3.5, "peer": 2.0, "settings": settings}),
            )
        })
        .collect();
    let rounds: Map<String, Value> = keys
        .map(|key| ((*key).to_owned(), json!({"ours": [3.0, 4.0], "peer": [2.0, 1.0]})))
        .collect();
    let text = |map: Map<String, Value>| Value::from(map).to_string();
    Seen::parse(&text(rows), Some(&text(rounds))).unwrap()
}

#[test]
fn a_whole_run_gives_every_picture_and_each_says_what_it_is() {
    let plots = all(&seen("nothing"));
    for plot in &plots {
        let svg = plot.drawn.as_ref().unwrap();
        assert!(
            svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"),
            "{}",
            plot.name
        );
        for part in [plot.title, "etcd", "commit abc", "on 2 cores", "fill=\"#FFFFFF\""] {
            assert!(svg.contains(part), "{part} is missing in {}: {svg}", plot.name);
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", plot.name);
    }
    let page = markdown(&plots);
    assert_eq!(page.matches("](benchmarks/").count(), plots.len(), "{page}");
    assert!(page.contains("(benchmarks/leader-kills.svg)"), "{page}");
}

#[test]
fn axes_say_their_units_and_where_they_begin() {
    let drawn = all(&seen("nothing")).map(|plot| plot.drawn.unwrap());
    let wanted = [
        "calls a second",
        "milliseconds (log scale)",
        "(log scale)",
        "milliseconds (log scale)",
        "seconds between",
    ];
    for (svg, unit) in drawn.iter().zip(wanted) {
        assert!(svg.contains(unit), "{unit}: {svg}");
    }
    assert!(drawn[3].contains("resolve 700 and 350"), "{}", drawn[3]);
    assert!(drawn[4].contains("longest 4.00 s"), "{}", drawn[4]);
}

#[test]
fn a_picture_that_lacks_a_row_is_left_out_and_says_which() {
    let plots = all(&seen("write_64_p99_ms"));
    let without: Vec<_> = plots.iter().filter(|plot| plot.drawn.is_err()).collect();
    let told = without[0].drawn.as_ref().unwrap_err().to_string();
    assert_eq!((without.len(), without[0].name), (1, "write-latency"));
    assert_eq!(told, "the row write_64_p99_ms is missing");
    assert!(!markdown(&plots).contains("write-latency"));
}

#[test]
fn a_summary_without_rounds_gives_what_needs_none() {
    let rows = r#"{"write_1_vs_etcd": {"ours": 1, "peer": 1, "settings":
        {"commit": "", "etcd": "", "cores": 1, "nodes": 3, "quick": true}}}"#;
    let plots = all(&Seen::parse(rows, None).unwrap());
    let reasons = plots.map(|plot| plot.drawn.unwrap_err().to_string());
    assert!(reasons[0].contains("write_16_vs_etcd"), "{reasons:?}");
    assert!(
        reasons[4].contains("rounds of leader_kill_gap_p50_s"),
        "{reasons:?}"
    );
}
