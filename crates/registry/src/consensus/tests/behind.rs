//! The archive is on the disk before the snapshot that takes the log's place: a power cut right after it loses nothing.

use std::path::Path;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, RaftSnapshotBuilder};
use reeve_domain::group::Region;
use reeve_domain::{Actor, Command, Revision, Stamp};

use super::cluster::{entry, founding, name};
use super::store::{copy, panicking};
use crate::archive::Archive;
use crate::consensus::machine::{Board, Machine};
use crate::consensus::snapshot::SnapshotStore;
use crate::consensus::types::{Entry, Payload, log_id};
use crate::hub::Hub;
use crate::mutant::{Mutant, simulated::PLANTED};
use crate::node::ArchiveCipher;
use crate::sink::Sink;
use crate::telemetry::Metrics;
use crate::vault::Sealer;

fn sealer() -> Sealer {
    Sealer::new(&[1; 32])
}

/// A node's archive and State, on what lies in a folder.
fn open(folder: &Path) -> (Archive, Board, Machine) {
    let archive = Archive::open(folder.join("archive"), Arc::new(ArchiveCipher::new(sealer()))).unwrap();
    let sink = Sink {
        archive: archive.clone(),
        hub: Hub::default(),
        metrics: Arc::new(Metrics::new(1, "test")),
    };
    let snapshots = SnapshotStore::open(folder.join("snapshots"), "test", sealer()).unwrap();
    let board = Board::new();
    let machine = Machine::begin(
        snapshots.best(None),
        snapshots,
        board.clone(),
        Arc::new(sink),
        panicking(),
    )
    .unwrap();
    let published = board.clone();
    archive
        .follow(move || Arc::new(published.published.load().state.clone()))
        .unwrap();
    (archive, board, machine)
}

async fn apply(machine: &mut Machine, indexes: std::ops::Range<u64>) {
    for index in indexes {
        let (actor, command) = match index {
            1 => (Actor::Founder, founding("n1")),
            _ => {
                let region = Region {
                    name: name(&format!("r{index}")),
                    display_name: String::new(),
                };
                (Actor::Pilot, Command::CreateRegion(region))
            }
        };
        let mut said = entry(actor, None, command).entry;
        said.stamp = Stamp(index);
        let payload = Payload(rmp_serde::to_vec_named(&said).unwrap().into());
        let entry = Entry {
            log_id: log_id(1, 1, index),
            payload: EntryPayload::Normal(payload),
        };
        machine
            .apply(futures::stream::iter([Ok((entry, None))]))
            .await
            .unwrap();
    }
}

/// What the archive says of itself, and says only once it has synced its file.
fn synced_upto(folder: &Path) -> Revision {
    let text = std::fs::read_to_string(folder.join("archive/durable")).unwrap();
    Revision(text.split_once(' ').unwrap().0.parse().unwrap())
}

/// Makes a snapshot, cuts the power, and says what of the archive is missing then: the log was purged up to there.
async fn missing_after_a_cut() -> Option<(Revision, Revision)> {
    let folder = tempfile::tempdir().unwrap();
    let (archive, board, mut machine) = open(folder.path());
    apply(&mut machine, 1..10).await;
    archive.flush_durable().unwrap();
    let synced = copy(folder.path());

    apply(&mut machine, 10..30).await;
    // In the store, and in the machine's memory alone.
    assert!(archive.is_whole());
    machine
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .unwrap();
    let revision = board.published.load().state.revision;
    let after = match synced_upto(folder.path()) == revision {
        true => copy(folder.path()),
        // What was not synced is gone, as sled would have lost it; the snapshot was.
        false => {
            let cut = copy(folder.path());
            std::fs::remove_dir_all(cut.path().join("archive")).unwrap();
            let kept = copy(&synced.path().join("archive"));
            std::fs::rename(kept.path(), cut.path().join("archive")).unwrap();
            cut
        }
    };
    let (archive, board, _machine) = open(after.path());
    assert_eq!(
        board.published.load().state.revision,
        revision,
        "the snapshot is there"
    );
    archive.gap().unwrap()
}

#[tokio::test]
async fn a_snapshot_never_stands_before_its_archive_does() {
    assert_eq!(missing_after_a_cut().await, None);
}

#[tokio::test]
async fn an_archive_that_is_behind_its_snapshot_is_found() {
    PLANTED.set(Some(Mutant::ArchiveBehind));
    let missing = missing_after_a_cut().await;
    PLANTED.set(None);
    let (_, to) = missing.expect("the mutant was not noticed");
    assert!(to > Revision(10), "{to:?}");
}
