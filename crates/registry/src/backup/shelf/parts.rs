//! One upload: a small file in one request, a larger one in parts of one size.

use std::io;
use std::path::Path as Folder;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, Result};
use tokio::task::JoinSet;

use super::trouble::{Reason, Trouble};

/// No store takes smaller ones than 5 MiB, and some take only equal ones.
pub(super) const PART_BYTES: usize = 8 << 20;
/// No store takes more.
const PARTS_MAX: usize = 10_000;
/// On their way at once.
const UNDER_WAY_MAX: usize = 4;

pub(super) struct Parts {
    store: Arc<dyn ObjectStore>,
    path: Path,
    upload: Option<Box<dyn MultipartUpload>>,
    under_way: JoinSet<Result<()>>,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    count: usize,
    bytes: u64,
}

impl Parts {
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path) -> Parts {
        Parts {
            store,
            path,
            upload: None,
            under_way: JoinSet::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            count: 0,
            bytes: 0,
        }
    }

    /// Takes a piece; a part is sent when there is one.
    pub(super) async fn put(&mut self, piece: Bytes) -> Result<(), Trouble> {
        let mut rest = piece;
        while !rest.is_empty() {
            let taken = rest.split_to(rest.len().min(PART_BYTES - self.waiting_bytes));
            self.bytes += taken.len() as u64;
            self.waiting_bytes += taken.len();
            self.waiting.push(taken);
            if self.waiting_bytes == PART_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Sends what is left, and makes it one object.
    pub(super) async fn finish(&mut self) -> Result<(), Trouble> {
        if self.upload.is_none() {
            let whole: PutPayload = std::mem::take(&mut self.waiting).into_iter().collect();
            let put = self.store.put(&self.path, whole).await;
            return put.map(drop).map_err(|error| Trouble::of_store(&error));
        }
        if self.waiting_bytes > 0 {
            self.send().await?;
        }
        while let Some(sent) = self.under_way.join_next().await {
            judge(sent)?;
        }
        let Some(upload) = &mut self.upload else {
            return Ok(());
        };
        let Err(error) = upload.complete().await else {
            return Ok(());
        };
        // It may be done, and only the answer lost. Then it is read back like any other.
        match self.store.head(&self.path).await {
            Ok(found) if found.size == self.bytes => Ok(()),
            _ => Err(Trouble::of_store(&error)),
        }
    }

    /// Leaves nothing behind, as far as the store lets it.
    pub(super) async fn give_up(&mut self) {
        self.under_way.shutdown().await;
        if let Some(mut upload) = self.upload.take() {
            // A later sweep finds what this does not.
            let _ = upload.abort().await;
        }
    }

    async fn send(&mut self) -> Result<(), Trouble> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let begun = self.store.put_multipart(&self.path).await;
                none.insert(begun.map_err(|error| Trouble::of_store(&error))?)
            }
        };
        self.count += 1;
        if self.count > PARTS_MAX {
            let what =
                format!("a backup of more than {PARTS_MAX} parts of {PART_BYTES} bytes cannot be kept");
            return Err(Trouble::new(Reason::Full, what));
        }
        while self.under_way.len() >= UNDER_WAY_MAX {
            if let Some(sent) = self.under_way.join_next().await {
                judge(sent)?;
            }
        }
        let part: PutPayload = std::mem::take(&mut self.waiting).into_iter().collect();
        self.waiting_bytes = 0;
        self.under_way.spawn(upload.put_part(part));
        Ok(())
    }
}

fn judge(sent: Result<Result<()>, tokio::task::JoinError>) -> Result<(), Trouble> {
    match sent {
        Ok(sent) => sent.map_err(|error| Trouble::of_store(&error)),
        Err(error) => Err(Trouble::new(Reason::Other, error.to_string())),
    }
}

/// Takes away what uploads into a folder left, where nobody goes on with them: `<name>#<number>`.
pub(super) fn sweep(folder: &Folder, is_dead: impl Fn(&str) -> bool) -> Result<usize, Trouble> {
    let wrong = |error: io::Error| Trouble::new(Reason::Folder, format!("{}: {error}", folder.display()));
    let mut gone = 0;
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name();
        let dead = name
            .to_str()
            .and_then(|name| name.rsplit_once('#'))
            .is_some_and(|(name, number)| number.parse::<u32>().is_ok() && is_dead(name));
        if dead {
            std::fs::remove_file(entry.path()).map_err(wrong)?;
            gone += 1;
        }
    }
    Ok(gone)
}
