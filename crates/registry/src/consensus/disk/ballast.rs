//! A file that holds room: a node that finds a full disk gives it up, and can start.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::DiskSettings;

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("ballast")
}

/// At the start: with less room than the ballast holds, it goes.
pub(super) fn give_up_when_needed(data_dir: &Path, settings: DiskSettings) -> io::Result<()> {
    let disk = statvfs(data_dir)?;
    let free = disk.f_bavail * disk.f_frsize;
    if free >= settings.ballast_bytes || !path(data_dir).exists() {
        return Ok(());
    }
    tracing::error!(
        free,
        "the disk is full: the ballast is given up, so that this node can start"
    );
    fs::remove_file(path(data_dir))
}

/// With room enough for it and for as much again above the reserve, it is there.
pub(super) fn take_when_possible(data_dir: &Path, settings: DiskSettings, free: u64) -> io::Result<()> {
    let wanted = settings.ballast_bytes;
    let path = path(data_dir);
    if wanted == 0 || path.exists() || free < settings.reserve_bytes + 2 * wanted {
        return Ok(());
    }
    let draft = path.with_extension("tmp");
    let held =
        File::create(&draft).and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, wanted)?));
    match held {
        Ok(()) => fs::rename(&draft, &path),
        // Some file systems hold no room ahead; then there is no ballast.
        Err(error) => {
            fs::remove_file(&draft).ok();
            match error.kind() {
                io::ErrorKind::Unsupported => Ok(()),
                _ => Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(ballast_bytes: u64) -> DiskSettings {
        DiskSettings {
            reserve_bytes: 1 << 20,
            ballast_bytes,
            slow_flush: Duration::from_secs(1),
        }
    }

    #[test]
    fn it_is_taken_when_there_is_room_and_given_up_when_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(1 << 20);
        take_when_possible(dir.path(), settings, 3 << 20).unwrap();
        assert_eq!(fs::metadata(path(dir.path())).unwrap().len(), 1 << 20);
        give_up_when_needed(dir.path(), settings).unwrap();
        assert!(path(dir.path()).exists(), "there is room");
        let huge = DiskSettings {
            ballast_bytes: u64::MAX / 4,
            ..settings
        };
        give_up_when_needed(dir.path(), huge).unwrap();
        assert!(!path(dir.path()).exists());
        take_when_possible(dir.path(), settings, (3 << 20) - 1).unwrap();
        assert!(!path(dir.path()).exists(), "there is too little room");
    }

    /// A bit of it that flips is harmless: it holds room, and nobody reads it.
    #[test]
    fn what_is_in_it_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(1 << 10);
        take_when_possible(dir.path(), settings, 3 << 20).unwrap();
        let mut bytes = fs::read(path(dir.path())).unwrap();
        bytes[500] ^= 1;
        fs::write(path(dir.path()), &bytes).unwrap();
        take_when_possible(dir.path(), settings, 3 << 20).unwrap();
        assert_eq!(fs::read(path(dir.path())).unwrap(), bytes, "it is there already");
        let huge = DiskSettings {
            ballast_bytes: u64::MAX / 4,
            ..settings
        };
        give_up_when_needed(dir.path(), huge).unwrap();
        assert!(!path(dir.path()).exists());
    }

    #[test]
    fn without_a_size_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        take_when_possible(dir.path(), settings(0), u64::MAX).unwrap();
        assert!(!path(dir.path()).exists());
    }
}
