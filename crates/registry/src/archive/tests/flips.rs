//! Bits flip in every file of an archive: what comes back is what was written, or it is known to be missing, with the
//! file and the place, and is whole again once a peer has filled it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reeve_domain::operation::{Kind, Operation, Status};
use reeve_domain::words::Slug;
use reeve_domain::{Epoch, Event, OperationId, Revision, Stamp, TenantId};

use super::{Fleet, close, copy_folder, follow, open, write};
use crate::archive::{Archive, ArchiveError, Change, Reading};

const CHANGES: usize = 400;
const LARGE_CHANGES: usize = 8;
/// Hundreds of kilobytes.
const LARGE_EVENTS: usize = 60_000;
/// Files of large values that are tried, and places in each.
const BLOBS: usize = 3;
const BLOB_PLACES: usize = 16;
/// Places that are tried in a file that is too large for all of them.
const PLACES: usize = 300;

fn operation(number: u64) -> Operation {
    Operation {
        id: OperationId::from_random(number),
        kind: Kind::Onboard,
        status: Status::Done,
        tenant: TenantId::from_random(number),
        slug: Slug::parse("cho-ray").unwrap(),
        steps: vec![],
        cursor: 0,
        epoch: Epoch(1),
        reason: String::new(),
        detail: String::new(),
        actor: String::new(),
        created: Stamp(number),
        ended: Some(Stamp(number + 1)),
        parent: None,
        children: vec![],
        locks: vec![],
        wait: None,
        wanted: None,
        priority: reeve_domain::operation::Priority::Normal,
        entered: None,
        modified: Revision(number),
    }
}

/// An archive on the disk, written in several sessions, and what is in it.
fn written() -> (tempfile::TempDir, Fleet, Vec<Change>) {
    let mut fleet = Fleet::default();
    let changes = fleet.changes(CHANGES);
    stored(fleet, changes)
}

/// The same of few changes that are so large that the store keeps each in a file of its own.
fn written_large() -> (tempfile::TempDir, Fleet, Vec<Change>) {
    let mut fleet = Fleet::default();
    let mut changes = fleet.changes(LARGE_CHANGES);
    for change in &mut changes {
        change.events = vec![Event::Node; LARGE_EVENTS].into();
    }
    stored(fleet, changes)
}

fn stored(fleet: Fleet, mut changes: Vec<Change>) -> (tempfile::TempDir, Fleet, Vec<Change>) {
    let dir = tempfile::tempdir().unwrap();
    for (number, change) in changes.iter_mut().enumerate().step_by(7) {
        change.retired = vec![operation(number as u64)];
    }
    for some in changes.chunks(changes.len() / 4) {
        let archive = open(dir.path());
        for few in some.chunks(20) {
            write(&archive, few);
            archive.flush_durable().unwrap();
        }
        close(archive);
    }
    (dir, fleet, changes)
}

fn checked(archive: &Archive) -> Result<(), ArchiveError> {
    let mut reading = Reading::default();
    while !reading.is_done {
        reading = archive.check(reading)?;
    }
    Ok(())
}

/// Everything is there, as it was written.
fn is_all_there(archive: &Archive, changes: &[Change]) -> Result<bool, ArchiveError> {
    let read = archive.changes(Revision(1), 1_000)?;
    let records = archive.records("fleet", 1, 1_000)?;
    let mut operations = true;
    for operation in changes.iter().flat_map(|change| &change.retired) {
        operations &= archive.operation(&operation.id)?.as_ref() == Some(operation);
    }
    Ok(read == changes
        && records
            .iter()
            .eq(changes.iter().filter_map(|c| c.record.as_deref()))
        && operations)
}

/// What became of one flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Became {
    Harmless,
    SetAside,
    Missing,
    /// Whatever stood in the index alone.
    MadeAgain,
}

/// Opens a copy with one bit flipped, as a node does, and holds it to the promise.
fn flip(from: &Path, fleet: &Fleet, changes: &[Change], file: &Path, at: usize) -> Became {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&from.join("archive"), &copy.path().join("archive"));
    let odd = copy.path().join(file);
    let mut bytes = std::fs::read(&odd).unwrap();
    bytes[at] ^= 1 << (at % 8);
    std::fs::write(&odd, bytes).unwrap();

    let what = format!("{} byte {at}", file.display());
    let archive = open(copy.path());
    follow(&archive, fleet);
    // What is asked before everything was read is right, or it is not answered.
    for operation in changes.iter().flat_map(|change| &change.retired) {
        if let Ok(found) = archive.operation(&operation.id) {
            assert_eq!(found.as_ref(), Some(operation), "{what}");
        }
    }
    if let Ok(records) = archive.records("fleet", 1, 1_000) {
        assert_eq!(
            records.len(),
            changes.len(),
            "{what}: it ended early, and said nothing"
        );
    }
    checked(&archive).unwrap_or_else(|error| panic!("{what}: {error}"));
    let gap = archive.gap().unwrap();
    let places = archive.damages().places();
    let aside = std::fs::read_dir(copy.path()).unwrap().count() > 1;
    let became = match (aside, gap) {
        (true, _) => Became::SetAside,
        (false, Some(_)) => Became::Missing,
        (false, None) if places.is_empty() => Became::Harmless,
        (false, None) => Became::MadeAgain,
    };
    if became != Became::Harmless {
        let name = file.display().to_string();
        let named = places
            .iter()
            .all(|place| place.contains("archive/sled/") || place.contains(&name));
        assert!(
            named && !places.is_empty(),
            "{what}: {became:?}, and it is told of {places:?}"
        );
    }
    // A peer has it all.
    while let Some((from, to)) = archive.gap().unwrap() {
        let missing = changes.iter().filter(|c| (from..=to).contains(&c.revision));
        write(&archive, &missing.cloned().collect::<Vec<_>>());
    }
    checked(&archive).unwrap_or_else(|error| panic!("{what}, filled: {error}"));
    assert!(
        archive.gap().unwrap().is_none(),
        "{what}: it is not whole when it was filled"
    );
    assert!(
        is_all_there(&archive, changes).unwrap(),
        "{what}: {became:?}, {places:?}"
    );
    became
}

