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
mod stock;
pub mod trouble;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use self::bucket::Bucket;
use self::names::Names;
use self::parts::Parts;
use self::pipe::{QUEUE_MAX, Received, give};
use self::place::Place;
pub use self::stock::Seen;
use self::trouble::{Reason, Trouble};
use super::{BackupError, Copy, Header, Pieces, Report, check, save};
use crate::config::S3;
use crate::mutant::Mutant;
use crate::vault::KeyProvider;

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

    fn at(&self, name: &str) -> Path {
        at(self.folder.as_ref(), name)
    }

    fn name_of(&self, path: &Path) -> Option<String> {
        name_of(self.folder.as_ref(), path)
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
