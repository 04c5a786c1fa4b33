//! The log and the snapshots by themselves.

use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, RaftLogReader};
use tempfile::TempDir;

use crate::consensus::log::LogStore;
use crate::consensus::machine::{Board, Machine};
use crate::consensus::snapshot::SnapshotStore;
use crate::consensus::types::{C, Entry, Payload, SnapshotMeta, log_id};
use crate::consensus::{AppliedSink, Fatal};
use crate::vault::Sealer;
use reeve_domain::{Applied, Revision, State};

pub(super) struct Deaf;

impl AppliedSink for Deaf {
    fn applied(&self, _: &[Arc<Applied>]) {}

    fn installed(&self, _: &State) {}

    fn make_durable(&self, _: Revision) -> std::io::Result<()> {
        Ok(())
    }
}

fn panicking() -> Fatal {
    Fatal::new(|why| panic!("{why}"))
}

fn open(folder: &TempDir) -> (LogStore, Machine) {
    let sealer = Sealer::new(&[1; 32]);
    let log = LogStore::open(&folder.path().join("log"), sealer.clone(), panicking()).unwrap();
    let snapshots = SnapshotStore::open(folder.path().join("snapshots"), "test", sealer).unwrap();
    let machine = Machine::open(snapshots, Board::new(), Arc::new(Deaf), panicking()).unwrap();
    (log, machine)
}

struct Fresh;

impl StoreBuilder<C, LogStore, Machine, TempDir> for Fresh {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), openraft::StorageError<C>> {
        let folder = tempfile::tempdir().unwrap();
        let (log, machine) = open(&folder);
        Ok((folder, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_passes_openrafts_own_suite() {
    Suite::test_all(Fresh).await.unwrap();
}

fn entry(index: u64) -> Entry {
    let payload = EntryPayload::Normal(Payload(format!("hospital {index}").into_bytes().into()));
    Entry {
        log_id: log_id(1, 1, index),
        payload,
    }
}

async fn append(log: &mut LogStore, indexes: std::ops::Range<u64>) {
    let (sender, receiver) = openraft::alias::AsyncRuntimeOf::<C>::oneshot_pair();
    log.append(indexes.map(entry), IOFlushed::signal(sender))
        .await
        .unwrap();
    receiver.await.unwrap().unwrap();
}

/// openraft's oneshot of our runtime.
trait OneshotPair {
    fn oneshot_pair<T: Send>() -> (
        <<Self as openraft::AsyncRuntime>::Oneshot as openraft::async_runtime::Oneshot>::Sender<T>,
        <<Self as openraft::AsyncRuntime>::Oneshot as openraft::async_runtime::Oneshot>::Receiver<T>,
    )
    where
        Self: openraft::AsyncRuntime;
}

impl<R: openraft::AsyncRuntime> OneshotPair for R {
    fn oneshot_pair<T: Send>() -> (
        <<R as openraft::AsyncRuntime>::Oneshot as openraft::async_runtime::Oneshot>::Sender<T>,
        <<R as openraft::AsyncRuntime>::Oneshot as openraft::async_runtime::Oneshot>::Receiver<T>,
    ) {
        <<R as openraft::AsyncRuntime>::Oneshot as openraft::async_runtime::Oneshot>::channel()
    }
}

#[tokio::test]
async fn what_was_flushed_is_there_after_a_restart_and_nothing_is_in_clear() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (mut log, _) = open(&folder);
        append(&mut log, 1..50).await;
        log.truncate_after(Some(log_id(1, 1, 40))).await.unwrap();
        append(&mut log, 41..45).await;
        log.save_vote(&crate::consensus::wal::vote_from_wal(((3, 2), 1)))
            .await
            .unwrap();
        log.save_mark().unwrap();
    }
    let (mut log, _) = open(&folder);
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_log_id, Some(log_id(1, 1, 44)));
    let vote = log.read_vote().await.unwrap().unwrap();
    assert_eq!(crate::consensus::wal::vote_to_wal(&vote), ((3, 2), 1));
    let entries = log.try_get_log_entries(1..100).await.unwrap();
    assert_eq!(entries.len(), 44);
    assert_eq!(entries[43], entry(44));
    for file in walk(folder.path()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(
            !bytes.windows(8).any(|w| w == b"hospital"),
            "{} is in clear",
            file.display()
        );
    }
}

#[tokio::test]
async fn a_log_that_ends_before_its_durable_mark_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (mut log, _) = open(&folder);
        append(&mut log, 1..20).await;
        log.save_mark().unwrap();
    }
    std::fs::remove_dir_all(folder.path().join("log/wal")).unwrap();
    let refused = LogStore::open(&folder.path().join("log"), Sealer::new(&[1; 32]), panicking());
    let error = refused.err().expect("a wiped log was opened").to_string();
    assert!(error.contains("rolled back"), "{error}");
}

#[tokio::test]
async fn another_key_opens_no_entry() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (mut log, _) = open(&folder);
        append(&mut log, 1..3).await;
    }
    let mut log = LogStore::open(&folder.path().join("log"), Sealer::new(&[2; 32]), panicking()).unwrap();
    let error = log.try_get_log_entries(1..3).await.unwrap_err();
    assert!(error.to_string().contains("log entry 1 is damaged"), "{error}");
}

#[test]
fn any_flipped_byte_of_a_snapshot_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(folder.path().to_owned(), "test", Sealer::new(&[1; 32])).unwrap();
    let mut state = State::default();
    state.cluster.name = "hospital".into();
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(1, 1, 9)),
        ..Default::default()
    };
    let file = store.write(&meta, &state, || Ok(())).unwrap();
    let (read, loaded) = store.load(&file).unwrap();
    assert_eq!(
        (read.last_log_id, loaded.hash()),
        (meta.last_log_id, state.hash())
    );
    let whole = std::fs::read(&file.path).unwrap();
    for at in 0..whole.len() {
        let mut odd = whole.clone();
        odd[at] ^= 4;
        std::fs::write(&file.path, &odd).unwrap();
        let error = store.load(&file).expect_err("a damaged snapshot was loaded");
        assert!(error.to_string().contains("snapshot"), "byte {at}: {error}");
    }
    std::fs::write(&file.path, &whole[..whole.len() - 1]).unwrap();
    assert!(store.newest().is_err());
}

#[test]
fn two_snapshots_are_kept_and_a_draft_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let store = || SnapshotStore::open(folder.path().to_owned(), "test", Sealer::new(&[1; 32])).unwrap();
    for index in 1..5 {
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(1, 1, index)),
            ..Default::default()
        };
        store().write(&meta, &State::default(), || Ok(())).unwrap();
    }
    std::fs::write(folder.path().join("snapshot-99999999999999999999.tmp"), b"half").unwrap();
    let newest = store().newest().unwrap().unwrap().0;
    assert_eq!(newest.last_log_id, Some(log_id(1, 1, 4)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(1, 1, 9)),
        ..Default::default()
    };
    let refused = store().write(&meta, &State::default(), || {
        Err(std::io::Error::other("the archive is behind"))
    });
    assert!(refused.is_err());
    assert_eq!(
        store().newest().unwrap().unwrap().0.last_log_id,
        Some(log_id(1, 1, 4))
    );
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path))
        } else {
            files.push(path)
        }
    }
    files
}
