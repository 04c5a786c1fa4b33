//! Reading a log entry or a State of another release: whole, or not at all. To pass over what is unknown would be to
//! diverge from the nodes that know it.

use std::fmt;

use reeve_domain::{Entry, version};
use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::release::{self, NEXT};

/// Reads one entry, or says why this program cannot and what to do about it.
pub(super) fn decode(index: u64, bytes: &[u8]) -> Result<Entry, String> {
    let read = rmp_serde::from_slice::<Entry>(bytes);
    let why = match &read {
        Ok(entry) if !version::reads_entry(release::known(), entry.format) => String::new(),
        Ok(entry) if version::since(&entry.command) > release::known().max => String::new(),
        Ok(_) => return read.map_err(|error| error.to_string()),
        Err(error) => error.to_string(),
    };
    Err(unknown(index, bytes, &why))
}

fn unknown(index: u64, bytes: &[u8], why: &str) -> String {
    // What would be right instead is a list of all that this program knows.
    let why = why.split(", expected").next().unwrap_or_default();
    let why = if why.is_empty() {
        String::new()
    } else {
        format!(": {why}")
    };
    let what = match rmp_serde::from_slice::<Glimpse>(bytes) {
        Ok(seen) if !version::reads_entry(release::known(), seen.format) => {
            format!(
                "layout {} of an entry, with command {}",
                seen.format, seen.command.0
            )
        }
        Ok(seen) => format!("command {}", seen.command.0),
        Err(_) => "something else than an entry".to_owned(),
    };
    format!(
        "log entry {index} holds {what}, which this program ({}, cluster versions {}) does not know{why}; {NEXT}",
        release::program(),
        release::known()
    )
}

/// What can be seen of an entry whatever else is in it.
#[derive(Deserialize)]
struct Glimpse {
    #[serde(default)]
    format: u16,
    command: Word,
}

/// A variant's name, alone or in front of what it holds.
struct Word(String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Word, D::Error> {
        from.deserialize_any(WordVisitor)
    }
}

struct WordVisitor;

impl<'de> Visitor<'de> for WordVisitor {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Word, E> {
        Ok(Word(word.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Word, A::Error> {
        let Some((word, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? else {
            return Err(de::Error::custom("no command"));
        };
        Ok(Word(word))
    }
}

/// What can be seen of a State whatever else is in it.
#[derive(Deserialize)]
pub(super) struct StateGlimpse {
    cluster: ClusterGlimpse,
}

#[derive(Deserialize)]
struct ClusterGlimpse {
    version: u32,
}

/// Why a State that is whole cannot be read: another release wrote it.
pub(super) fn unknown_state(seen: &StateGlimpse, why: &str) -> String {
    let why = why.split(", expected").next().unwrap_or_default();
    format!(
        "it holds a State of cluster version {}, which this program ({}, cluster versions {}) cannot read: {why}; {NEXT}",
        seen.cluster.version,
        release::program(),
        release::known()
    )
}
