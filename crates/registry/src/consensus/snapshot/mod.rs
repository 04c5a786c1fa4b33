//! Snapshots: our own files, sealed block by block, checked whole before use.
//!
//! ```text
//! magic | header len | sealed header | (len | crc32c | sealed block)* | 0 | SHA-256 of all before
//! ```
//! Written beside, fsynced, renamed, folder fsynced; two are kept.

mod layout;
mod read;
mod write;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use reeve_domain::State;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tracing::warn;

pub(super) use read::Reader;
pub(super) use write::Writer;

use super::decode::unknown_state;
use super::folder::REJOIN;
use super::types::SnapshotMeta;
use crate::damage::{Damages, Part};
use crate::files;
use crate::vault::Sealer;
use layout::{damaged, is_damage};
use read::check_sum;

const KEEP: usize = 2;
/// Damaged ones that are kept as evidence.
pub(super) const DAMAGED_KEEP: usize = 2;

/// Where a node keeps its snapshots.
#[derive(Clone)]
pub(super) struct SnapshotStore {
    folder: PathBuf,
    cluster: String,
    sealer: Sealer,
    drafts: Arc<AtomicU64>,
    damages: Damages,
}

/// A snapshot that was read; none when there was none.
pub(super) type Best = Option<(SnapshotMeta, State)>;

/// A whole snapshot on disk.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    pub(super) path: PathBuf,
    /// Received, and not taken in yet.
    _draft: Option<Arc<Draft>>,
}

/// A file that goes away with this, unless it was renamed before.
#[derive(Debug)]
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.0.display(), "a draft of a snapshot is left over");
        }
    }
}

