//! Bits flip in the files that consensus keeps: each is harmless, or found with the file and the place named.

use std::fs;
use std::path::{Path, PathBuf};

use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;

use super::store::{append_all, copy, entry, panicking, snapshot_at, walk};
use crate::consensus::folder::{self, Folder};
use crate::consensus::log::LogStore;
use crate::consensus::mark::Mark;
use crate::consensus::snapshot::SnapshotStore;
use crate::consensus::types::{Entry, log_id};
use crate::consensus::wal::vote_from_wal;
use crate::consensus::{Fatal, compare, tail};
use crate::damage::Part;
use crate::vault::Sealer;

/// Small enough that a short log is several files.
const CHUNK_BYTES: usize = 700;

fn sealer() -> Sealer {
    Sealer::new(&[1; 32])
}

async fn written(folder: &Path) {
    let mut log = LogStore::open_in_chunks(folder, sealer(), panicking(), CHUNK_BYTES).unwrap();
    for index in 1..16 {
        append_all(&mut log, vec![entry(index)]).await;
    }
    log.save_vote(&vote_from_wal(((3, 2), 0))).await.unwrap();
    log.save_mark().unwrap();
}

async fn read(folder: &Path) -> std::io::Result<(Vec<Entry>, bool)> {
    let mut log = LogStore::open_in_chunks(folder, sealer(), Fatal::new(|_| {}), CHUNK_BYTES)?;
    let entries = log.try_get_log_entries(0..1_000).await?;
    let vote = log.read_vote().await?;
    Ok((entries, vote == Some(vote_from_wal(((3, 2), 0)))))
}

fn wal_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = walk(folder);
    files.retain(|path| path.extension().is_some_and(|end| end == "wal"));
    files.sort();
    files
}

fn flip(path: &Path, at: usize, bit: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn each_byte_of_each_file_of_the_log_is_missed_by_name() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path()).await;
    let whole = read(folder.path()).await.unwrap();
    assert_eq!((whole.0.len(), whole.1), (15, true));
    let files = wal_files(folder.path());
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let name = file.strip_prefix(folder.path()).unwrap();
        for at in 0..fs::metadata(&file).unwrap().len() as usize {
            let odd = copy(folder.path());
            flip(&odd.path().join(name), at, at % 8);
            match read(odd.path()).await {
                // A file that holds nothing yet but what the one before it says, too.
                Ok(read) => assert!(read == whole, "{} byte {at}: it was believed", name.display()),
                Err(error) => {
                    let told = error.to_string();
                    let named = told.contains(&name.display().to_string()) && told.contains("at byte");
                    assert!(
                        named && told.contains("rejoin"),
                        "{} byte {at}: {told}",
                        name.display()
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_scrub_finds_the_flip_that_a_restart_would_find() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path()).await;
    let scrub = |folder: &Path| {
        let (mut bytes, mut places) = (0, Vec::new());
        tail::check(
            &folder.join("wal"),
            &sealer(),
            |read| {
                bytes += read;
                Ok(())
            },
            |place| places.push(place),
        )
        .unwrap();
        (bytes, places)
    };
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let files = wal_files(folder.path());
    assert_eq!(scrub(folder.path()), (files.iter().map(size).sum(), vec![]));
    for file in &files {
        let name = file.strip_prefix(folder.path()).unwrap();
        let all = size(file) as usize;
        for at in [0, 5, all / 2, all - 1] {
            let odd = copy(folder.path());
            flip(&odd.path().join(name), at, 3);
            let places = scrub(odd.path()).1;
            assert_eq!(places.len(), 1, "{} byte {at}", name.display());
            assert!(places[0].contains(&name.display().to_string()) && places[0].contains("at byte"));
        }
    }
}

/// A record whose sum is right is not what was written when it does not open.
#[tokio::test]
async fn a_scrub_opens_every_entry() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path()).await;
    let (wal, mut places) = (folder.path().join("wal"), Vec::new());
    let another = Sealer::new(&[9; 32]);
    tail::check(&wal, &another, |_| Ok(()), |place| places.push(place)).unwrap();
    assert!(
        places[0].contains("holds an entry") && places[0].contains("does not open"),
        "{places:?}"
    );
    let ended = tail::check(&wal, &sealer(), |_| Err(std::io::Error::other("enough")), |_| {});
    assert_eq!(ended.unwrap_err().to_string(), "enough");
}

