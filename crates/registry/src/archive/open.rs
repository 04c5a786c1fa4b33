//! Opening with suspicion: a store that panics, lies or ends too early is set aside, never repaired in place.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::warn;

use super::ArchiveError;
use super::store::{Cipher, Store};
use super::suspect::odd_file;
use crate::damage::{Damages, Part, chain};
use crate::files;

/// Archives that were set aside and are kept for inspection; older ones go, or they would fill the disk.
const ASIDE_MAX: usize = 2;

/// Opens the archive; when it cannot be trusted, keeps it for inspection beside a new, empty one.
pub(super) fn open_or_set_aside(
    dir: &Path,
    cipher: &Arc<dyn Cipher>,
    damages: &Damages,
) -> Result<Store, ArchiveError> {
    match open(dir, cipher) {
        Ok(store) => {
            if let Some(oddity) = store.oddity() {
                damages.found(Part::Archive, oddity);
            }
            Ok(store)
        }
        Err(cause) if cause.is_distrust() => {
            let place = match &cause {
                ArchiveError::Store(_) | ArchiveError::Panicked(_) => odd_file(dir),
                _ => dir.join("sled/db").display().to_string(),
            };
            damages.found(
                Part::Archive,
                format!("{place}: {}; it is set aside and fetched anew", chain(&cause)),
            );
            set_aside(dir)?;
            open(dir, cipher)
        }
        // Another process has it, or the disk fails: a new archive would not help.
        Err(error) => Err(error),
    }
}

/// Moves the archive out of the way.
pub(super) fn set_aside(dir: &Path) -> Result<(), ArchiveError> {
    let disk = ArchiveError::disk;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = dir.with_file_name(format!("{name}.aside-{now}"));
    if let Err(error) = files::restrict(dir) {
        warn!(%error, folder = %dir.display(), "what is set aside may be open to others");
    }
    fs::rename(dir, aside).map_err(disk("setting the folder aside"))?;
    prune(dir, &format!("{name}.aside-")).map_err(disk("removing what was set aside long ago"))
}

fn prune(dir: &Path, prefix: &str) -> io::Result<()> {
    let Some(folder) = dir.parent() else { return Ok(()) };
    let mut aside = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            aside.push(entry.path());
        }
    }
    // Their names end with the time, which has as many digits for centuries.
    aside.sort();
    let old = aside.len().saturating_sub(ASIDE_MAX);
    aside.iter().take(old).try_for_each(fs::remove_dir_all)
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
