//! Where scheduled backups are kept: an object store. A name is given once, and only to a file that was read back.
//!
//! ```text
//! write ─► <name>.part ─► read back, check ─► rename to <name>, if nobody has it ─► the oldest beyond `keep` go
//! ```

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use tokio::sync::mpsc;

use super::{BackupError, Copy, Header, check, save};
use crate::vault::KeyProvider;

/// Pieces between the thread that writes or reads and the store.
const QUEUE_MAX: usize = 8;
const PIECE_BYTES: usize = 256 << 10;
/// Uploads in flight.
const UPLOADS_MAX: usize = 4;
const SUFFIX: &str = ".snapshot";

/// A place for backups of one cluster.
#[derive(Clone)]
pub struct Shelf {
    store: Arc<dyn ObjectStore>,
    /// What its names begin with: another cluster's are never looked at, nor taken away.
    prefix: String,
}

/// Why nothing was kept.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    #[error("{0}")]
    Url(String),
    #[error("the store does not answer as it should")]
    Store(#[from] object_store::Error),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("the work ended unasked: {0}")]
    Ended(String),
}

impl Shelf {
    /// Opens what a `file:///…` names; the folder is made when it is missing.
    pub fn open(url: &str, cluster: &str, cluster_id: &str) -> Result<Shelf, ShelfError> {
        let folder = folder(url).map_err(ShelfError::Url)?;
        std::fs::create_dir_all(folder).map_err(|error| ShelfError::Url(format!("{folder}: {error}")))?;
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        let id: String = cluster_id.chars().take(8).collect();
        Ok(Shelf {
            store: Arc::new(store),
            prefix: format!("{cluster}-{id}-"),
        })
    }

    /// When the newest one was saved, in milliseconds since 1970.
    pub async fn newest_ms(&self) -> Result<Option<u64>, ShelfError> {
        Ok(self
            .names()
            .await?
            .iter()
            .filter_map(|name| self.saved_ms(name))
            .max())
    }

    /// Keeps one more. It has its name only once it was read back whole.
    pub async fn keep(
        &self,
        root: Arc<dyn KeyProvider>,
        header: Header,
        write: impl FnOnce(&mut dyn FnMut(Copy<'_>) -> Result<(), BackupError>) -> Result<(), BackupError>
        + Send
        + 'static,
    ) -> Result<String, ShelfError> {
        let name = format!(
            "{}{:013}-r{}{SUFFIX}",
            self.prefix, header.saved_ms, header.revision
        );
        let part = Path::from(format!("{name}.part"));
        let kept = self.keep_as(&name, &part, root, header, write).await;
        if kept.is_err() {
            // What stopped it is worth more than what may stop the cleaning up.
            let _ = self.store.delete(&part).await;
        }
        kept.map(|()| name)
    }

    async fn keep_as(
        &self,
        name: &str,
        part: &Path,
        root: Arc<dyn KeyProvider>,
        header: Header,
        write: impl FnOnce(&mut dyn FnMut(Copy<'_>) -> Result<(), BackupError>) -> Result<(), BackupError>
        + Send
        + 'static,
    ) -> Result<(), ShelfError> {
        let upload = self.store.put_multipart(part).await?;
        let mut upload = WriteMultipart::new(upload);
        let (send, mut pieces) = mpsc::channel(QUEUE_MAX);
        let (key, expected) = (root.clone(), header.clone());
        let writing = tokio::task::spawn_blocking(move || {
            write(&mut |copy| {
                let to = Pieces::new(send.clone());
                save(to, key.as_ref(), &header, copy).map(drop)
            })
        });
        while let Some(piece) = pieces.recv().await {
            upload.wait_for_capacity(UPLOADS_MAX).await?;
            upload.put(piece);
        }
        let written = writing
            .await
            .map_err(|error| ShelfError::Ended(error.to_string()))?;
        if let Err(error) = written {
            upload.abort().await?;
            return Err(error.into());
        }
        upload.finish().await?;
        let checked = self.read_back(part, root).await;
        match checked {
            Ok(found) if found == expected => {}
            Ok(_) => return Err(BackupError::Odd("another file was read back".to_owned()).into()),
            Err(error) => return Err(error),
        }
        Ok(self.store.rename_if_not_exists(part, &Path::from(name)).await?)
    }

    /// Takes the oldest away until so many are left.
    pub async fn prune(&self, keep: usize) -> Result<usize, ShelfError> {
        let mut names = self.names().await?;
        names.sort();
        let surplus = names.len().saturating_sub(keep);
        for name in &names[..surplus] {
            self.store.delete(&Path::from(name.as_str())).await?;
        }
        Ok(surplus)
    }

    async fn read_back(&self, path: &Path, root: Arc<dyn KeyProvider>) -> Result<Header, ShelfError> {
        let mut stream = self.store.get(path).await?.into_stream();
        let (send, receive) = mpsc::channel(QUEUE_MAX);
        let reading = tokio::task::spawn_blocking(move || {
            let from = Received {
                from: receive,
                piece: Bytes::new(),
            };
            check(from, Some(root.as_ref()), &mut |_| Ok(()))
        });
        while let Some(piece) = stream.next().await {
            let is_last = piece.is_err();
            // The reader may have seen enough; it says why itself.
            if send.send(piece.map_err(io::Error::other)).await.is_err() || is_last {
                break;
            }
        }
        drop(send);
        let read = reading
            .await
            .map_err(|error| ShelfError::Ended(error.to_string()))?;
        let (report, _) = read?;
        let inside = report
            .inside
            .ok_or_else(|| BackupError::Odd("nothing was read back".to_owned()))?;
        Ok(inside.header)
    }

    /// The names of this cluster's, without what is half written.
    async fn names(&self) -> Result<Vec<String>, ShelfError> {
        let all: Vec<_> = self.store.list(None).try_collect().await?;
        let names = all.iter().map(|object| object.location.to_string());
        let own = |name: &String| self.saved_ms(name).is_some();
        Ok(names.filter(own).collect())
    }

    fn saved_ms(&self, name: &str) -> Option<u64> {
        let rest = name.strip_prefix(&self.prefix)?.strip_suffix(SUFFIX)?;
        rest.split_once("-r")?.0.parse().ok()
    }
}

/// The folder of a `file:///…`; anything else is not understood.
pub fn folder(url: &str) -> Result<&str, String> {
    url.strip_prefix("file://")
        .filter(|path| path.starts_with('/'))
        .ok_or_else(|| format!("{url:?} is not file:///a/folder"))
}

/// What is written, in pieces to whoever uploads them.
struct Pieces {
    to: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
}

impl Pieces {
    fn new(to: mpsc::Sender<Bytes>) -> Pieces {
        Pieces {
            to,
            piece: Vec::with_capacity(PIECE_BYTES),
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        let sent = self.to.blocking_send(piece.into());
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the upload has ended"))
    }
}

/// What is downloaded, as something to read from.
struct Received {
    from: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Received {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let taken = into.len().min(self.piece.len());
        into[..taken].copy_from_slice(&self.piece.split_to(taken));
        Ok(taken)
    }
}
