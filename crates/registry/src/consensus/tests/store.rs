//! The log and the snapshots by themselves.

use std::io::Write;
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
use crate::files::tests::open_to_others;
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

pub(super) fn panicking() -> Fatal {
    Fatal::new(|why| panic!("{why}"))
}

fn open(folder: &TempDir) -> (LogStore, Machine) {
    let sealer = Sealer::new(&[1; 32]);
    let log = LogStore::open(&folder.path().join("log"), sealer.clone(), panicking()).unwrap();
    let snapshots = SnapshotStore::open(folder.path().join("snapshots"), "test", sealer).unwrap();
    let machine = Machine::begin(
        snapshots.best(None),
        snapshots,
        Board::new(),
        Arc::new(Deaf),
        panicking(),
    )
    .unwrap();
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

pub(super) fn entry(index: u64) -> Entry {
    let payload = EntryPayload::Normal(Payload(format!("hospital {index}").into_bytes().into()));
    Entry {
        log_id: log_id(1, 1, index),
        payload,
    }
}

fn in_term(term: u64, index: u64) -> Entry {
    Entry {
        log_id: log_id(term, 1, index),
        ..entry(index)
    }
}

async fn append(log: &mut LogStore, indexes: std::ops::Range<u64>) {
    append_all(log, indexes.map(entry).collect()).await
}

pub(super) async fn append_all(log: &mut LogStore, entries: Vec<Entry>) {
    let (sender, receiver) = openraft::alias::AsyncRuntimeOf::<C>::oneshot_pair();
    log.append(entries, IOFlushed::signal(sender)).await.unwrap();
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
async fn what_is_read_for_another_node_never_begins_behind_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&folder);
    append(&mut log, 1..50).await;
    log.purge(log_id(1, 1, 30)).await.unwrap();
    assert_eq!(log.limited_get_log_entries(20, 50).await.unwrap(), Vec::new());
    let entries = log.limited_get_log_entries(31, 50).await.unwrap();
    assert_eq!(entries.first(), Some(&entry(31)));
    assert_eq!(entries.len(), 19);
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

/// What a log that was opened again holds: its entries, and its vote.
async fn reopened(folder: &std::path::Path) -> std::io::Result<(Vec<Entry>, Option<(u64, u64)>)> {
    let quiet = Fatal::new(|_| {});
    let mut log = LogStore::open(&folder.join("log"), Sealer::new(&[1; 32]), quiet)?;
    let entries = log.try_get_log_entries(0..1000).await?;
    let vote = log.read_vote().await?;
    Ok((
        entries,
        vote.map(|vote| crate::consensus::wal::vote_to_wal(&vote).0),
    ))
}

pub(super) fn copy(from: &std::path::Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in walk(from) {
        let copy = to.path().join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(&file, copy).unwrap();
    }
    to
}

fn wal_file(folder: &std::path::Path) -> std::path::PathBuf {
    let is_wal = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "wal");
    walk(folder).into_iter().find(is_wal).unwrap()
}

#[tokio::test]
async fn a_durable_vote_that_is_gone_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (mut log, _) = open(&folder);
        append(&mut log, 1..5).await;
        let vote = crate::consensus::wal::vote_from_wal(((3, 2), 0));
        log.save_vote(&vote).await.unwrap();
        log.save_mark().unwrap();
    }
    let path = wal_file(folder.path());
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let refused = reopened(folder.path()).await.unwrap_err().to_string();
    assert!(refused.contains("the last vote"), "{refused}");
}

