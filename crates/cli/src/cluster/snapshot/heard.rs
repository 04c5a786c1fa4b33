//! What agents' records did to a restore, for people.

use serde_json::{Map, Value};

use super::offline::Told;
use crate::show::{Page, col, cut, pairs, table, wrap};

/// What came back, what is newer, what waits for a person and why, and what was not believed.
pub(super) fn page_of(heard: &Told) -> Page {
    let count = |key: &str| rows(heard, key).len().to_string();
    let mut page = pairs([
        ("files", heard.text("files")),
        ("believed", heard.text("records")),
        ("refused", count("refused")),
        ("decisions", count("verdicts")),
        ("tenants without word", heard.text("unsaid")),
    ])
    .under("records of agents");
    let verdicts = rows(heard, "verdicts").into_iter().map(|row| {
        let sources = words(row, "sources").join(", ");
        let why = words(row, "why").join("\n");
        vec![
            word(row, "name"),
            word(row, "subject"),
            word(row, "fate"),
            sources,
            why,
        ]
    });
    let verdicts: Vec<_> = verdicts.collect();
    if !verdicts.is_empty() {
        let head = [col("NAME"), col("SUBJECT"), col("FATE"), cut("BY"), wrap("WHY")];
        page = page.and(table(head, verdicts));
    }
    let refused = rows(heard, "refused").into_iter().map(|row| {
        vec![
            word(row, "file"),
            word(row, "subject"),
            word(row, "revision"),
            word(row, "why"),
        ]
    });
    let refused: Vec<_> = refused.collect();
    if !refused.is_empty() {
        let head = [col("REFUSED IN"), col("SUBJECT"), col("REVISION"), wrap("WHY")];
        page = page.and(table(head, refused));
    }
    page
}

fn rows<'a>(heard: &'a Told, key: &str) -> Vec<&'a Map<String, Value>> {
    let all = heard.0.get(key).and_then(Value::as_array);
    all.into_iter().flatten().filter_map(Value::as_object).collect()
}

fn word(row: &Map<String, Value>, key: &str) -> String {
    match row.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn words(row: &Map<String, Value>, key: &str) -> Vec<String> {
    let all = row.get(key).and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
