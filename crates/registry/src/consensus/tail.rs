//! The tail of the log, looked at before `raft-log` opens it and cuts off what it cannot read.
//!
//! A crash leaves three traces behind the last flush: a file that is too short, a record cut off, and sectors that
//! never reached the disk and read as zeros, while later ones did. All of that was promised to nobody and is cut
//! off. Whatever else cannot be read was changed after it was written: the disk has lost what was acknowledged,
//! and this node must not go on with less. (That the cut takes nothing that was durable, the mark checks next.)

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use raft_log::codeq::Decode;
use raft_log::{RaftLogAction, RaftLogRecord};

use super::folder::REJOIN;
use super::log::place;
use super::wal::Wal;
use crate::vault::Sealer;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// Read and opened between two rests.
const BYTES_AT_ONCE: usize = 1 << 20;
/// So often, and so far apart, the end of a log in use is read again before it counts as damaged.
const WRITTEN_NOW_TRIES: usize = 5;
const WRITTEN_NOW: Duration = Duration::from_millis(200);

/// Cuts off what a crash left behind, and refuses a log that was damaged otherwise.
pub(super) fn mend(folder: &Path) -> io::Result<()> {
    let mut files = chunks(folder)?;
    // A file without a whole first record is dropped when the log opens: then the one before it is the last.
    while let Some(path) = files.pop() {
        let bytes = fs::read(&path)?;
        let end = readable(&bytes);
        if let Some(why) = damage(&bytes, end) {
            let path = path.display();
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{path} cannot be read at byte {end}, {why}: it is damaged; {REJOIN}"),
            ));
        }
        cut(&path, &bytes, end)?;
        if end > 0 {
            break;
        }
    }
    // The earlier ones ended before this one began.
    files.iter().try_for_each(|path| {
        let bytes = fs::read(path)?;
        match odd(path, &bytes, readable(&bytes)) {
            Some(odd) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}; {REJOIN}", odd.why),
            )),
            None => Ok(()),
        }
    })
}

/// Reads every file again while the log is in use, and opens every entry. `rest` is told how much was read, and may end
/// it; what is damaged is told.
pub(super) fn check(
    folder: &Path,
    sealer: &Sealer,
    mut rest: impl FnMut(u64) -> io::Result<()>,
    mut damaged: impl FnMut(String),
) -> io::Result<()> {
    let files = chunks(folder)?;
    for (at, path) in files.iter().enumerate() {
        // What is written just now is half there, and whole a moment later: damage stays where it is.
        let is_written = at + 1 == files.len();
        let tries = if is_written { WRITTEN_NOW_TRIES } else { 1 };
        let (mut first, mut last) = (None, None);
        for number in 0..tries {
            let looked = match fs::read(path) {
                Ok(bytes) => unreadable(path, &bytes, sealer, &mut rest)?,
                // It was purged meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            if number == 0 {
                first = looked.as_ref().map(|odd| odd.at);
            }
            last = looked;
            if last.is_none() || !is_written {
                break;
            }
            std::thread::sleep(WRITTEN_NOW);
        }
        let odd = last.filter(|odd| first == Some(odd.at));
        odd.map(|odd| odd.why).into_iter().for_each(&mut damaged);
    }
    Ok(())
}

/// Where a file of a log in use cannot be read, or an entry in it does not open.
fn unreadable(
    path: &Path,
    bytes: &[u8],
    sealer: &Sealer,
    rest: &mut impl FnMut(u64) -> io::Result<()>,
) -> io::Result<Option<Odd>> {
    let (mut at, mut rested) = (0, 0);
    while at < bytes.len() {
        let mut left = &bytes[at..];
        let Ok(record) = RaftLogRecord::<Wal>::decode(&mut left) else {
            break;
        };
        if let RaftLogRecord::Action(RaftLogAction::Append((_, index), payload)) = &record
            && sealer.open(&place(*index), payload).is_err()
        {
            let why = format!(
                "{} holds an entry {index} at byte {at} that does not open: it is damaged, or was sealed for another place",
                path.display()
            );
            return Ok(Some(Odd { at, why }));
        }
        at = bytes.len() - left.len();
        if at - rested >= BYTES_AT_ONCE {
            rest((at - rested) as u64)?;
            rested = at;
        }
    }
    rest((bytes.len() - rested) as u64)?;
    Ok(odd(path, bytes, at))
}

/// Where a file cannot be read.
struct Odd {
    at: usize,
    why: String,
}

/// Where its whole records end before the file does.
fn odd(path: &Path, bytes: &[u8], at: usize) -> Option<Odd> {
    let all = bytes.len();
    (at < all).then(|| Odd {
        at,
        why: format!(
            "{} cannot be read at byte {at} of {all}: it is damaged",
            path.display()
        ),
    })
}

/// Why what stands behind the last whole record is not what a crash leaves.
fn damage(bytes: &[u8], end: usize) -> Option<String> {
    let is_cut_short = is_cut_short(&bytes[end..]);
    let next = record_behind(bytes, end);
    if has_lost_sector(bytes, end, next.unwrap_or(bytes.len())) {
        return None;
    }
    match next {
        Some(at) => Some(format!("and has a whole record behind it at byte {at}")),
        None if is_cut_short => None,
        None => Some("and no part of it is missing".to_owned()),
    }
}

/// Takes the rest away, so that what `raft-log` finds ends with a whole record.
fn cut(path: &Path, bytes: &[u8], end: usize) -> io::Result<()> {
    let torn = bytes.len() - end;
    if torn == 0 {
        return Ok(());
    }
    tracing::warn!(path = %path.display(), end, torn, "a crash tore the end of the log off");
    let file = fs::OpenOptions::new().write(true).open(path)?;
    file.set_len(end as u64)?;
    file.sync_all()
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

fn is_cut_short(mut rest: &[u8]) -> bool {
    let read = RaftLogRecord::<Wal>::decode(&mut rest);
    read.is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

/// Whether a sector between two places never reached the disk. What was flushed before `from` lies in the same
/// sector as what came after it, so only the part behind it counts.
fn has_lost_sector(bytes: &[u8], from: usize, to: usize) -> bool {
    let first = from / SECTOR_BYTES;
    let last = to.div_ceil(SECTOR_BYTES);
    (first..last).any(|sector| {
        let begins = (sector * SECTOR_BYTES).max(from);
        let ends = ((sector + 1) * SECTOR_BYTES).min(bytes.len());
        begins < ends && bytes[begins..ends].iter().all(|byte| *byte == 0)
    })
}
