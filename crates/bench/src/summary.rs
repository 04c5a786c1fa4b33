//! The rows that are printed, and kept under stable keys.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use reeve_cli::show;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::pairing::{Pairing, Rounds};

/// Every row, in the order of the table. docs/benchmarks.md says what each means.
pub const KEYS: [&str; 41] = [
    "resolve_bounded_vs_empty",
    "resolve_linearizable_vs_empty",
    "resolve_bounded_vs_etcd",
    "resolve_linearizable_vs_etcd",
    "write_1_vs_etcd",
    "write_16_vs_etcd",
    "write_64_vs_etcd",
    "write_256_vs_etcd",
    "write_1024_vs_etcd",
    "write_1_latency_vs_etcd",
    "write_1_p50_ms",
    "write_1_p99_ms",
    "write_16_p50_ms",
    "write_16_p99_ms",
    "write_64_p50_ms",
    "write_64_p99_ms",
    "write_256_p50_ms",
    "write_256_p99_ms",
    "write_1024_p50_ms",
    "write_1024_p99_ms",
    "open_loop_resolve_70_p50_ms",
    "open_loop_resolve_70_p99_ms",
    "open_loop_resolve_70_p999_ms",
    "open_loop_write_70_p50_ms",
    "open_loop_write_70_p99_ms",
    "open_loop_write_70_p999_ms",
    "watch_1000_p99_ms",
    "watch_1000_from_call_p99_ms",
    "watch_10000_p99_ms",
    "watch_10000_from_call_p99_ms",
    "leader_kill_gap_p50_s",
    "leader_kill_gap_p99_s",
    "leader_kill_read_gap_max_s",
    "tenants_100k_bytes_per_tenant",
    "tenants_100k_restarted_bytes_per_tenant",
    "tenants_100k_cold_start_s",
    "tenants_100k_snapshot_s",
    "tenants_100k_snapshot_write_stall_max_ms",
    "tenants_100k_list_all_s",
    "tenants_100k_catch_up_s",
    "tenants_100k_resolve_vs_1k",
];

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    #[serde(rename = "1/s")]
    PerSecond,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "B")]
    Bytes,
}

impl Unit {
    fn shown(self, value: f64) -> String {
        match self {
            Unit::PerSecond => format!("{value:.0}/s"),
            Unit::Milliseconds => format!("{value:.2} ms"),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Bytes => format!("{value:.0} B"),
        }
    }
}

/// Under which circumstances.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Settings {
    pub reeve: String,
    pub commit: String,
    pub etcd: String,
    pub cores: usize,
    pub nodes: usize,
    pub tls: &'static str,
    pub fsync: &'static str,
    /// A smoke test: good for nothing else.
    pub quick: bool,
    /// Tenants of ours, and keys of the peer's.
    pub tenants: usize,
    pub connections: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kills: Option<usize>,
    /// Calls a second by the clock, of ours and of the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<[u32; 2]>,
    /// What else there is to say of this row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Calls of ours, and of the peer's, that failed while this row was measured.
    pub failed: [u64; 2],
}

impl Settings {
    fn shown(&self) -> String {
        let own = [
            self.in_flight.map(|n| format!("{n} in flight")),
            self.rates
                .map(|[ours, peer]| format!("{ours} / {peer} a second by the clock")),
            self.watchers.map(|n| format!("{n} watchers")),
            self.kills.map(|n| format!("{n} kills")),
            self.rounds
                .zip(self.seconds)
                .map(|(rounds, seconds)| format!("{rounds} × {seconds} s")),
            self.value_bytes.map(|bytes| format!("{bytes} B")),
            (self.failed != [0, 0]).then(|| format!("failed {} / {}", self.failed[0], self.failed[1])),
            self.note.clone(),
            self.quick.then(|| "quick".to_owned()),
        ];
        let all = [
            format!("{} tenants", self.tenants),
            format!("{} connections", self.connections),
            format!("{} nodes", self.nodes),
            format!("TLS {}", self.tls),
            format!("fsync {}", self.fsync),
            format!("{} cores", self.cores),
            format!("{} at {}", self.reeve, self.commit),
            format!("etcd {}", self.etcd),
        ];
        own.into_iter()
            .flatten()
            .chain(all)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// One thing, ours and the peer's.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub ours: f64,
    pub peer: Option<f64>,
    pub ratio: Option<f64>,
    /// The least and the greatest of the paired ratios.
    pub ratio_range: Option<[f64; 2]>,
    /// Processor time of all nodes for each call, in microseconds: ours and the peer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<[f64; 2]>,
    pub unit: Unit,
    pub settings: Settings,
    /// Kept beside the summary, in `rounds.json`.
    #[serde(skip)]
    pub rounds: Option<Rounds>,
}

impl Row {
    /// Rounds of both, side by side.
    pub fn paired(pairing: Pairing, unit: Unit, settings: Settings) -> Row {
        Row {
            ours: pairing.ours,
            peer: Some(pairing.peer),
            ratio: Some(pairing.ratio),
            ratio_range: Some(pairing.range),
            cpu_us: None,
            unit,
            settings,
            rounds: Some(pairing.rounds),
        }
    }

    /// What has no peer.
    pub fn alone(ours: f64, unit: Unit, settings: Settings) -> Row {
        Row {
            ours,
            peer: None,
            ratio: None,
            ratio_range: None,
            cpu_us: None,
            unit,
            settings,
            rounds: None,
        }
    }

    /// The same, with what a call of ours and of the peer's cost the nodes.
    pub fn costing(mut self, cpu: Pairing) -> Row {
        self.cpu_us = Some([cpu.ours, cpu.peer]);
        self
    }