#[tokio::test]
async fn a_command_of_a_later_format_stops_the_node() {
    use openraft::storage::RaftStateMachine;
    use reeve_domain::{Actor, Command, Stamp};
    let folder = tempfile::tempdir().unwrap();
    let snapshots = SnapshotStore::open(folder.path().to_owned(), "test", Sealer::new(&[1; 32])).unwrap();
    let told = Arc::new(parking_lot::Mutex::new(String::new()));
    let heard = told.clone();
    let fatal = Fatal::new(move |why| *heard.lock() = why.to_owned());
    let mut machine = Machine::begin(
        snapshots.best(None),
        snapshots,
        Board::new(),
        Arc::new(Deaf),
        fatal,
    )
    .unwrap();
    let mut later = reeve_domain::Entry {
        format: reeve_domain::entry::FORMAT,
        stamp: Stamp(1),
        actor: Actor::Pilot,
        principal_rev: 0,
        policy_rev: 0,
        request: None,
        seed: Default::default(),
        command: Command::CreateRegion(reeve_domain::group::Region {
            name: super::cluster::name("vn"),
            display_name: String::new(),
        }),
    };
    for (format, stops) in [(later.format, false), (later.format + 1, true)] {
        later.format = format;
        let payload = Payload(rmp_serde::to_vec_named(&later).unwrap().into());
        let entry = Entry {
            log_id: log_id(1, 1, 1),
            payload: EntryPayload::Normal(payload),
        };
        let applied = machine.apply(futures::stream::iter([Ok((entry, None))])).await;
        assert_eq!(applied.is_err(), stops, "format {format}");
    }
    assert!(
        told.lock()
            .contains("layout 2 of an entry, with command CreateRegion"),
        "{}",
        told.lock()
    );
}

#[tokio::test]
async fn what_a_crash_cut_off_is_let_go_and_what_lies_before_damage_is_not() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (mut log, _) = open(&folder);
        append(&mut log, 1..30).await;
    }
    let whole = std::fs::read(wal_file(folder.path())).unwrap();
    let with = |bytes: &[u8]| {
        let odd = copy(folder.path());
        std::fs::write(wal_file(odd.path()), bytes).unwrap();
        odd
    };
    for cut in [1, 40, 200] {
        let torn = with(&whole[..whole.len() - cut]);
        let (entries, _) = reopened(torn.path()).await.unwrap();
        assert!(!entries.is_empty() && entries.len() < 29, "{}", entries.len());
        assert_eq!(entries.last().unwrap().log_id.index, entries.len() as u64);
    }
    // The length of some payload: read as it is, the record ends behind the file.
    let mut damaged = 0;
    for at in 0..whole.len() - 200 {
        let mut bytes = whole.clone();
        bytes[at] |= 0x7f;
        if raft_log_would_cut(&bytes) {
            damaged += 1;
            let refused = reopened(with(&bytes).path()).await.unwrap_err().to_string();
            assert!(
                refused.contains("a whole record behind it"),
                "byte {at}: {refused}"
            );
        }
        if damaged == 8 {
            break;
        }
    }
    assert_eq!(damaged, 8, "nothing was tried");
}

/// Whether the first record that cannot be read looks as if it were cut off.
fn raft_log_would_cut(bytes: &[u8]) -> bool {
    use raft_log::codeq::Decode;
    let mut rest = bytes;
    while !rest.is_empty() {
        if let Err(error) = raft_log::RaftLogRecord::<crate::consensus::wal::Wal>::decode(&mut rest) {
            return error.kind() == std::io::ErrorKind::UnexpectedEof;
        }
    }
    false
}

