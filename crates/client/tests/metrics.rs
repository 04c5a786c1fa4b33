//! What a fleet shows is what docs/metrics.md and the documentation of `register_metrics` list.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::collections::{BTreeMap, BTreeSet};

use prometheus_client::{encoding::text, registry::Registry};
use reeve_client::stand;

const PAGE: &str = include_str!("../../../docs/metrics.md");
const SOURCE: &str = include_str!("../src/metrics.rs");

/// Everything that is shown once the watch was heard: a row of the page for each metric.
fn shown() -> BTreeSet<String> {
    let (fleet, feed) = stand::fleet();
    feed.list([stand::hospital(1, 5)], 9);
    let mut registry = Registry::default();
    fleet.register_metrics(&mut registry);
    let mut page = String::new();
    text::encode(&mut page, &registry).unwrap();

    let (mut rows, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut last = String::new();
    for line in page.lines() {
        let told = |mark: &str| line.strip_prefix(mark)?.split_once(' ');
        if let Some((name, help)) = told("# HELP ") {
            last = name.to_owned();
            rows.insert(last.clone(), help.trim_end_matches('.').to_owned());
        } else if let Some((name, kind)) = told("# TYPE ") {
            kinds.insert(name.to_owned(), kind.to_owned());
        } else if let Some((_, all)) = line.split_once('{') {
            let names = all.split(',').filter_map(|label| label.split_once("=\""));
            let names = names.map(|(name, _)| name.to_owned()).filter(|name| name != "le");
            labels.entry(last.clone()).or_default().extend(names);
        }
    }
    let row = |(name, help): (&String, &String)| {
        let of_it = labels.get(name).into_iter().flatten();
        let of_it: Vec<_> = of_it.map(|label| format!("`{label}`")).collect();
        let (kind, of_it) = (&kinds[name], of_it.join(" "));
        let end = if kind == "counter" { "_total" } else { "" };
        format!("| `{name}{end}` | {kind} | {of_it} | {help} |")
    };
    rows.iter().map(row).collect()
}

#[test]
fn every_metric_is_listed_as_it_is() {
    let (_, listed) = PAGE.split_once("\n## A service\n").unwrap();
    let listed = listed.lines().filter(|line| line.starts_with("| `reeve_"));
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    let shown = shown();
    let missing: Vec<_> = shown.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&shown).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/metrics.md lacks {missing:#?}\nand lists {gone:#?}, which no fleet shows"
    );
}

#[test]
fn the_documentation_of_the_call_lists_the_same_metrics_with_the_same_labels() {
    let head = |row: &str, labels_at: usize| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels: BTreeSet<&str> = cells[labels_at].split_whitespace().collect();
        format!("{} {labels:?}", cells[1])
    };
    let rows = SOURCE.lines().filter_map(|line| line.trim().strip_prefix("/// "));
    let rows = rows.filter(|row| row.starts_with("| `reeve_"));
    let documented: BTreeSet<String> = rows.map(|row| head(row, 2)).collect();
    let shown: BTreeSet<String> = shown().iter().map(|row| head(row, 3)).collect();
    assert_eq!(documented, shown);
}

#[test]
fn no_label_can_name_a_tenant() {
    let bounded = ["outcome", "source", "state", "wanted"].map(|label| format!("`{label}`"));
    for row in shown() {
        let labels = row
            .split('|')
            .nth(3)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned);
        let strange: Vec<_> = labels.filter(|label| !bounded.contains(label)).collect();
        assert!(strange.is_empty(), "{row}");
    }
}
