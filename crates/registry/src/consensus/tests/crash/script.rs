//! What the child does to a log and its snapshots, always the same, and what must be left of it.

use std::io::Write;
use std::path::Path;

use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reeve_domain::State;

use super::super::store::append_all;
use crate::consensus::Fatal;
use crate::consensus::log::LogStore;
use crate::consensus::snapshot::SnapshotStore;
use crate::consensus::types::{Entry, Payload, SnapshotMeta, log_id};
use crate::consensus::wal::{vote_from_wal, vote_to_wal};
use crate::vault::Sealer;

const STEPS: usize = 160;
/// Small, so that the log often goes on in a new file.
const CHUNK_BYTES: usize = 24_000;

/// What an acknowledged step promises.
#[derive(Clone, Debug, Default)]
pub(super) struct Promise {
    entries: Vec<Entry>,
    term: u64,
    /// The term of the last vote.
    voted: u64,
    /// Entries before this index are in a snapshot.
    purged: usize,
    step: Step,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Nothing,
    Append,
    Cut,
    Vote,
    Mark,
    Snapshot,
}

/// What holds before the first step, and after each one.
pub(super) fn promises() -> Vec<Promise> {
    let mut chance = StdRng::seed_from_u64(7);
    let mut all = vec![Promise::default()];
    for _ in 0..STEPS {
        let mut next = all[all.len() - 1].clone();
        let len = next.entries.len();
        next.step = match chance.random_range(0..12) {
            0 if len > next.purged + 2 => Step::Cut,
            1 => Step::Vote,
            2 | 3 => Step::Mark,
            4 if len > next.purged + 8 => Step::Snapshot,
            _ => Step::Append,
        };
        match next.step {
            Step::Nothing | Step::Mark => {}
            Step::Append => {
                for _ in 0..chance.random_range(1..6) {
                    let index = next.entries.len() as u64;
                    let mut payload = vec![0; chance.random_range(1..2500)];
                    chance.fill(payload.as_mut_slice());
                    next.entries.push(Entry {
                        log_id: log_id(next.term + 1, 1, index),
                        payload: openraft::EntryPayload::Normal(Payload(payload.into())),
                    });
                }
            }
            Step::Cut => {
                let keep = chance.random_range(next.purged + 1..len);
                next.entries.truncate(keep);
                next.term += 1;
            }
            Step::Vote => {
                next.term += 1;
                next.voted = next.term;
            }
            Step::Snapshot => next.purged = chance.random_range(next.purged + 1..len),
        }
        all.push(next);
    }
    all
}

fn open(folder: &Path) -> std::io::Result<(LogStore, SnapshotStore)> {
    let sealer = Sealer::new(&[1; 32]);
    let fatal = Fatal::new(|why| panic!("{why}"));
    let log = LogStore::open_in_chunks(&folder.join("log"), sealer.clone(), fatal, CHUNK_BYTES)?;
    let snapshots = SnapshotStore::open(folder.join("snapshots"), "test", sealer)?;
    Ok((log, snapshots))
}

pub(super) async fn run(folder: &Path) {
    let (mut log, snapshots) = open(folder).unwrap();
    let all = promises();
    for (number, pair) in all.windows(2).enumerate() {
        let (before, after) = (&pair[0], &pair[1]);
        match after.step {
            Step::Nothing => {}
            Step::Append => append_all(&mut log, after.entries[before.entries.len()..].to_vec()).await,
            Step::Cut => log
                .truncate_after(after.entries.last().map(|entry| entry.log_id))
                .await
                .unwrap(),
            Step::Vote => log.save_vote(&vote_from_wal(((after.term, 1), 0))).await.unwrap(),
            Step::Mark => log.save_mark().unwrap(),
            Step::Snapshot => {
                let upto = after.entries[after.purged - 1].log_id;
                let meta = SnapshotMeta {
                    last_log_id: Some(upto),
                    ..SnapshotMeta::default()
                };
                snapshots.write(&meta, &State::default(), || Ok(())).unwrap();
                log.purge(upto).await.unwrap();
            }
        }
        // One call of its own: the trace shows when it left.
        let mut out = std::io::stdout();
        out.write_all(format!("acked {}\n", number + 1).as_bytes())
            .unwrap();
        out.flush().unwrap();
    }
}

/// What must hold once so many steps were acknowledged, and what may hold already.
fn promised(steps: usize) -> (Promise, Promise) {
    let all = promises();
    let next = all.get(steps + 1).unwrap_or(&all[steps]);
    (all[steps].clone(), next.clone())
}

/// Opens what is left and compares it with what was promised once so many steps were acknowledged.
pub(super) async fn judge(folder: &Path, acked: usize) -> Result<(), String> {
    let (before, after) = promised(acked);
    let (mut log, snapshots) = open(folder).map_err(|error| error.to_string())?;
    let newest = snapshots.newest().map_err(|error| error.to_string())?;
    let state = log.get_log_state().await.unwrap();
    let covered = newest
        .and_then(|(meta, _)| meta.last_log_id)
        .map_or(0, |id| id.index as usize + 1);
    let purged = state.last_purged_log_id.map_or(0, |id| id.index as usize + 1);
    if covered < before.purged || covered < purged {
        return Err(format!(
            "a snapshot up to {covered}, {purged} were purged, {before:?}",
            before = before.purged
        ));
    }

    let cut = after.step == Step::Cut;
    let least = if cut {
        after.entries.len()
    } else {
        before.entries.len()
    };
    let there = state.last_log_id.map_or(0, |id| id.index as usize + 1);
    let most = before.entries.len().max(after.entries.len());
    if !(least..=most).contains(&there) {
        return Err(format!(
            "{there} entries, {least} to {most} were promised ({:?})",
            after.step
        ));
    }
    let found = log
        .try_get_log_entries(purged as u64..there as u64)
        .await
        .map_err(|error| error.to_string())?;
    for (entry, index) in found.iter().zip(purged..) {
        let promised = [&before, &after].map(|promise| promise.entries.get(index));
        if !promised.contains(&Some(entry)) {
            return Err(format!("entry {index} is another one"));
        }
    }
    if found.len() != there - purged {
        return Err(format!("{} of {} entries are there", found.len(), there - purged));
    }

    let term = log
        .read_vote()
        .await
        .unwrap()
        .map_or(0, |vote| vote_to_wal(&vote).0.0);
    match [before.voted, after.voted].contains(&term) {
        true => Ok(()),
        false => Err(format!("the vote is for term {term}")),
    }
}
