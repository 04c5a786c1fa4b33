//! The table: of every call, who asks, a request, how it ends, and what each of its fields is.
//!
//! A request that would change something ends in a refusal of its own, the last that can come: a stale etag, a region
//! that is not there. So a bad value must be refused before it, and a legal one comes to it and changes nothing.

pub mod agents;
mod registry;
mod tenants;

use anyhow::{Result, ensure};
use reeve_proto::error::Reason;
use serde_json::Value;

use crate::hostile::Kind;
use crate::judge::{self, Ends};
use crate::world::{Who, World};

/// One call, as it is asked before anything bad is put into it.
pub struct Door {
    /// `TenantService/CreateTenant`; behind a `#`, which message of a session.
    pub call: &'static str,
    pub who: Who,
    pub base: Value,
    pub ends: Ends,
    pub fields: Vec<(&'static str, Kind)>,
}

/// Calls that have nothing to fill in, and why they are not asked.
pub const NOT_ASKED: [(&str, &str); 2] = [
    (
        "BenchService/Empty",
        "served only where it is measured, and empty",
    ),
    (
        "ClusterService/SaveSnapshot",
        "empty; who may not is refused as everywhere",
    ),
];

/// All calls.
pub fn doors(world: &World) -> Vec<Door> {
    let mut all = tenants::doors(world);
    all.extend(registry::doors(world));
    all.extend(agents::doors());
    all
}

impl Door {
    /// The call without the message of a session.
    pub fn rpc(&self) -> &'static str {
        self.call.split_once('#').map_or(self.call, |(rpc, _)| rpc)
    }

    /// Of these paths, those that this door has rows for; all of them, but in a session.
    pub fn own<'a>(&self, paths: &'a [String]) -> Vec<&'a String> {
        let part = self.call.split_once('#').map(|(_, part)| part);
        let is_own = |path: &&String| {
            part.is_none_or(|part| path.as_str() == part || path.starts_with(&format!("{part}.")))
        };
        paths.iter().filter(is_own).collect()
    }

    /// What a field is. One that is not in the table, and a row that is of no field, are errors.
    pub fn kind(&self, path: &str) -> Option<&Kind> {
        self.fields
            .iter()
            .find(|(row, _)| covers(row, path))
            .map(|(_, kind)| kind)
    }

    /// Holds that the table is of these fields, no more and no less.
    pub fn hold(&self, paths: &[&String]) -> Result<()> {
        for path in paths {
            let rows = self.fields.iter().filter(|(row, _)| covers(row, path)).count();
            ensure!(rows > 0, "{}: {path} has no row; say what it is", self.call);
            ensure!(rows == 1, "{}: {path} has {rows} rows", self.call);
        }
        for (row, _) in &self.fields {
            let is_used = paths.iter().any(|path| covers(row, path));
            ensure!(is_used, "{}: there is no field {row}", self.call);
        }
        Ok(())
    }
}

/// `placement.*` is all of it.
fn covers(row: &str, path: &str) -> bool {
    match row.strip_suffix(".*") {
        Some(part) => {
            path == part || path.starts_with(&format!("{part}.")) || path.starts_with(&format!("{part}[]"))
        }
        None => row == path,
    }
}

type Fields = Vec<(&'static str, Kind)>;

/// Nothing hostile is ever one.
const NEVER: Kind = Kind::Text(|_| false);
const EMPTY_OR_NOT: Kind = Kind::Text(str::is_empty);
/// A good one was used, by the row before.
const REQUEST_ID: Kind = Kind::OnlyBad(&Kind::Text(|text| is_visible(text, 1, 64)));
const REASON: Kind = Kind::Text(|text| is_line(text, 500));
const NOTE: Kind = Kind::Text(|text| is_line(text, 200));
/// What is typed again: nothing but the one word will do.
const CONFIRM: (&str, Kind) = ("confirm", Kind::Word(|_| false, Reason::ConfirmationMissing));
const ETAG: Kind = Kind::OnlyBad(&Kind::Text(|text| is_visible(text, 0, 64)));
const NETWORK: Kind = Kind::Text(|text| is_visible(text, 0, 63));
/// Whatever is said means something.
const ANY: Kind = Kind::Flag;

fn is_visible(text: &str, min: usize, max: usize) -> bool {
    (min..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn is_line(text: &str, max: usize) -> bool {
    text.len() <= max && !text.chars().any(|c| c.is_control() || judge::is_turning(c))
}

/// How fresh an answer must be.
fn read() -> Fields {
    vec![
        ("read", Kind::Part(None)),
        ("read.linearizable", ANY),
        (
            "read.at_least_revision",
            Kind::Count(|revision| revision <= 1, Reason::NotCaughtUp),
        ),
        ("read.bounded", Kind::Length(is_bound)),
        ("read.stale", ANY),
    ]
}

fn is_bound(seconds: i64, nanos: i32) -> bool {
    is_length(seconds, nanos) && seconds < 3600
}

fn is_length(seconds: i64, nanos: i32) -> bool {
    seconds >= 0 && (0..1_000_000_000).contains(&nanos)
}

fn page() -> Fields {
    vec![("page_size", ANY), ("page_token", EMPTY_OR_NOT)]
}

fn turn() -> Fields {
    vec![
        ("turn", Kind::Part(None)),
        ("turn.on_conflict", Kind::Enum(true)),
        ("turn.priority", Kind::Enum(true)),
    ]
}

fn all(parts: impl IntoIterator<Item = Fields>) -> Fields {
    parts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(fields: Fields) -> Door {
        Door {
            call: "TenantService/GetTenant",
            who: Who::Admin,
            base: Value::Null,
            ends: Ends::Done,
            fields,
        }
    }

    #[test]
    fn a_field_without_a_row_and_a_row_without_a_field_are_told() {
        let paths = ["tenant".to_owned(), "read".to_owned(), "read.stale".to_owned()];
        let paths: Vec<_> = paths.iter().collect();
        let hold = |fields| door(fields).hold(&paths).map_err(|error| error.to_string());
        assert_eq!(hold(vec![("tenant", NEVER), ("read.*", ANY)]), Ok(()));
        assert!(
            hold(vec![("tenant", NEVER)])
                .unwrap_err()
                .contains("read has no row")
        );
        let twice = vec![("tenant", NEVER), ("tenant", ANY), ("read.*", ANY)];
        assert!(hold(twice).unwrap_err().contains("2 rows"));
        let more = vec![("tenant", NEVER), ("read.*", ANY), ("slug", NEVER)];
        assert!(hold(more).unwrap_err().contains("no field slug"));
    }
}