#[tokio::test]
async fn random_appends_cuts_and_restarts_leave_what_a_list_would_hold() {
    let folder = tempfile::tempdir().unwrap();
    let mut model: Vec<Entry> = Vec::new();
    let mut chance = 7u64;
    for round in 0..25u64 {
        let (mut log, _) = open(&folder);
        assert_eq!(
            log.try_get_log_entries(0..10_000).await.unwrap(),
            model,
            "round {round}"
        );
        for _ in 0..4 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let drawn = chance >> 33;
            if drawn.is_multiple_of(4) && !model.is_empty() {
                let keep = drawn as usize % model.len();
                model.truncate(keep);
                log.truncate_after(model.last().map(|entry| entry.log_id))
                    .await
                    .unwrap();
            } else {
                let next = model.len() as u64;
                let new: Vec<_> = (next..next + drawn % 9 + 1)
                    .map(|index| in_term(round + 1, index))
                    .collect();
                model.extend(new.clone());
                append_all(&mut log, new).await;
            }
        }
        if chance & (1 << 40) == 0 {
            log.save_mark().unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_read_for_another_node_is_bounded_by_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&folder);
    let large = |index| Entry {
        log_id: log_id(1, 1, index),
        payload: EntryPayload::Normal(Payload(vec![7; 1 << 20].into())),
    };
    append_all(&mut log, (0..12).map(large).collect()).await;
    let mut at = 0;
    while at < 12 {
        let read = log.limited_get_log_entries(at, 12).await.unwrap();
        assert!((1..=4).contains(&read.len()), "{}", read.len());
        assert_eq!(read[0].log_id.index, at);
        at += read.len() as u64;
    }
    assert_eq!(log.try_get_log_entries(0..12).await.unwrap().len(), 12);
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
fn a_snapshot_holds_a_state_and_not_a_byte_more_or_less() {
    let folder = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(folder.path().to_owned(), "test", Sealer::new(&[1; 32])).unwrap();
    let state = rmp_serde::to_vec_named(&State::default()).unwrap();
    // Another whole value, a byte that begins none, one that begins a text which is not there.
    for more in [&[0xc0][..], &[0xc1], &[0xd9], &[0xd9, 9, b'x']] {
        let mut writer = store.writer(&SnapshotMeta::default()).unwrap();
        writer.write_all(&[&state, more].concat()).unwrap();
        let error = store.load(&writer.finish().unwrap()).unwrap_err().to_string();
        assert!(error.contains("bytes are left over"), "{more:?}: {error}");
    }
    let mut writer = store.writer(&SnapshotMeta::default()).unwrap();
    writer.write_all(&state[..state.len() - 1]).unwrap();
    let error = store.load(&writer.finish().unwrap()).unwrap_err().to_string();
    assert!(error.contains("is damaged"), "{error}");
    let mut writer = store.writer(&SnapshotMeta::default()).unwrap();
    writer.write_all(&state).unwrap();
    assert_eq!(store.load(&writer.finish().unwrap()).unwrap().1, State::default());
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

/// What a leader is asked for when it has to send a snapshot.
#[tokio::test]
async fn a_damaged_snapshot_is_no_reason_for_a_node_to_end() {
    use openraft::storage::RaftStateMachine;
    let folder = tempfile::tempdir().unwrap();
    let snapshots = folder.path().join("snapshots");
    let store = SnapshotStore::open(snapshots.clone(), "test", Sealer::new(&[1; 32])).unwrap();
    snapshot_at(&store, 10);
    let newest = snapshot_at(&store, 20);
    let (_, mut machine) = open(&folder);
    for damage in [1, 40] {
        let mut bytes = std::fs::read(&newest).unwrap();
        bytes[damage] ^= 4;
        std::fs::write(&newest, &bytes).unwrap();
        let sent = machine.get_current_snapshot().await.unwrap().unwrap();
        assert_eq!(sent.meta.last_log_id, Some(log_id(1, 1, 20)), "it is in memory");
        let (_, state) = store.load(&sent.snapshot).unwrap();
        assert_eq!(state.revision, Revision(20));
        let aside = newest.with_extension("damaged");
        assert_eq!(std::fs::read(&aside).unwrap(), bytes, "the evidence is kept");
    }

    // Where nothing can be written nothing is sent, and the node lives.
    std::fs::write(&newest, b"damaged").unwrap();
    let elsewhere = folder.path().join("elsewhere");
    std::fs::rename(&snapshots, &elsewhere).unwrap();
    std::fs::write(&snapshots, b"no folder").unwrap();
    let sent = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(sent.meta.last_log_id, None);
    assert!(store.blocks(&sent.snapshot).is_err());
    std::fs::remove_file(&snapshots).unwrap();
    std::fs::rename(&elsewhere, &snapshots).unwrap();
    let sent = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(sent.meta.last_log_id, Some(log_id(1, 1, 20)));
}

#[test]
fn of_damaged_snapshots_the_newest_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(folder.path().to_owned(), "test", Sealer::new(&[1; 32])).unwrap();
    for index in 1..6 {
        let path = snapshot_at(&store, index);
        std::fs::write(&path, b"damaged").unwrap();
        for _ in 0..2 {
            assert_eq!(store.check(|_| Ok(())).unwrap(), std::slice::from_ref(&path));
        }
        store.let_go(&path).unwrap();
    }
    let mut kept: Vec<_> = walk(folder.path())
        .into_iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    kept.sort();
    let name = |index| format!("snapshot-{index:020}.damaged");
    assert_eq!(kept, [name(4), name(5)]);
    // What took the place of a damaged one stays.
    let path = snapshot_at(&store, 5);
    store.let_go(&path).unwrap();
    assert!(path.exists());
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

#[test]
fn a_draft_that_is_given_up_leaves_nothing_and_two_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(folder.path().to_owned(), "test", Sealer::new(&[1; 32])).unwrap();
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(1, 1, 9)),
        ..Default::default()
    };
    let mut half = store.writer(&meta).unwrap();
    std::io::Write::write_all(&mut half, b"half of a state").unwrap();
    let file = store.write(&meta, &State::default(), || Ok(())).unwrap();
    let unread = half.finish().unwrap();
    assert!(store.load(&unread).is_err(), "it is no state");
    drop(unread);
    assert!(store.load(&file).is_ok());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_snapshot_that_is_no_state_takes_no_place() {
    use openraft::storage::RaftStateMachine;
    let folder = tempfile::tempdir().unwrap();
    let (_, mut machine) = open(&folder);
    let store = SnapshotStore::open(folder.path().join("snapshots"), "test", Sealer::new(&[1; 32])).unwrap();
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(1, 1, 9)),
        ..Default::default()
    };
    let mut writer = store.writer(&meta).unwrap();
    std::io::Write::write_all(&mut writer, b"no state").unwrap();
    let received = writer.finish().unwrap();
    assert!(machine.install_snapshot(&meta, received).await.is_err());
    assert!(store.newest().unwrap().is_none());
    assert_eq!(machine.applied_state().await.unwrap().0, None);
}