    fn cells(&self, key: &str) -> Vec<String> {
        let shown = |value| self.unit.shown(value);
        let range = |[least, greatest]: [f64; 2]| format!("{least:.2}–{greatest:.2}");
        let cpu = |[ours, peer]: [f64; 2]| format!("{ours:.0} / {peer:.0} µs");
        vec![
            key.to_owned(),
            shown(self.ours),
            self.peer.map(shown).unwrap_or_default(),
            self.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            self.ratio_range.map(range).unwrap_or_default(),
            self.cpu_us.map(cpu).unwrap_or_default(),
            self.settings.shown(),
        ]
    }
}

/// Rows, each under its key.
#[derive(Debug)]
pub struct Summary {
    rows: Vec<(&'static str, Row)>,
}

impl Summary {
    /// Takes the rows; one for each key, in their order.
    pub fn of(rows: Vec<(&'static str, Row)>) -> Result<Summary> {
        let found: Vec<_> = rows.iter().map(|(key, _)| *key).collect();
        ensure!(found == KEYS, "the rows are {found:?}, and should be {KEYS:?}");
        Ok(Summary { rows })
    }

    /// Takes the rows of one part.
    pub fn of_part(rows: Vec<(&'static str, Row)>) -> Summary {
        Summary { rows }
    }

    /// What each row was made of, round by round; what was measured once has none.
    pub fn rounds(&self) -> BTreeMap<&'static str, &Rounds> {
        let rows = self.rows.iter();
        rows.filter_map(|(key, row)| Some((*key, row.rounds.as_ref()?)))
            .collect()
    }

    pub fn table(&self) -> String {
        let head = ["ROW", "OURS", "PEER", "RATIO", "RANGE", "CPU A CALL", "SETTINGS"];
        show::table(head, self.rows.iter().map(|(key, row)| row.cells(key))).plain()
    }

    /// The same for docs/benchmarks.md; the settings of each row stay in the JSON.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text =
            String::from("| Row | Ours | Peer | Ratio | Range | CPU a call |\n|---|---|---|---|---|---|\n");
        for (key, row) in &self.rows {
            let mut cells = row.cells(&format!("`{key}`"));
            cells.pop();
            text += &line(&cells);
        }
        text
    }
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.rows.len()))?;
        for (key, row) in &self.rows {
            map.serialize_entry(key, row)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCS: &str = include_str!("../../../docs/benchmarks.md");

    fn row() -> Row {
        let settings = Settings {
            etcd: "3.4.23".into(),
            cores: 2,
            in_flight: Some(256),
            failed: [0, 7],
            ..Settings::default()
        };
        let pairing = Pairing::of(&[300.0, 200.0], &[100.0, 100.0]).unwrap();
        Row::paired(pairing.clone(), Unit::PerSecond, settings).costing(pairing)
    }

    #[test]
    fn a_summary_has_every_key_once_and_in_order() {
        let rows = |keys: &[&'static str]| keys.iter().map(|key| (*key, row())).collect::<Vec<_>>();
        assert!(Summary::of(rows(&KEYS[1..])).is_err());
        let mut swapped = KEYS;
        swapped.swap(0, 1);
        assert!(Summary::of(rows(&swapped)).is_err());
        let summary = Summary::of(rows(&KEYS)).unwrap();
        let text = serde_json::to_string(&summary).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json.as_object().unwrap().len(), KEYS.len());
        let one = &json["write_256_vs_etcd"];
        assert_eq!(
            (one["ratio"].as_f64(), one["unit"].as_str()),
            (Some(2.5), Some("1/s"))
        );
        assert_eq!(one["ratio_range"], serde_json::json!([2.0, 3.0]));
        assert_eq!(one["settings"]["in_flight"], 256);
        assert!(one["settings"].get("kills").is_none(), "{one}");
        assert!(one.get("rounds").is_none(), "they are kept apart");
    }

    #[test]
    fn the_rounds_of_a_row_are_kept_and_a_single_value_has_none() {
        let alone = Row::alone(2.2, Unit::Seconds, Settings::default());
        let part = Summary::of_part(vec![
            ("write_1_vs_etcd", row()),
            ("tenants_100k_list_all_s", alone),
        ]);
        let rounds = serde_json::to_value(part.rounds()).unwrap();
        let wanted = serde_json::json!({"write_1_vs_etcd": {"ours": [300.0, 200.0], "peer": [100.0, 100.0]}});
        assert_eq!(rounds, wanted);
    }

    #[test]
    fn every_key_is_explained() {
        for key in KEYS {
            assert!(
                DOCS.contains(&format!("`{key}`")),
                "docs/benchmarks.md lacks {key}"
            );
        }
    }

    #[test]
    fn a_table_says_what_was_compared_and_under_which_settings() {
        let rows = KEYS.map(|key| match key {
            "leader_kill_read_gap_max_s" => (key, Row::alone(0.02, Unit::Seconds, Settings::default())),
            _ => (key, row()),
        });
        let summary = Summary::of(rows.into()).unwrap();
        let measured = summary.markdown();
        assert!(
            measured.contains("| `write_256_vs_etcd` | 250/s | 100/s | 2.50 | 2.00–3.00 | 250 / 100 µs |\n"),
            "{measured}"
        );
        let table = summary.table();
        for part in [
            "250/s",
            "100/s",
            "2.50",
            "2.00–3.00",
            "250 / 100 µs",
            "256 in flight",
            "etcd 3.4.23",
            "failed 0 / 7",
            "0.02 s",
        ] {
            assert!(table.contains(part), "{part}: {table}");
        }
    }
}
