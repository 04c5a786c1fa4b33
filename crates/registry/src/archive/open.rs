//! Opening with suspicion: a store that panics, lies or ends too early is set aside, never repaired in place.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::error;

use super::ArchiveError;
use super::store::{Cipher, Store};

/// Opens the archive; when it cannot be trusted, keeps it for inspection beside a new, empty one.
pub(super) fn open_or_set_aside(dir: &Path, cipher: &Arc<dyn Cipher>) -> Result<Store, ArchiveError> {
    match open(dir, cipher) {
        Ok(store) => Ok(store),
        // Another process has it, or the disk fails: a new archive would not help.
        Err(error @ (ArchiveError::Disk { .. } | ArchiveError::Store(sled::Error::Io(_)))) => Err(error),
        Err(cause) => {
            error!(%cause, "the archive cannot be trusted; it is set aside and fetched anew");
            set_aside(dir)?;
            open(dir, cipher)
        }
    }
}

/// Moves the archive out of the way.
pub(super) fn set_aside(dir: &Path) -> Result<(), ArchiveError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = dir.with_file_name(format!("{name}.aside-{now}"));
    fs::rename(dir, aside).map_err(ArchiveError::disk("setting the folder aside"))
}

/// Opens on a thread of its own, which may panic without taking the node with it.
pub(super) fn open(dir: &Path, cipher: &Arc<dyn Cipher>) -> Result<Store, ArchiveError> {
    let (dir, cipher) = (dir.to_owned(), cipher.clone());
    let opening = thread::Builder::new()
        .name("archive-open".to_owned())
        .spawn(move || Store::open(&dir, cipher))
        .map_err(ArchiveError::disk("starting a thread"))?;
    opening.join().unwrap_or_else(|panic| Err(panicked(&*panic)))
}

/// Runs something against the store and turns its panic into an error.
pub(super) fn guarded<T>(look: impl FnOnce() -> Result<T, ArchiveError>) -> Result<T, ArchiveError> {
    catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> ArchiveError {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
    ArchiveError::Panicked(text.unwrap_or_else(|| "without a message".to_owned()))
}
