//! How results look: tables for people, JSON for programs, both from the same values.

pub mod alert;
pub mod cluster;
pub mod group;
pub mod health;
pub mod isolation;
pub mod operation;
pub mod record;
pub mod resolution;
pub mod secret;
pub mod tenant;
#[cfg(test)]
mod tests;
mod words;

use comfy_table::{ContentArrangement, Table, presets};
use reeve_client::v1;
use serde::Serialize;

pub use words::{ago_ms, bytes, plain, time, took};

/// A result.
pub trait Show: Serialize {
    /// Without a line end.
    fn table(&self) -> String;

    fn json(&self) -> String {
        // Our own structs of text and numbers: there is nothing in them that JSON could refuse.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// What a script calls each thing by. Only verbs that list have names, and only they are let in with `-o name`.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// How fresh an answer is.
#[derive(Clone, Debug, Serialize)]
pub struct Freshness {
    pub revision: u64,
    pub staleness_ms: Option<u64>,
    pub stale: bool,
    pub node_id: u64,
}

impl Freshness {
    pub fn of(freshness: Option<v1::Freshness>) -> Freshness {
        let freshness = freshness.unwrap_or_default();
        Freshness {
            revision: freshness.revision,
            staleness_ms: freshness.staleness.map(ago_ms),
            stale: freshness.stale,
            node_id: freshness.node_id,
        }
    }
}

/// Columns that line up, without lines between them.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.to_vec());
    for row in rows {
        table.add_row(
            row.into_iter()
                .map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }),
        );
    }
    trimmed(&mut table)
}

/// Names on the left, values on the right; what has no value is left out.
pub fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in pairs {
        if !value.is_empty() {
            table.add_row([name.to_owned(), value]);
        }
    }
    trimmed(&mut table)
}

fn trimmed(table: &mut Table) -> String {
    table.set_content_arrangement(ContentArrangement::Disabled);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}
