//! A backup from the folder of one node that is stopped, when nobody else is left.
//!
//! The folder is read from a copy: opening a log or a store may mend it, and it may be the last one there is.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::save::header;
use super::{BackupError, Copy, Header, save};
use crate::archive::{Archive, Change, LIMIT_MAX};
use crate::consensus::{Survivor, read_survivor};
use crate::node::ArchiveCipher;
use crate::vault::{RootKey, open_or_make};

/// Writes a backup of everything that a survivor's folder holds, also what it does not know to be committed.
pub fn extract(data_dir: &Path, root_key: &Path, file: &Path) -> Result<Header, BackupError> {
    let root = RootKey::read(root_key)?;
    let survivor = Survivor::take(data_dir)?;
    if !data_dir.join("node.key").exists() {
        return Err(BackupError::file(
            &data_dir.join("node.key"),
            "it is not there: nothing here can be opened",
        ));
    }
    let work = Work::begin(file)?;
    copy_folder(data_dir, work.path())?;
    let written = write(&survivor, &root, work.path(), file);
    drop(work);
    written
}

fn write(survivor: &Survivor, root: &RootKey, folder: &Path, file: &Path) -> Result<Header, BackupError> {
    let sealer = open_or_make(folder, &survivor.cluster, root)?;
    let cipher = Arc::new(ArchiveCipher::new(sealer.clone()));
    let archive = Archive::open(folder.join("archive"), cipher)?;
    let heard = |applied| match Change::of(&applied) {
        Some(change) => archive.write(change).map_err(io::Error::other),
        None => Ok(()),
    };
    let state = read_survivor(folder, &survivor.cluster, sealer, heard)?;
    if state.cluster.id.is_empty() {
        let why = "it holds no State: this node never caught up with its cluster";
        return Err(BackupError::Odd(why.to_owned()));
    }
    archive.reach(&state)?;
    if let Some((from, to)) = archive.gap()? {
        let why = format!(
            "the audit archive of this folder lacks revisions {from} to {to}; recover from another survivor, or restore a snapshot"
        );
        return Err(BackupError::Odd(why));
    }
    let header = header(&state, survivor.node_id, SystemTime::now());
    let draft = file.with_extension("part");
    let to = fs::File::create(&draft).map_err(|error| BackupError::file(&draft, error))?;
    let mut to = io::BufWriter::with_capacity(1 << 20, to);
    let copy = Copy {
        state: &state,
        changes: &mut |from| Ok(archive.changes(from, LIMIT_MAX)?),
        said: &mut |_| {},
    };
    save(&mut to, root, &header, copy)?;
    to.flush()?;
    to.get_ref().sync_all()?;
    crate::files::rename(&draft, file)?;
    Ok(header)
}

/// A folder beside the file, which goes away with this.
struct Work(PathBuf);

impl Work {
    fn begin(file: &Path) -> Result<Work, BackupError> {
        let path = file.with_extension("work");
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        // Not one that is there already: it may be somebody's.
        fs::create_dir(&path).map_err(|error| BackupError::file(&path, error))?;
        Ok(Work(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "a copy of the folder is left over; remove it");
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), BackupError> {
    let told = |error: io::Error| BackupError::file(from, error);
    for entry in fs::read_dir(from).map_err(told)? {
        let entry = entry.map_err(told)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(told)?.is_dir() {
            fs::create_dir(&target).map_err(told)?;
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).map_err(told)?;
        }
    }
    Ok(())
}
