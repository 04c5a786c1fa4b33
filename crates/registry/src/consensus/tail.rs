//! The tail of the log, looked at before `raft-log` opens it and cuts off what it cannot read.
//!
//! A crash may cut the last records off. It leaves no whole record behind a broken one: where there is one, the
//! disk has lost what was acknowledged, and this node must not go on with less.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use raft_log::RaftLogRecord;
use raft_log::codeq::Decode;

use super::wal::Wal;

/// Refuses a log with whole records behind one that cannot be read.
pub(super) fn check(folder: &Path) -> io::Result<()> {
    let mut files = chunks(folder)?;
    // A file without a whole first record is dropped when the log opens: then the one before it is the last.
    while let Some(path) = files.pop() {
        let bytes = fs::read(&path)?;
        let end = readable(&bytes);
        if let Some(at) = record_behind(&bytes, end) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} cannot be read at byte {end}, and has a whole record behind it at byte {at}: it is damaged; \
                     remove this node and join it anew",
                    path.display()
                ),
            ));
        }
        if end > 0 {
            break;
        }
    }
    Ok(())
}

fn chunks(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            files.push(path);
        }
    }
    // Their names are padded, so this is their order.
    files.sort();
    Ok(files)
}

/// Where the records that can be read from the beginning on end.
fn readable(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    loop {
        let begins = bytes.len() - rest.len();
        if rest.is_empty() || RaftLogRecord::<Wal>::decode(&mut rest).is_err() {
            return begins;
        }
    }
}

fn record_behind(bytes: &[u8], broken: usize) -> Option<usize> {
    // Every record begins with one of six types, in four bytes.
    const TYPES: u32 = 6;
    (broken + 1..bytes.len()).find(|at| {
        let rest = &bytes[*at..];
        let kind = rest.first_chunk().map(|kind| u32::from_be_bytes(*kind));
        kind.is_some_and(|kind| kind < TYPES) && RaftLogRecord::<Wal>::decode(rest).is_ok()
    })
}
