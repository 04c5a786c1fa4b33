//! Runs `reeve-registry snapshot …` and reads what it says.

use std::ffi::OsStr;
use std::process::Command;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::fail::Failure;
use crate::show::{Page, Show, bytes, pairs};

/// One object of JSON that the program printed.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Told(pub(super) Map<String, Value>);

/// Runs it; `what` says what was not done if it fails.
pub(super) fn ask<A: AsRef<OsStr>>(args: &[A], what: impl Into<String>) -> Result<Told, Failure> {
    let what = what.into();
    let program = reeve_local::registry_program()?;
    let ran = Command::new(&program).arg("snapshot").args(args).output();
    let ran = ran.map_err(|error| Failure::error(&what, format!("{}: {error}", program.display())))?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        return Err(Failure::error(what, said.trim().trim_start_matches("Error: ")));
    }
    let object = serde_json::from_slice::<Map<String, Value>>(&ran.stdout);
    let garbled = |error| {
        Failure::error(
            what,
            format!("{} said something else: {error}", program.display()),
        )
    };
    object.map(Told).map_err(garbled)
}

impl Told {
    pub(super) fn text(&self, key: &str) -> String {
        match self.0.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        }
    }

    pub(super) fn number(&self, key: &str) -> u64 {
        self.0.get(key).and_then(Value::as_u64).unwrap_or_default()
    }

    /// A text between two others; nothing when it is not there.
    pub(super) fn part(&self, before: &str, key: &str, behind: &str) -> String {
        match self.text(key) {
            text if text.is_empty() => text,
            text => format!("{before}{text}{behind}"),
        }
    }

    /// What is nested below a key.
    pub(super) fn below(&self, key: &str) -> Option<Told> {
        self.0.get(key)?.as_object().cloned().map(Told)
    }

    /// A time in milliseconds since 1970, for people.
    pub(super) fn time(&self, key: &str) -> String {
        let millis = i64::try_from(self.number(key)).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), |at| at.to_string())
    }
}

impl Show for Told {
    fn page(&self) -> Page {
        let inside = self.below("inside");
        let inside = inside.as_ref().unwrap_or(self);
        pairs([
            ("cluster", one_of(inside, "cluster", "cluster_id")),
            ("revision", inside.text("revision")),
            ("saved", inside.time("saved_ms")),
            ("tenants", inside.text("tenants")),
            ("records", inside.text("records")),
            ("audit shards", inside.text("shards")),
            ("written by", one_of(inside, "program", "node")),
            ("state hash", inside.text("state_hash")),
            ("size", bytes(self.number("bytes"))),
            ("blocks", self.text("blocks")),
            ("root key", self.text("root_key")),
            ("sha256", self.text("sha256")),
        ])
    }
}

fn one_of(told: &Told, name: &str, id: &str) -> String {
    let (name, id) = (told.text(name), told.text(id));
    match (name.is_empty(), id.is_empty()) {
        (true, _) => id,
        (false, true) => name,
        (false, false) => format!("{name} ({id})"),
    }
}
