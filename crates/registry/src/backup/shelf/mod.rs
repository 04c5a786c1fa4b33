//! Where scheduled backups are kept: a folder or a bucket. A backup counts once a mark names it, and only what was
//! read back whole is marked. Of two nodes at once, one sets the mark of a slot; nothing is ever written over.
//!
//! ```text
//! write ─► <file>, a name of its own ─► read back, check ─► <slot>.kept, if nobody has it ─► the surplus goes
//! ```
//! What a node that died left half done is known by its slot: it is swept once that slot, or a later one, is kept.

mod bucket;
mod names;
mod parts;
mod pipe;
pub mod place;
pub mod source;
pub mod trouble;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use self::bucket::Bucket;
use self::names::{Names, Object};
use self::parts::Parts;
use self::pipe::{QUEUE_MAX, Received, give};
use self::place::Place;
use self::trouble::{Reason, Trouble};
use super::{BackupError, Copy, Header, Pieces, Report, check, save};
use crate::config::S3;
use crate::mutant::Mutant;
use crate::vault::KeyProvider;

/// Objects of one cluster; more are not looked at.
const OBJECTS_MAX: usize = 10_000;
/// What is taken away in one go; the next look goes on.
const GONE_MAX: usize = 100;
const MARK_FORMAT: u32 = 1;
const MARK_BYTES_MAX: u64 = 64 << 10;

/// A multiple of the period between two backups, in milliseconds since 1970. Each holds one backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub u64);

impl Slot {
    pub fn of(now_ms: u64, every_ms: u64) -> Slot {
        Slot(now_ms - now_ms % every_ms.max(1))
    }
}

/// A place for backups of one cluster.
#[derive(Clone)]
pub struct Shelf {
    store: Arc<dyn ObjectStore>,
    home: Home,
    /// Below it stand the names.
    folder: Option<Path>,
    names: Names,
    cluster_id: String,
}

#[derive(Clone)]
enum Home {
    Folder(PathBuf),
    Bucket(Bucket),
}

/// What makes a file count.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub format: u32,
    pub cluster_id: String,
    pub file: String,
    pub bytes: u64,
    /// As `snapshot verify` tells it.
    pub sha256: String,
    pub revision: u64,
    pub saved_ms: u64,
    pub node: u64,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Kept {
    Ours(String),
    /// Another node was quicker.
    Theirs,
}

/// What lies there, of this cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The newest first, each with its objects, the mark before the file.
    kept: Vec<(Slot, Vec<String>)>,
    /// Files without a mark, marks without a file.
    loose: Vec<(Slot, String)>,
}

/// Why nothing was kept.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    #[error(transparent)]
    Trouble(#[from] Trouble),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("the work ended unasked: {0}")]
    Ended(String),
}

impl From<object_store::Error> for ShelfError {
    fn from(error: object_store::Error) -> ShelfError {
        ShelfError::Trouble(Trouble::of_store(&error))
    }
}

impl ShelfError {
    /// What a person is told.
    pub fn trouble(&self) -> Trouble {
        let reason = match self {
            ShelfError::Trouble(trouble) => return trouble.clone(),
            ShelfError::Ended(_) => Reason::Other,
            ShelfError::Backup(BackupError::Archive(_) | BackupError::Vault(_)) => Reason::Registry,
            ShelfError::Backup(BackupError::File { .. }) => Reason::Folder,
            ShelfError::Backup(_) => Reason::Damaged,
        };
        Trouble::new(reason, self.to_string())
    }
}

impl Shelf {
    /// Opens what a URL names; a folder is made when it is missing, a bucket is not.
    pub fn open(url: &str, s3: &S3, cluster: &str, cluster_id: &str) -> Result<Shelf, ShelfError> {
        let place = Place::parse(url).map_err(|why| Trouble::new(Reason::Settings, why))?;
        let (store, home, folder) = open(&place, s3)?;
        Ok(Shelf {
            store,
            home,
            folder,
            names: Names::new(cluster, cluster_id),
            cluster_id: cluster_id.to_owned(),
        })
    }

