//! `reeve audit verify`: an export checked with nothing else at hand.
//!
//! ```text
//! shard a: 1, 2, …   shard b: 1, 2, …   then head a, head b     each shard once, in order, nothing left over
//! ```
//! Deliberately absent: whether the heads are the true ones. Compare them with heads kept elsewhere.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use reeve_domain::audit::{Break, Head, Verifier};

use super::Summary;
use super::line::Line;

/// What is wrong with an export, and where.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file cannot be read.
    #[error("reading {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A line is not what an export writes there.
    #[error("line {line}, after {after}: {why}")]
    Line {
        line: u64,
        /// The last thing that was right, for example "shard fleet record 7".
        after: String,
        why: String,
    },
    /// The chain is broken.
    #[error("line {line}: {broken}")]
    Chain { line: u64, broken: Break },
}

/// Checks every byte of an export.
pub fn file(path: &Path) -> Result<Summary, VerifyError> {
    let opened = File::open(path).map_err(|source| unread(path, source))?;
    lines(BufReader::new(opened), path)
}

pub(super) fn lines(mut reader: impl BufRead, path: &Path) -> Result<Summary, VerifyError> {
    let mut check = Check::default();
    let mut bytes = Vec::new();
    while reader
        .read_until(b'\n', &mut bytes)
        .map_err(|source| unread(path, source))?
        > 0
    {
        check.line += 1;
        check.take(&bytes)?;
        bytes.clear();
    }
    check.finish()
}

fn unread(path: &Path, source: io::Error) -> VerifyError {
    VerifyError::Read {
        path: path.to_owned(),
        source,
    }
}

#[derive(Default)]
struct Check {
    line: u64,
    records: u64,
    /// The shard that is being read.
    current: Option<(String, Verifier)>,
    /// Shards that were read and have not been compared with their head.
    read: VecDeque<(String, Verifier)>,
    heads: Vec<(String, Head)>,
}

impl Check {
    fn take(&mut self, bytes: &[u8]) -> Result<(), VerifyError> {
        let Some((b'\n', text)) = bytes.split_last() else {
            return Err(self.odd("it is cut off before its end"));
        };
        let text = std::str::from_utf8(text).map_err(|_| self.odd("it is not text"))?;
        match Line::parse(text).map_err(|why| self.odd(why))? {
            Line::Record(record) if self.heads.is_empty() => {
                self.enter(&record.shard)?;
                let line = self.line;
                let (_, verifier) = self
                    .current
                    .get_or_insert_with(|| (record.shard.clone(), Verifier::new(&record.shard)));
                verifier
                    .check(&record)
                    .map_err(|broken| VerifyError::Chain { line, broken })?;
                self.records += 1;
                Ok(())
            }
            Line::Record(_) => Err(self.odd("a record stands among the heads")),
            Line::Head { shard, head } => self.compare(shard, head),
        }
    }

    /// Moves on to a record's shard: shards stand in the order of their names, each in one piece.
    fn enter(&mut self, shard: &str) -> Result<(), VerifyError> {
        match &self.current {
            Some((current, _)) if current == shard => return Ok(()),
            Some((current, _)) if current.as_str() > shard => {
                return Err(self.odd(format!("shard {shard} stands out of order")));
            }
            _ => {}
        }
        self.read.extend(self.current.take());
        Ok(())
    }

    fn compare(&mut self, shard: String, head: Head) -> Result<(), VerifyError> {
        self.read.extend(self.current.take());
        let Some((expected, verifier)) = self.read.pop_front() else {
            return Err(self.odd(format!("shard {shard} has a head and no records")));
        };
        if expected != shard {
            return Err(self.odd(format!(
                "the head of shard {shard} stands where that of {expected} belongs"
            )));
        }
        let line = self.line;
        verifier
            .finish(&head)
            .map_err(|broken| VerifyError::Chain { line, broken })?;
        self.heads.push((shard, head));
        Ok(())
    }

    fn finish(mut self) -> Result<Summary, VerifyError> {
        self.read.extend(self.current.take());
        self.line += 1;
        if let Some((shard, verifier)) = self.read.front() {
            let last = verifier.head().sequence;
            return Err(self.odd(format!(
                "the file ends before the head of shard {shard} (its last record is {last})"
            )));
        }
        if self.heads.is_empty() {
            return Err(self.odd("the file is empty"));
        }
        Ok(Summary {
            shards: self.heads.len(),
            records: self.records,
            heads: self.heads,
        })
    }

    fn odd(&self, why: impl Into<String>) -> VerifyError {
        let after = match (&self.current, self.heads.last()) {
            (Some((shard, verifier)), _) => format!("shard {shard} record {}", verifier.head().sequence),
            (None, Some((shard, _))) => format!("the head of shard {shard}"),
            (None, None) => "nothing".to_owned(),
        };
        VerifyError::Line {
            line: self.line,
            after,
            why: why.into(),
        }
    }
}
