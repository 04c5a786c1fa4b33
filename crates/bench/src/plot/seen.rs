//! A kept summary, read back: rows under their keys, and the rounds that they were made of.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::pairing::Rounds;

/// What is known of one run.
#[derive(Debug)]
pub struct Seen {
    rows: BTreeMap<String, Entry>,
    rounds: BTreeMap<String, Rounds>,
}

/// Of a row, what a picture shows.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub ours: f64,
    pub peer: Option<f64>,
    pub settings: Circumstances,
}

#[derive(Debug, Deserialize)]
pub(super) struct Circumstances {
    commit: String,
    etcd: String,
    cores: usize,
    nodes: usize,
    quick: bool,
    rounds: Option<usize>,
    seconds: Option<u64>,
    kills: Option<usize>,
    /// Of ours, and of the peer's.
    pub rates: Option<[u32; 2]>,
}

/// A value of either side, and what its rounds lay between, as far as they were kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub value: f64,
    pub range: Option<[f64; 2]>,
}

impl Seen {
    /// Reads a summary, and the rounds beside it; a summary from before they were kept has none.
    pub fn parse(summary: &str, rounds: Option<&str>) -> Result<Seen> {
        Ok(Seen {
            rows: serde_json::from_str(summary).context("reading the summary")?,
            rounds: match rounds {
                Some(text) => serde_json::from_str(text).context("reading the rounds")?,
                None => BTreeMap::new(),
            },
        })
    }

    pub(super) fn row(&self, key: &str) -> Result<&Entry> {
        self.rows
            .get(key)
            .with_context(|| format!("the row {key} is missing"))
    }

    pub(super) fn rounds(&self, key: &str) -> Result<&Rounds> {
        self.rounds
            .get(key)
            .with_context(|| format!("the rounds of {key} are missing"))
    }

    /// Ours, and the peer's.
    pub(super) fn sides(&self, key: &str) -> Result<[Spread; 2]> {
        let row = self.row(key)?;
        let peer = row.peer.with_context(|| format!("{key} has no peer"))?;
        let rounds = self.rounds.get(key);
        let spread = |value, side: fn(&Rounds) -> &[f64]| Spread {
            value,
            range: rounds.and_then(|rounds| range(side(rounds))),
        };
        Ok([
            spread(row.ours, |rounds| &rounds.ours),
            spread(peer, |rounds| &rounds.peer),
        ])
    }
}

impl Spread {
    /// Everything that must fit into the picture.
    pub fn all(self) -> impl Iterator<Item = f64> {
        [self.value].into_iter().chain(self.range.into_iter().flatten())
    }
}

impl Circumstances {
    /// A line that stands under a title.
    pub fn line(&self) -> String {
        let parts = [
            self.quick.then(|| "SMOKE TEST, WORTH NOTHING".to_owned()),
            self.rounds
                .zip(self.seconds)
                .map(|(rounds, seconds)| format!("{rounds} rounds of {seconds} s")),
            self.kills.map(|kills| format!("{kills} kills of each")),
            Some(format!("{} nodes each, on {} cores", self.nodes, self.cores)),
            Some(format!("commit {}", self.commit)),
            Some(format!("etcd {}", self.etcd)),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// The least and the greatest.
fn range(values: &[f64]) -> Option<[f64; 2]> {
    let least = values.iter().copied().min_by(f64::total_cmp)?;
    let greatest = values.iter().copied().max_by(f64::total_cmp)?;
    Some([least, greatest])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = r#"{
        "write_1_vs_etcd": {"ours": 250, "peer": 100, "ratio": 2.5, "unit": "1/s", "settings": {
            "commit": "abc", "etcd": "3.4.23", "cores": 2, "nodes": 3, "quick": true, "rounds": 4, "seconds": 5}},
        "leader_kill_read_gap_max_s": {"ours": 0.02, "peer": null, "unit": "s", "settings": {
            "commit": "abc", "etcd": "3.4.23", "cores": 2, "nodes": 3, "quick": false, "kills": 20}}
    }"#;
    const ROUNDS: &str = r#"{"write_1_vs_etcd": {"ours": [300, 200], "peer": [100, 90]}}"#;

    #[test]
    fn a_summary_is_read_with_its_rounds_and_without() {
        let seen = Seen::parse(SUMMARY, Some(ROUNDS)).unwrap();
        let [ours, peer] = seen.sides("write_1_vs_etcd").unwrap();
        assert_eq!((ours.value, ours.range), (250.0, Some([200.0, 300.0])));
        assert_eq!(peer.all().collect::<Vec<_>>(), [100.0, 90.0, 100.0]);

        let older = Seen::parse(SUMMARY, None).unwrap();
        assert_eq!(older.sides("write_1_vs_etcd").unwrap()[0].range, None);
        assert!(older.rounds("write_1_vs_etcd").is_err());
        assert!(Seen::parse("[]", None).is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        let seen = Seen::parse(SUMMARY, None).unwrap();
        let missing = seen.sides("write_16_vs_etcd").unwrap_err().to_string();
        assert_eq!(missing, "the row write_16_vs_etcd is missing");
        assert!(seen.sides("leader_kill_read_gap_max_s").is_err(), "no peer");
    }

    #[test]
    fn a_smoke_test_says_so_first() {
        let seen = Seen::parse(SUMMARY, None).unwrap();
        let line = |key: &str| seen.row(key).unwrap().settings.line();
        let quick = line("write_1_vs_etcd");
        assert!(
            quick.starts_with("SMOKE TEST") && quick.contains("4 rounds of 5 s"),
            "{quick}"
        );
        assert!(line("leader_kill_read_gap_max_s").starts_with("20 kills"));
    }
}