    /// Keeps one more. It counts only once it was read back whole, and nobody else's counts for this slot.
    pub async fn keep(
        &self,
        root: Arc<dyn KeyProvider>,
        header: Header,
        slot: Slot,
        write: impl FnOnce(&mut dyn FnMut(Copy<'_>) -> Result<(), BackupError>) -> Result<(), BackupError>
        + Send
        + 'static,
    ) -> Result<Kept, ShelfError> {
        let name = self
            .names
            .file(slot, header.revision, header.node, rand::random());
        let file = self.at(&name);
        let written = self.write(&file, root, header.clone(), write).await;
        let report = match written {
            Ok(report) => report,
            Err(error) => {
                // What stopped it is worth more than what may stop the cleaning up.
                let _ = self.store.delete(&file).await;
                return match self.marked(slot).await {
                    Ok(Some(_)) => Ok(Kept::Theirs),
                    _ => Err(error),
                };
            }
        };
        let mark = Mark {
            format: MARK_FORMAT,
            cluster_id: self.cluster_id.clone(),
            file: name.clone(),
            bytes: report.bytes,
            sha256: report.sum,
            revision: header.revision,
            saved_ms: header.saved_ms,
            node: header.node,
        };
        // After an error nobody knows whether the mark is there: the file stays, and is swept if it is not.
        match self.mark(slot, &mark).await? {
            true => Ok(Kept::Ours(name)),
            false => {
                self.store.delete(&file).await?;
                Ok(Kept::Theirs)
            }
        }
    }

    /// Uploads one and reads it back; what comes back is what was written.
    async fn write(
        &self,
        file: &Path,
        root: Arc<dyn KeyProvider>,
        header: Header,
        write: impl FnOnce(&mut dyn FnMut(Copy<'_>) -> Result<(), BackupError>) -> Result<(), BackupError>
        + Send
        + 'static,
    ) -> Result<Report, ShelfError> {
        let (send, mut pieces) = mpsc::channel(QUEUE_MAX);
        let (key, expected) = (root.clone(), header.clone());
        let writing = tokio::task::spawn_blocking(move || {
            let mut sum = [0; 32];
            write(&mut |copy| {
                sum = save(Pieces::new(give(send.clone())), key.as_ref(), &header, copy)?;
                Ok(())
            })?;
            Ok::<_, BackupError>(sum)
        });
        let mut parts = Parts::new(self.store.clone(), file.clone());
        let mut put = Ok(());
        while let Some(piece) = pieces.recv().await {
            put = parts.put(piece).await;
            if put.is_err() {
                break;
            }
        }
        // A writer that is still at it ends now.
        drop(pieces);
        let written = writing
            .await
            .map_err(|error| ShelfError::Ended(error.to_string()))?;
        let finished: Result<_, ShelfError> = match (put, written) {
            (Err(error), _) => Err(error.into()),
            (Ok(()), Err(error)) => Err(error.into()),
            (Ok(()), Ok(sum)) => parts.finish().await.map(|()| sum).map_err(ShelfError::from),
        };
        let sum = match finished {
            Ok(sum) => sum,
            Err(error) => {
                parts.give_up().await;
                return Err(error);
            }
        };
        if Mutant::MarkUnread.is_planted() {
            return Ok(Report {
                bytes: 0,
                blocks: 0,
                sum: hex::encode(sum),
                root_key: String::new(),
                inside: None,
            });
        }
        let report = read(self.store.as_ref(), file, Some(root)).await?;
        let is_same = report
            .inside
            .as_ref()
            .is_some_and(|inside| inside.header == expected)
            && report.sum == hex::encode(sum);
        match is_same {
            true => Ok(report),
            false => Err(BackupError::Odd("another file was read back".to_owned()).into()),
        }
    }

    /// Sets the mark of a slot; false when another one has it.
    async fn mark(&self, slot: Slot, mark: &Mark) -> Result<bool, ShelfError> {
        let bytes = serde_json::to_vec(mark).map_err(|error| ShelfError::Ended(error.to_string()))?;
        let mode = match Mutant::OverwriteMark.is_planted() {
            true => PutMode::Overwrite,
            false => PutMode::Create,
        };
        let at = self.at(&self.names.mark(slot));
        let put = self
            .store
            .put_opts(&at, PutPayload::from(bytes), PutOptions::from(mode));
        let Err(error) = put.await else {
            return Ok(true);
        };
        // Another one has it, or the answer to our own was lost.
        match self.marked(slot).await? {
            Some(found) => Ok(found == *mark),
            None => Err(error.into()),
        }
    }

    async fn marked(&self, slot: Slot) -> Result<Option<Mark>, ShelfError> {
        let at = self.at(&self.names.mark(slot));
        read_mark(self.store.as_ref(), &at).await
    }

    /// Looks what is there.
    pub async fn look(&self) -> Result<Seen, ShelfError> {
        let offset = self.at(self.names.begin());
        let own_begin = self.names.begin();
        let mut found = BTreeMap::new();
        let mut all = self.store.list_with_offset(self.folder.as_ref(), &offset);
        while let Some(object) = all.try_next().await? {
            let Some(name) = self.name_of(&object.location) else {
                continue;
            };
            if !name.starts_with(own_begin) && matches!(self.home, Home::Bucket(_)) {
                // A bucket lists in order, so that a crowded one costs no more.
                break;
            }
            let Some(object) = self.names.read(&name) else {
                continue;
            };
            found.insert(name, object);
            if found.len() > OBJECTS_MAX {
                let what = format!("more than {OBJECTS_MAX} objects of this cluster lie there; keep fewer");
                return Err(Trouble::new(Reason::Settings, what).into());
            }
        }
        self.sort_out(found).await
    }

    async fn sort_out(&self, found: BTreeMap<String, Object>) -> Result<Seen, ShelfError> {
        let mut seen = Seen::default();
        let mut named = BTreeSet::new();
        let marks: Vec<Slot> = found.values().filter_map(Object::mark).collect();
        for slot in marks {
            let files: Vec<_> = found.iter().filter(|(_, o)| **o == Object::File(slot)).collect();
            let name = match files.as_slice() {
                [] => None,
                // Nobody else can set this mark, so it is this one's; else the mark says whose.
                [(only, _)] => Some((*only).clone()),
                _ => self.marked(slot).await?.map(|mark| mark.file),
            };
            match name.filter(|name| found.contains_key(name)) {
                Some(name) => {
                    named.insert(name.clone());
                    seen.kept.push((slot, vec![self.names.mark(slot), name]));
                }
                None => seen.loose.push((slot, self.names.mark(slot))),
            }
        }
        for (name, object) in found {
            match object {
                Object::Earlier(slot) => seen.kept.push((slot, vec![name])),
                Object::File(slot) if !named.contains(&name) => seen.loose.push((slot, name)),
                Object::EarlierPart(slot) => seen.loose.push((slot, name)),
                Object::File(_) | Object::Mark(_) => {}
            }
        }
        seen.kept.sort_by_key(|(slot, _)| std::cmp::Reverse(*slot));
        Ok(seen)
    }

    /// Takes away what is too much and what is half done; says how much of each.
    pub async fn tidy(&self, seen: &Seen, keep: usize, oldest: Slot) -> Result<usize, ShelfError> {
        let names = seen.surplus(keep, oldest);
        let mut gone = 0;
        for name in names.into_iter().take(GONE_MAX) {
            match self.store.delete(&self.at(&name)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => gone += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(gone)
    }

    /// Gives up uploads that nobody goes on with: their slot, or a later one, is kept.
    pub async fn sweep_uploads(&self, seen: &Seen) -> Result<usize, ShelfError> {
        let Some(newest) = seen.newest() else {
            return Ok(0);
        };
        let names = self.names.clone();
        let is_dead =
            move |name: &str| matches!(names.read(name), Some(Object::File(slot)) if slot <= newest);
        match &self.home {
            Home::Folder(folder) => {
                let folder = folder.clone();
                let swept = tokio::task::spawn_blocking(move || parts::sweep(&folder, is_dead)).await;
                Ok(swept.map_err(|error| ShelfError::Ended(error.to_string()))??)
            }
            Home::Bucket(bucket) => {
                let mut gone = 0;
                for upload in bucket.uploads(self.at(self.names.begin()).as_ref()).await? {
                    let name = self.name_of(&Path::from(upload.key.as_str()));
                    if name.is_some_and(|name| is_dead(&name)) {
                        bucket.give_up(&upload).await?;
                        gone += 1;
                    }
                }
                Ok(gone)
            }
        }
    }

    fn at(&self, name: &str) -> Path {
        at(self.folder.as_ref(), name)
    }

    fn name_of(&self, path: &Path) -> Option<String> {
        name_of(self.folder.as_ref(), path)
    }
}

impl Object {
    fn mark(&self) -> Option<Slot> {
        match self {
            Object::Mark(slot) => Some(*slot),
            _ => None,
        }
    }
}

impl Seen {
    /// The newest that counts.
    pub fn newest(&self) -> Option<Slot> {
        self.kept.first().map(|(slot, _)| *slot)
    }

    /// Backups that count.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// What goes, in this order: all but the `keep` newest, all before `oldest`, never the newest of all; and what
    /// was left half done where something newer is whole.
    fn surplus(&self, keep: usize, oldest: Slot) -> Vec<String> {
        let Some(newest) = self.newest() else {
            return Vec::new();
        };
        let mut names = Vec::new();
        // The oldest first; of each the mark first: no mark is left without its file.
        for (nth, (slot, objects)) in self.kept.iter().enumerate().rev() {
            if nth > 0 && (nth >= keep || *slot < oldest) {
                names.extend(objects.iter().cloned());
            }
        }
        let loose = self.loose.iter().filter(|(slot, _)| *slot <= newest);
        names.extend(loose.map(|(_, name)| name.clone()));
        names
    }
}

type Opened = (Arc<dyn ObjectStore>, Home, Option<Path>);

fn open(place: &Place, s3: &S3) -> Result<Opened, Trouble> {
    match place {
        Place::Folder(folder) => {
            let wrong = |why: String| Trouble::new(Reason::Folder, format!("{}: {why}", folder.display()));
            std::fs::create_dir_all(folder).map_err(|error| wrong(error.to_string()))?;
            let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| wrong(error.to_string()))?;
            let store: Arc<dyn ObjectStore> = Arc::new(store.with_fsync(true));
            Ok((store, Home::Folder(folder.clone()), None))
        }
        Place::Bucket { bucket, prefix } => {
            let bucket = Bucket::open(bucket, s3)?;
            let folder = (!prefix.is_empty()).then(|| Path::from(prefix.as_str()));
            let store: Arc<dyn ObjectStore> = Arc::new(bucket.s3.clone());
            Ok((store, Home::Bucket(bucket), folder))
        }
    }
}

fn at(folder: Option<&Path>, name: &str) -> Path {
    match folder {
        Some(folder) => Path::from(format!("{folder}/{name}")),
        None => Path::from(name),
    }
}

/// The name right below a folder.
fn name_of(folder: Option<&Path>, path: &Path) -> Option<String> {
    let mut name: &str = path.as_ref();
    if let Some(folder) = folder {
        let folder: &str = folder.as_ref();
        name = name.strip_prefix(folder)?.strip_prefix('/')?;
    }
    (!name.contains('/')).then(|| name.to_owned())
}

async fn read_mark(store: &dyn ObjectStore, at: &Path) -> Result<Option<Mark>, ShelfError> {
    let found = match store.get(at).await {
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        found => found?,
    };
    let odd = |why: String| Trouble::new(Reason::Damaged, format!("{at} is no mark of a backup: {why}"));
    if found.meta.size > MARK_BYTES_MAX {
        return Err(odd(format!("it is {} bytes long", found.meta.size)).into());
    }
    let bytes = found.bytes().await?;
    let mark: Mark = serde_json::from_slice(&bytes).map_err(|error| odd(error.to_string()))?;
    if mark.format != MARK_FORMAT {
        let what = format!("{at} has format {}; use a newer reeve-registry", mark.format);
        return Err(Trouble::new(Reason::Damaged, what).into());
    }
    Ok(Some(mark))
}

/// Reads all of a file, and believes nothing of it.
async fn read(
    store: &dyn ObjectStore,
    path: &Path,
    root: Option<Arc<dyn KeyProvider>>,
) -> Result<Report, ShelfError> {
    let mut stream = store.get(path).await?.into_stream();
    let (send, receive) = mpsc::channel(QUEUE_MAX);
    let reading = tokio::task::spawn_blocking(move || {
        let root = root.as_deref();
        check(Received::new(receive), root, &mut |_| Ok(()))
    });
    let mut trouble = None;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| {
            let seen = Trouble::of_store(&error);
            trouble = Some(seen.clone());
            io::Error::other(seen)
        });
        // The reader may have seen enough; it says why itself.
        if send.send(piece).await.is_err() || trouble.is_some() {
            break;
        }
    }
    drop(send);
    let read = reading
        .await
        .map_err(|error| ShelfError::Ended(error.to_string()))?;
    match trouble {
        Some(trouble) => Err(trouble.into()),
        None => Ok(read?.0),
    }
}
