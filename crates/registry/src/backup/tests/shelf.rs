use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::world::{World, key};
use crate::backup::shelf::{Shelf, ShelfError, folder};
use crate::backup::{BackupError, Copy, Header};

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

async fn keep(shelf: &Shelf, header: Header, lost: bool) -> Result<String, ShelfError> {
    let world = World::busy();
    let header = Header {
        saved_ms: header.saved_ms,
        ..world.header()
    };
    let write = move |save: &mut dyn FnMut(Copy<'_>) -> Result<(), BackupError>| {
        let changes = world.changes.clone();
        save(Copy {
            state: &world.state,
            changes: &mut |from| {
                let rest = changes.iter().filter(|change| change.revision >= from && !lost);
                Ok(rest.cloned().collect())
            },
            said: &mut |_| {},
        })
    };
    shelf.keep(Arc::new(key()), header, write).await
}

fn at(saved_ms: u64) -> Header {
    Header {
        saved_ms,
        ..World::busy().header()
    }
}

#[tokio::test]
async fn the_newest_are_kept_and_nobody_elses_are_touched() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/kept", dir.path().display());
    let shelf = Shelf::open(&url, "hospital", "0123456789").unwrap();
    assert_eq!(shelf.newest_ms().await.unwrap(), None);
    let other = Shelf::open(&url, "hospital", "99999999").unwrap();
    let others = keep(&other, at(1), false).await.unwrap();
    for saved_ms in [2_000, 30_000, 4_000] {
        keep(&shelf, at(saved_ms), false).await.unwrap();
    }
    std::fs::write(dir.path().join("kept/letter.txt"), "to somebody").unwrap();
    assert_eq!(shelf.newest_ms().await.unwrap(), Some(30_000));
    assert_eq!(shelf.prune(2).await.unwrap(), 1);
    let left = names(&dir.path().join("kept"));
    let own: Vec<_> = left.iter().filter(|name| name.contains("01234567-")).collect();
    assert_eq!(own.len(), 2, "{left:?}");
    assert!(
        own.iter().all(|name| !name.contains("-0000000002000-")),
        "{left:?}"
    );
    assert!(left.contains(&others) && left.contains("letter.txt"), "{left:?}");
}

#[tokio::test]
async fn a_name_is_given_once_and_only_to_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    let shelf = Shelf::open(&url, "hospital", "0123456789").unwrap();
    let name = keep(&shelf, at(7), false).await.unwrap();
    let before = std::fs::read(dir.path().join(&name)).unwrap();
    assert!(
        keep(&shelf, at(7), false).await.is_err(),
        "a backup took another's name"
    );
    assert_eq!(std::fs::read(dir.path().join(&name)).unwrap(), before);

    let lost = keep(&shelf, at(8), true).await.unwrap_err();
    assert!(lost.to_string().contains("archive ends before"), "{lost}");
    assert_eq!(shelf.newest_ms().await.unwrap(), Some(7), "half a backup counts");
    assert_eq!(names(dir.path()).len(), 1, "{:?}", names(dir.path()));
}

#[test]
fn what_is_no_folder_is_refused() {
    assert_eq!(folder("file:///mnt/reeve"), Ok("/mnt/reeve"));
    for odd in ["", "/mnt/reeve", "file://mnt/reeve", "s3://bucket"] {
        assert!(folder(odd).unwrap_err().contains("is not file:///"), "{odd}");
    }
}
