//! Reads the folder of a node that does not run: the newest snapshot and every entry behind it.
//!
//! Nobody is left who could say what was committed. What this log holds may have been acknowledged, so all of it
//! counts; what is not in it was acknowledged only if a majority was lost that this node was not in.

use std::io;
use std::path::Path;

use openraft::EntryPayload;
use reeve_domain::{Applied, State, apply};

use super::decode::decode;
use super::folder::{self, Folder};
use super::log::LogStore;
use super::snapshot::SnapshotStore;
use super::{Fatal, compare};
use crate::mutant::Mutant;
use crate::release;
use crate::vault::Sealer;

/// Entries read at once.
const CHUNK: u64 = 1_000;

/// A folder that no process uses, for as long as this lives.
pub struct Survivor {
    pub cluster: String,
    pub node_id: u64,
    _folder: Folder,
}

impl Survivor {
    /// Takes the folder of a node that was stopped, whoever it is of; not of one whose State strayed from the others'.
    pub fn take(data_dir: &Path) -> io::Result<Survivor> {
        compare::check(data_dir)?;
        let (cluster, node_id) = folder::owner(data_dir)?;
        let folder = Folder::take(data_dir, &cluster, node_id)?;
        Ok(Survivor {
            cluster,
            node_id,
            _folder: folder,
        })
    }
}

/// The State of a folder after everything in its log. `heard` is told of each change behind the snapshot, in order.
pub fn read(
    data_dir: &Path,
    cluster: &str,
    sealer: Sealer,
    mut heard: impl FnMut(Applied) -> io::Result<()>,
) -> io::Result<State> {
    let log = LogStore::open(data_dir, sealer.clone(), Fatal::new(|_| {}))?;
    let snapshots = SnapshotStore::open(data_dir.join("snapshots"), cluster, sealer)?;
    let (last, mut state) = match snapshots.best(log.purged()?)? {
        Some((meta, state)) => (meta.last_log_id.map(|id| id.index), state),
        None => (None, State::default()),
    };
    let mut from = last.map_or(0, |index| index + 1);
    let end = match Mutant::RecoverCommittedOnly.is_planted() {
        true => log.committed_end()?,
        false => log.end()?,
    };
    while from < end {
        let to = end.min(from + CHUNK);
        for entry in log.read(from, to)? {
            let index = entry.log_id.index;
            if index != from {
                let why = format!("log entry {from} is missing; the log goes on at {index}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            from += 1;
            let EntryPayload::Normal(payload) = entry.payload else {
                continue;
            };
            let entry = decode(index, &payload.0).map_err(io::Error::other)?;
            heard(apply(&mut state, &entry))?;
            release::check(state.cluster.version).map_err(io::Error::other)?;
        }
        if from < to {
            let why = format!("log entry {from} is missing");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
    }
    Ok(state)
}