/// Every bit of a small file. `open` says whether what it reads is what was written.
fn each_bit(path: &Path, open: impl Fn() -> std::io::Result<bool>) {
    let whole = fs::read(path).unwrap();
    assert!(open().unwrap(), "{}", path.display());
    let name = path.file_name().unwrap().to_string_lossy();
    for (at, bit) in (0..whole.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        flip(path, at, bit);
        match open() {
            Ok(same) => assert!(same, "{name} byte {at} bit {bit}: it was believed"),
            Err(error) => {
                let told = error.to_string();
                assert!(told.contains(name.as_ref()), "{name} byte {at} bit {bit}: {told}");
            }
        }
        fs::write(path, &whole).unwrap();
    }
}

#[test]
fn each_bit_of_the_small_files_is_missed_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mark = Mark::open(path).unwrap();
    mark.reached(mark.end(Some(log_id(12, 3, 4_567))));
    mark.voted(((13, 2), 1));
    mark.save().unwrap();
    let (last, vote) = (log_id(12, 3, 4_567), ((13, 2), 1));
    let is_held = |mark: &Mark| {
        let enough = mark.check(Some(&last), Some(&vote)).is_ok();
        let less = mark.check(Some(&log_id(12, 3, 4_566)), Some(&vote)).is_err();
        enough && less && mark.check(Some(&last), Some(&((13, 1), 1))).is_err()
    };
    each_bit(&path.join("durable.json"), || Ok(is_held(&Mark::open(path)?)));

    folder::make(path, "hospital", 2).unwrap();
    each_bit(&path.join("owner.json"), || {
        Folder::take(path, "hospital", 2).map(|_| true)
    });

    let condemned = path.join("diverged.json");
    fs::write(&condemned, r#"{"index":7,"hash":"00","why":"it strayed"}"#).unwrap();
    let stays_away = || match compare::check(path) {
        Ok(()) => Ok(false),
        Err(error) if error.to_string().contains("diverged.json stands in the way") => Ok(true),
        Err(error) => Err(error),
    };
    each_bit(&condemned, stays_away);
}

#[test]
fn each_byte_of_a_snapshot_is_missed_with_its_place_and_a_scrub_sets_it_aside() {
    let folder = tempfile::tempdir().unwrap();
    let open = || SnapshotStore::open(folder.path().to_owned(), "test", sealer()).unwrap();
    snapshot_at(&open(), 10);
    let newest = snapshot_at(&open(), 20);
    let whole = fs::read(&newest).unwrap();
    for at in 0..whole.len() {
        flip(&newest, at, at % 8);
        let store = open();
        let mut read = 0;
        let found = store.check(|bytes| {
            read += bytes;
            Ok(())
        });
        assert_eq!(found.unwrap(), std::slice::from_ref(&newest), "byte {at}");
        let aside = newest.with_extension("damaged");
        assert!(
            read > 0 && newest.exists() && aside.exists(),
            "it keeps its place"
        );
        store.let_go(&newest).unwrap();
        assert!(!newest.exists() && aside.exists(), "byte {at}");
        let told = store.damages().places().join("\n");
        assert!(
            told.contains("snapshot-00000000000000000020") && told.contains("byte"),
            "{told}"
        );
        assert!(store.damages().last(Part::Snapshots).is_some());
        assert!(
            store.check(|_| Ok(())).unwrap().is_empty(),
            "the other one is whole"
        );
        fs::write(&newest, &whole).unwrap();
    }
    assert!(open().check(|_| Ok(())).unwrap().is_empty());
}