impl SnapshotStore {
    pub(super) fn open(folder: PathBuf, cluster: &str, sealer: Sealer) -> io::Result<SnapshotStore> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "tmp") {
                fs::remove_file(path)?;
            }
        }
        Ok(SnapshotStore {
            folder,
            cluster: cluster.to_owned(),
            sealer,
            drafts: Arc::default(),
            damages: Damages::default(),
        })
    }

    fn path_of(&self, meta: &SnapshotMeta) -> PathBuf {
        let index = meta.last_log_id.as_ref().map_or(0, |id| id.index);
        self.folder.join(format!("snapshot-{index:020}"))
    }

    /// Writes a state; `before_rename` makes durable what the snapshot supersedes.
    pub(super) fn write(
        &self,
        meta: &SnapshotMeta,
        state: &State,
        before_rename: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<SnapshotFile> {
        let mut writer = self.writer(meta)?;
        rmp_serde::encode::write_named(&mut writer, state).map_err(io::Error::other)?;
        let draft = writer.finish()?;
        before_rename()?;
        self.take_in(&draft, meta)
    }

    /// The newest snapshot that is whole. A damaged one is an error, not a reason to use an older one in silence: the log
    /// need not reach back to that.
    pub(super) fn newest(&self) -> io::Result<Option<(SnapshotMeta, SnapshotFile)>> {
        let mut tries = 0;
        loop {
            let Some(path) = self.files()?.pop() else {
                return Ok(None);
            };
            tries += 1;
            match Reader::open(self, &path) {
                Ok((meta, _)) => return Ok(Some((meta, SnapshotFile { path, _draft: None }))),
                // It was damaged and has been taken away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries <= KEEP => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What stands for a snapshot that cannot be made now: nobody can open it, and who wants to send it tries again after
    /// a while.
    pub(super) fn none(&self) -> (SnapshotMeta, SnapshotFile) {
        let path = self.folder.join("none");
        (SnapshotMeta::default(), SnapshotFile { path, _draft: None })
    }

    /// What this node begins with: the newest snapshot that is whole, which must reach to where the log begins.
    pub(super) fn best(&self, purged: Option<u64>) -> io::Result<Best> {
        self.must_reach(self.newest_whole()?, purged)
    }

    /// The newest snapshot that is whole. Damaged ones are set aside and named; an older one is as good as long as the
    /// log still reaches back to it.
    pub(super) fn newest_whole(&self) -> io::Result<Best> {
        for path in self.files()?.into_iter().rev() {
            let file = SnapshotFile { path, _draft: None };
            match self.load(&file) {
                Ok(whole) => return Ok(Some(whole)),
                Err(error) if is_damage(&error) => self.set_aside(&file.path, &error)?,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// `purged`: the last entry that only a snapshot holds.
    pub(super) fn must_reach(&self, whole: Best, purged: Option<u64>) -> io::Result<Best> {
        let last = whole.as_ref().and_then(|(meta, _)| meta.last_log_id);
        let last = last.map(|id| id.index);
        if purged <= last {
            return Ok(whole);
        }
        let why = format!(
            "the log begins behind entry {}, and no whole snapshot in {} reaches so far (the best: {last:?}); {REJOIN}",
            purged.unwrap_or_default(),
            self.folder.display()
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }

    fn set_aside(&self, path: &Path, why: &io::Error) -> io::Result<()> {
        self.keep_evidence(path, why)?;
        self.let_go(path)
    }

    /// Tells of a damaged snapshot, and gives it a second name. It keeps its place until another one is there: in the
    /// place of nothing at all a leader could send nothing.
    fn keep_evidence(&self, path: &Path, why: &io::Error) -> io::Result<()> {
        let aside = path.with_extension("damaged");
        self.damages.found(
            Part::Snapshots,
            format!("{why}; it is kept as {}", aside.display()),
        );
        if let Err(error) = files::restrict(path) {
            warn!(%error, "what is set aside may be open to others");
        }
        if !is_same(path, &aside)? {
            remove_if_there(&aside)?;
            // Not every file system gives a file two names.
            fs::hard_link(path, &aside).or_else(|_| fs::rename(path, &aside))?;
        }
        let mut kept = self.names(|name| name.ends_with(".damaged"))?;
        kept.truncate(kept.len().saturating_sub(DAMAGED_KEEP));
        kept.iter().try_for_each(|old| remove_if_there(old))
    }

    /// Takes a damaged snapshot out of its place, unless another one has that by now.
    pub(super) fn let_go(&self, path: &Path) -> io::Result<()> {
        if is_same(path, &path.with_extension("damaged"))? {
            fs::remove_file(path)?;
        }
        File::open(&self.folder)?.sync_all()
    }

    /// Reads every snapshot again; `rest` is told how much was read, and may end it. Says which are damaged.
    pub(super) fn check(&self, mut rest: impl FnMut(u64) -> io::Result<()>) -> io::Result<Vec<PathBuf>> {
        let mut damaged = Vec::new();
        for path in self.files()? {
            match check_sum(self, &path, &mut rest) {
                Err(error) if is_damage(&error) => {
                    self.keep_evidence(&path, &error)?;
                    damaged.push(path);
                }
                // A newer one has taken its place meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                checked => drop(checked?),
            }
        }
        Ok(damaged)
    }

    /// What this node's own files are sealed with.
    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// What was found damaged.
    pub(super) fn damages(&self) -> &Damages {
        &self.damages
    }

    /// Reads and checks a whole snapshot.
    pub(super) fn load(&self, file: &SnapshotFile) -> io::Result<(SnapshotMeta, State)> {
        let (meta, mut reader) = Reader::open(self, &file.path)?;
        // From one piece of memory a text is read where it lies, which takes two thirds of the time.
        let mut plain =
            Vec::with_capacity(usize::try_from(fs::metadata(&file.path)?.len()).unwrap_or_default());
        reader.read_to_end(&mut plain)?;
        let mut from = rmp_serde::Deserializer::from_read_ref(&plain);
        let state = State::deserialize(&mut from).map_err(|error| self.unread(&file.path, &plain, &error))?;
        match IgnoredAny::deserialize(&mut from) {
            Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok((meta, state)),
            _ => Err(damaged(&file.path, "bytes are left over")),
        }
    }

    /// The sum over the file is right and its blocks open: what cannot be read then is of another release.
    fn unread(&self, path: &Path, plain: &[u8], error: &rmp_serde::decode::Error) -> io::Error {
        use rmp_serde::decode::Error;
        if matches!(error, Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_)) {
            return damaged(path, &error.to_string());
        }
        let Some(seen) = rmp_serde::from_slice(plain).ok() else {
            return damaged(path, &error.to_string());
        };
        let why = unknown_state(&seen, &error.to_string());
        io::Error::new(
            io::ErrorKind::Unsupported,
            format!("snapshot {}: {why}", path.display()),
        )
    }

    /// Gives a whole snapshot its place among the others, for good.
    pub(super) fn take_in(&self, file: &SnapshotFile, meta: &SnapshotMeta) -> io::Result<SnapshotFile> {
        let path = self.path_of(meta);
        if file.path != path {
            fs::rename(&file.path, &path)?;
            File::open(&self.folder)?.sync_all()?;
            self.prune()?;
        }
        Ok(SnapshotFile { path, _draft: None })
    }

    /// Opens a snapshot to be sent, block by block.
    pub(super) fn blocks(&self, file: &SnapshotFile) -> io::Result<Reader> {
        Ok(Reader::open(self, &file.path)?.1)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        self.names(|name| !name.contains('.'))
    }

    /// Snapshots whose names are like that, the oldest first.
    fn names(&self, like: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.starts_with("snapshot-") && like(name)) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn prune(&self) -> io::Result<()> {
        let files = self.files()?;
        for path in files.iter().rev().skip(KEEP) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Whether two names are of one file.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let of = |path: &Path| match fs::metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let one = of(one)?;
    Ok(one.is_some() && one == of(other)?)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
