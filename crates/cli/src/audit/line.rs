//! One line of an export, and the only way it may be written.
//!
//! ```text
//! {"shard":"fleet","sequence":1,"canonical":"…","leaf":"…","previous":"…","chain":"…"}     a record
//! {"head":{"shard":"fleet","sequence":1,"chain":"…"}}                                        a shard's end
//! ```
//! A line has exactly one spelling, so that no byte of a file can change unnoticed.

use reeve_domain::audit::{Head, Record};
use serde::{Deserialize, Serialize};

/// A line as it is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Record(Record),
    Head { shard: String, head: Head },
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Record(RecordLine),
    Head(HeadLine),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordLine {
    shard: String,
    sequence: u64,
    canonical: String,
    leaf: String,
    previous: String,
    chain: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadLine {
    head: HeadFields,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadFields {
    shard: String,
    sequence: u64,
    chain: String,
}

impl Line {
    /// Reads a line without its end.
    pub fn parse(text: &str) -> Result<Line, String> {
        let written: Written =
            serde_json::from_str(text).map_err(|_| "it is neither a record nor a head".to_owned())?;
        let line = match written {
            Written::Record(line) => Line::Record(Record {
                shard: line.shard,
                sequence: line.sequence,
                canonical: hex::decode(&line.canonical).map_err(|e| format!("canonical: {e}"))?,
                leaf: hash("leaf", &line.leaf)?,
                previous: hash("previous", &line.previous)?,
                chain: hash("chain", &line.chain)?,
            }),
            Written::Head(HeadLine { head }) => Line::Head {
                head: Head {
                    sequence: head.sequence,
                    chain: hash("chain", &head.chain)?,
                },
                shard: head.shard,
            },
        };
        if line.write() != text {
            return Err("it says the right thing in another spelling; an export never does".to_owned());
        }
        Ok(line)
    }

    /// The line, without its end.
    pub fn write(&self) -> String {
        let written = match self {
            Line::Record(record) => Written::Record(RecordLine {
                shard: record.shard.clone(),
                sequence: record.sequence,
                canonical: hex::encode(&record.canonical),
                leaf: hex::encode(record.leaf),
                previous: hex::encode(record.previous),
                chain: hex::encode(record.chain),
            }),
            Line::Head { shard, head } => Written::Head(HeadLine {
                head: HeadFields {
                    shard: shard.clone(),
                    sequence: head.sequence,
                    chain: hex::encode(head.chain),
                },
            }),
        };
        // Strings and numbers alone: there is nothing in them that JSON could refuse.
        serde_json::to_string(&written).unwrap_or_default()
    }
}

fn hash(field: &str, text: &str) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|e| format!("{field}: {e}"))?;
    Ok(hash)
}
