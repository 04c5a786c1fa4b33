//! How results look: tables for people, JSON, YAML and shell variables for programs, all from the same values.

pub mod alert;
pub mod cluster;
pub mod env;
pub mod group;
pub mod health;
pub mod isolation;
pub mod operation;
pub mod page;
pub mod principal;
pub mod record;
pub mod region;
pub mod resolution;
pub mod secret;
pub mod tenant;
#[cfg(test)]
mod tests;
pub mod ticks;
mod words;

use reeve_client::v1;
use serde::Serialize;

use crate::fail::Failure;

pub use page::{Look, Page, col, cut, pairs, spare, table, wide, wrap};
pub use words::{ago_ms, bytes, plain, time, to_the_second, took};

/// A result.
pub trait Show: Serialize + Sized {
    /// What people read.
    fn page(&self) -> Page;

    /// The same as a file shows it, without a line end.
    fn table(&self) -> String {
        self.page().plain()
    }

    fn json(&self) -> String {
        // Our own structs of text and numbers: there is nothing in them that JSON could refuse.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// One object a line: the elements of a list, and of anything else itself.
    fn lines(&self) -> Vec<String> {
        lines(std::slice::from_ref(self))
    }

    /// The document that `json` is.
    fn yaml(&self) -> Result<String, Failure> {
        let text = serde_saphyr::to_string(self);
        let text = text.map_err(|error| Failure::error("the result is no YAML", error.to_string()))?;
        Ok(text.trim_end().to_owned())
    }

    /// What a script calls each thing by. Only verbs that list have names, and only they are let in with `-o name`.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Each as JSON in a line of its own.
pub fn lines<T: Serialize>(all: &[T]) -> Vec<String> {
    let line = |one: &T| serde_json::to_string(one).unwrap_or_default();
    all.iter().map(line).collect()
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