/// All places of a small file; of a large one its beginning, its end, and a seeded choice of what lies between.
fn places(path: &Path) -> Vec<usize> {
    let bytes = std::fs::read(path).unwrap();
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    if used <= PLACES {
        return (0..bytes.len().min(PLACES)).collect();
    }
    let mut chance = 11u64;
    let mut drawn = || {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (chance >> 33) as usize % used
    };
    let ends = (0..40).chain(used - 40..used);
    let middle: Vec<usize> = (0..PLACES - 80).map(|_| drawn()).collect();
    ends.chain(middle).collect()
}

#[test]
fn no_flipped_bit_of_any_file_is_lost_in_silence() {
    let (dir, fleet, changes) = written();
    let archive = open(dir.path());
    follow(&archive, &fleet);
    assert!(matches!(
        archive.operation(&OperationId::from_random(9_999)),
        Err(ArchiveError::Unchecked)
    ));
    checked(&archive).unwrap();
    assert!(
        archive.damages().places().is_empty(),
        "{:?}",
        archive.damages().places()
    );
    assert!(is_all_there(&archive, &changes).unwrap());
    close(archive);

    let files = files(&dir.path().join("archive"));
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    for needed in ["durable", "sled/conf", "sled/db", "sled/snap."] {
        assert!(
            names.iter().any(|name| name.contains(needed)),
            "{needed}: {names:?}"
        );
    }
    for file in files {
        let file = file.strip_prefix(dir.path()).unwrap();
        let mut became = std::collections::BTreeMap::<Became, usize>::new();
        for at in places(&dir.path().join(file)) {
            *became
                .entry(flip(dir.path(), &fleet, &changes, file, at))
                .or_default() += 1;
        }
        println!("{}: {became:?}", file.display());
    }
}

#[test]
fn no_flipped_bit_of_a_value_in_a_file_of_its_own_is_lost_in_silence() {
    let (dir, fleet, changes) = written_large();
    let mut blobs = files(&dir.path().join("archive/sled/blobs"));
    blobs.sort();
    assert!(blobs.len() >= BLOBS, "{blobs:?}");
    let mut became = std::collections::BTreeMap::<Became, usize>::new();
    for blob in blobs.iter().rev().take(BLOBS) {
        let last = std::fs::metadata(blob).unwrap().len() as usize - 1;
        let blob = blob.strip_prefix(dir.path()).unwrap();
        for place in 0..BLOB_PLACES {
            // The head of the file, its end, and what lies between.
            let at = if place < 8 {
                place
            } else {
                last * (place - 7) / (BLOB_PLACES - 8)
            };
            *became
                .entry(flip(dir.path(), &fleet, &changes, blob, at))
                .or_default() += 1;
        }
    }
    println!("{became:?}");
    assert!(
        became.keys().any(|became| *became != Became::Harmless),
        "nobody reads these files"
    );
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

#[test]
fn a_check_finds_what_vanished_and_nothing_else() {
    let (dir, fleet, changes) = written();
    let archive = open(dir.path());
    follow(&archive, &fleet);
    checked(&archive).unwrap();
    assert!(archive.damages().places().is_empty());

    // As sled loses them: without a word.
    let store = archive.shared.store.load_full();
    let keys = store.keys_within(100, 200).unwrap();
    store.forget_block(&keys[1]).unwrap();
    assert_eq!(archive.gap().unwrap(), None, "nobody knows yet");
    checked(&archive).unwrap();
    let (from, to) = archive.gap().unwrap().expect("a hole");
    assert!(Revision(100) < from && to < Revision(200), "{from} to {to}");
    let told = archive.damages().places().join("\n");
    assert!(told.contains(&format!("revisions {from} to {to}")), "{told}");
    write(&archive, &changes[from.0 as usize - 1..to.0 as usize]);
    checked(&archive).unwrap();

    let gone = &changes[7].retired[0].id;
    store.lose(("fleet", 300), gone);
    checked(&archive).unwrap();
    let told = archive.damages().places().join("\n");
    assert!(
        told.contains("lost record 300 of shard fleet") && told.contains(gone.as_str()),
        "{told}"
    );
    assert!(archive.is_whole() && is_all_there(&archive, &changes).unwrap());
}

#[test]
fn a_block_that_a_power_cut_left_behind_makes_room_for_what_is_written_over_it() {
    let dir = tempfile::tempdir().unwrap();
    let changes = Fleet::default().changes(12);
    let archive = open(dir.path());
    write(&archive, &changes[..4]);
    archive.flush_durable().unwrap();
    let other = Change {
        events: Arc::default(),
        ..changes[7].clone()
    };
    archive.shared.store.load().leave_behind(&other);
    close(archive);

    let archive = open(dir.path());
    archive.write_all(changes[4..].to_vec()).unwrap();
    archive.flush_durable().unwrap();
    let store = archive.shared.store.load_full();
    assert_eq!(store.keys_within(1, 4).unwrap().len(), 1);
    assert_eq!(
        store.keys_within(5, 12).unwrap().len(),
        1,
        "one run, and nothing inside of it"
    );
    let read = archive.events(Revision(7), 1).unwrap();
    assert_eq!(read, [(Revision(8), changes[7].events.clone())]);
}