pub(super) fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
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

pub(super) fn snapshot_at(snapshots: &SnapshotStore, index: u64) -> std::path::PathBuf {
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(1, 1, index)),
        ..SnapshotMeta::default()
    };
    let state = State {
        revision: Revision(index),
        ..State::default()
    };
    snapshots.write(&meta, &state, || Ok(())).unwrap().path
}

#[test]
fn a_damaged_snapshot_is_set_aside_for_an_older_one_that_the_log_reaches() {
    let folder = tempfile::tempdir().unwrap();
    let open = || SnapshotStore::open(folder.path().to_owned(), "test", Sealer::new(&[1; 32])).unwrap();
    let snapshots = open();
    snapshot_at(&snapshots, 10);
    let newest = snapshot_at(&snapshots, 20);
    let whole = std::fs::read(&newest).unwrap();
    let aside = newest.with_extension("damaged");
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&newest, bytes).unwrap();
        let (meta, state) = open().best(Some(10)).unwrap().unwrap();
        assert_eq!(open_to_others(&aside), Vec::<String>::new());
        assert_eq!(
            (meta.last_log_id, state.revision),
            (Some(log_id(1, 1, 10)), Revision(10)),
            "byte {at}"
        );
        assert!(aside.exists(), "byte {at}");
    }
    std::fs::write(&newest, &whole[..whole.len() / 2]).unwrap();
    let refused = open().best(Some(11)).unwrap_err().to_string();
    assert!(refused.contains("begins behind entry 11"), "{refused}");
    std::fs::rename(&aside, &newest).unwrap();
    std::fs::write(&newest, whole).unwrap();
    assert_eq!(open().best(Some(11)).unwrap().unwrap().1.revision, Revision(20));
}
