//! A folder as the shelf.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::world::{World, key};
use crate::backup::shelf::place::Place;
use crate::backup::shelf::source::Source;
use crate::backup::shelf::{Kept, Shelf, ShelfError, Slot};
use crate::backup::{BackupError, Copy, Header};
use crate::config::S3;

pub(super) const ID: &str = "0123456789";

pub(super) fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// A node keeps what it has, or loses half of it on the way.
pub(super) async fn keep(shelf: &Shelf, slot: u64, node: u64, lost: bool) -> Result<Kept, ShelfError> {
    keep_world(World::busy(), shelf, slot, node, lost).await
}

pub(super) async fn keep_world(
    world: World,
    shelf: &Shelf,
    slot: u64,
    node: u64,
    lost: bool,
) -> Result<Kept, ShelfError> {
    let header = Header {
        saved_ms: slot + 3,
        node,
        ..world.header()
    };
    let write = move |save: &mut dyn FnMut(Copy<'_>) -> Result<(), BackupError>| {
        let changes = world.changes.clone();
        save(Copy {
            state: &world.state,
            changes: &mut |from| {
                let rest = changes.iter().filter(|change| change.revision >= from && !lost);
                Ok(rest.take(5).cloned().collect())
            },
            said: &mut |_| {},
        })
    };
    shelf.keep(Arc::new(key()), header, Slot(slot), write).await
}

fn open(folder: &Path, id: &str) -> Shelf {
    let url = format!("file://{}", folder.display());
    Shelf::open(&url, &S3::default(), "hospital", id).unwrap()
}

async fn newest(shelf: &Shelf) -> Option<Slot> {
    shelf.look().await.unwrap().newest()
}

#[tokio::test]
async fn the_newest_are_kept_and_nobody_elses_are_touched() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("kept");
    let shelf = open(&folder, ID);
    assert_eq!(newest(&shelf).await, None);
    keep(&open(&folder, "99999999"), 1_000_000_000_000, 1, false)
        .await
        .unwrap();
    // One that a program of before kept, and what one left half done.
    let earlier = "hospital-01234567-1000000002000-r9.snapshot";
    std::fs::write(folder.join(earlier), "whole").unwrap();
    std::fs::write(folder.join(format!("{earlier}.part")), "half").unwrap();
    std::fs::write(folder.join("letter.txt"), "to somebody").unwrap();
    let others = names(&folder);
    for slot in [1_000_000_030_000, 1_000_000_004_000] {
        assert!(matches!(
            keep(&shelf, slot, 1, false).await.unwrap(),
            Kept::Ours(_)
        ));
    }
    let half = "hospital-0123456789-1000000004000-r9-n3-00000001.snapshot";
    for left in [half.to_owned(), format!("{half}#7")] {
        std::fs::write(folder.join(left), "half").unwrap();
    }

    let seen = shelf.look().await.unwrap();
    assert_eq!((seen.newest(), seen.kept()), (Some(Slot(1_000_000_030_000)), 3));
    // The earlier one, its half, and the half of a node that died.
    assert_eq!(shelf.tidy(&seen, 2, Slot(0)).await.unwrap(), 3);
    assert_eq!(shelf.sweep_uploads(&seen).await.unwrap(), 1);
    let left = names(&folder);
    let gone: Vec<_> = others.difference(&left).cloned().collect();
    assert_eq!(gone, [earlier.to_owned(), format!("{earlier}.part")]);
    assert_eq!(
        left.iter().filter(|name| name.contains(ID)).count(),
        4,
        "{left:?}"
    );

    // Age takes all but the newest, however old that is.
    let seen = shelf.look().await.unwrap();
    assert_eq!(shelf.tidy(&seen, 9, Slot(u64::MAX)).await.unwrap(), 2);
    assert_eq!(newest(&shelf).await, Some(Slot(1_000_000_030_000)));
}

#[tokio::test]
async fn a_mark_is_set_once_and_only_for_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = open(dir.path(), ID);
    let Kept::Ours(name) = keep(&shelf, 1_000_000_000_000, 1, false).await.unwrap() else {
        panic!("somebody else kept it");
    };
    let before = (names(dir.path()), std::fs::read(dir.path().join(&name)).unwrap());
    let again = keep(&shelf, 1_000_000_000_000, 2, false).await.unwrap();
    assert_eq!(again, Kept::Theirs, "a backup took another's place");
    let after = (names(dir.path()), std::fs::read(dir.path().join(&name)).unwrap());
    assert!(before == after);

    let lost = keep(&shelf, 1_000_000_060_000, 1, true).await.unwrap_err();
    assert!(lost.to_string().contains("archive ends before"), "{lost}");
    assert_eq!(
        newest(&shelf).await,
        Some(Slot(1_000_000_000_000)),
        "half a backup counts"
    );
    assert_eq!(names(dir.path()), before.0);
}

#[tokio::test]
async fn the_newest_of_a_folder_is_found_without_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let (shelf, url) = (open(dir.path(), ID), format!("file://{}", dir.path().display()));
    let find = async |url: &str| Source::find(url, &S3::default()).await;
    let none = find(&url).await.err().unwrap();
    assert!(none.to_string().contains("no backup that counts"), "{none}");
    std::fs::write(
        dir.path().join("hospital-01234567-0999999999999-r1.snapshot"),
        "of before",
    )
    .unwrap();
    keep(&shelf, 1_000_000_000_000, 1, false).await.unwrap();
    let Kept::Ours(name) = keep(&shelf, 1_000_000_060_000, 1, false).await.unwrap() else {
        panic!("somebody else kept it");
    };
    let source = find(&url).await.unwrap();
    assert_eq!(source.name(), name);
    source.verify(Some(Arc::new(key()))).await.unwrap();
    assert_eq!(find(&format!("{url}/{name}")).await.unwrap().name(), name);

    keep(&open(dir.path(), "other"), 1_000_000_000_000, 1, false)
        .await
        .unwrap();
    let two = find(&url).await.err().unwrap().to_string();
    assert!(
        two.contains("several clusters") && two.contains("hospital-other-"),
        "{two}"
    );
}

#[test]
fn what_is_no_place_is_refused() {
    assert_eq!(
        Place::parse("file:///mnt/reeve"),
        Ok(Place::Folder("/mnt/reeve".into()))
    );
    let bucket = |prefix: &str| {
        Ok(Place::Bucket {
            bucket: "backups".into(),
            prefix: prefix.into(),
        })
    };
    assert_eq!(Place::parse("s3://backups"), bucket(""));
    assert_eq!(Place::parse("s3://backups/a/b/"), bucket("a/b"));
    for odd in [
        "",
        "/mnt/reeve",
        "file://mnt/reeve",
        "s3://",
        "s3://B/x",
        "s3://backups//x",
        "s3://backups/../x",
        "s3://backups/x?y",
        "gs://backups/x",
    ] {
        assert!(Place::parse(odd).is_err(), "{odd}");
    }
    let told = Place::parse("s3://key:hush@backups/x").unwrap_err();
    assert!(!told.contains("hush"), "{told}");
}

#[test]
fn a_slot_holds_one_period() {
    assert_eq!(Slot::of(7_199_999, 3_600_000), Slot(3_600_000));
    assert_eq!(Slot::of(7_200_000, 3_600_000), Slot(7_200_000));
}
