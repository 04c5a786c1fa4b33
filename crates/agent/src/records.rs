//! What the registry said of what is hosted here, kept word for word: it brings the registry back when all is lost.
//!
//! ```text
//! link ── records ─► keeper (one thread) ─► judge ─► newer? ─► one file for each tenant: crc32c | record
//! ```
//! One process keeps them at a time, and has the folder's lock. They are kept in the order in which they come: after one that was not kept, none is kept until the next session.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use reeve_domain::TenantId;
use reeve_domain::record::{FORMAT, Said, Statement, Subject};
use reeve_proto::identity::record::{self, Export, Judge, Signed};
use reeve_proto::v1::{HeldRecord, SignedRecord};
use tracing::{info, warn};

use crate::disk;

#[cfg(test)]
mod tests;

/// Records kept at the most; those of tenants that are gone make room first.
const RECORDS_MAX: usize = 20_000;
/// Batches that wait for the disk.
const QUEUE_MAX: usize = 1_024;
const CRC_BYTES: usize = 4;

/// Why a record was not kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the registry's record is not believed: {0}")]
    Record(#[from] record::Error),
    #[error("the record is for agent {0}")]
    Other(String),
    #[error("{RECORDS_MAX} records are kept already")]
    Full,
    #[error("{} is in use; another agent runs on this folder: stop it first", .0.display())]
    InUse(PathBuf),
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    revision: u64,
    gone: bool,
    /// The version of the tenant's credential.
    credential: Option<u64>,
}

impl Held {
    fn of(told: &Statement) -> Held {
        Held {
            revision: told.revision.0,
            gone: matches!(told.said, Said::Gone(_)),
            credential: match &told.said {
                Said::Hosts(hosted) => Some(hosted.credential.version),
                Said::Group(_) | Said::Gone(_) => None,
            },
        }
    }
}

/// The records in an agent's folder.
pub struct Store {
    folder: PathBuf,
    agent: String,
    judge: Judge,
    held: Mutex<BTreeMap<String, Held>>,
    /// One record is written at a time, so that an older one never comes after a newer one.
    writing: Mutex<()>,
    _lock: File,
}

impl Store {
    /// Opens the records of an agent's folder. A damaged file is taken away, and the registry hands it out again. So it
    /// does with one that is whole and not believed; that one stays until then: it may be the root that is the wrong one.
    pub fn open(data_dir: &Path, agent: &str, judge: Judge) -> Result<Store, Error> {
        let folder = data_dir.join("records");
        let failed = |source| Error::Disk {
            path: folder.clone(),
            source,
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        let lock = lock(&folder)?;
        remove_drafts(&folder).map_err(failed)?;
        let mut held = BTreeMap::new();
        for (path, read) in files(&folder).map_err(failed)? {
            let Some(signed) = read else {
                warn!(path = %path.display(), "a record is damaged; it is taken away and asked for again");
                fs::remove_file(&path).map_err(failed)?;
                continue;
            };
            match judge.open(&signed) {
                Ok((told, _)) => {
                    held.insert(told.said.subject().to_string(), Held::of(&told));
                }
                Err(error) => {
                    warn!(path = %path.display(), %error, "a record is not believed; it is asked for again");
                }
            }
        }
        Ok(Store {
            folder,
            agent: agent.to_owned(),
            judge,
            held: Mutex::new(held),
            writing: Mutex::new(()),
            _lock: lock,
        })
    }

    /// Keeps a record that the registry signed for this agent and that is newer than what is kept; it is on disk when
    /// this returns. Says whether it was newer.
    pub fn keep(&self, signed: &Signed) -> Result<bool, Error> {
        let (told, _) = self.judge.open(signed)?;
        if told.agent.as_str() != self.agent {
            return Err(Error::Other(told.agent.to_string()));
        }
        let _writing = self.writing.lock();
        let subject = told.said.subject();
        let revision = told.revision.0;
        let known = self.held.lock().get(&subject.to_string()).copied();
        if known.is_some_and(|known| known.revision >= revision) {
            return Ok(false);
        }
        if known.is_none() {
            self.make_room()?;
        }
        let body =
            rmp_serde::to_vec_named(signed).map_err(|error| record::Error::Unreadable(error.to_string()))?;
        let bytes = [&crc32c::crc32c(&body).to_le_bytes()[..], &body].concat();
        let path = self.path(&subject);
        disk::write_durably(&path, &bytes).map_err(|source| Error::Disk { path, source })?;
        self.held.lock().insert(subject.to_string(), Held::of(&told));
        Ok(true)
    }

    fn path(&self, subject: &Subject) -> PathBuf {
        // Ids and names are made of letters, digits, '-' and '_'.
        self.folder.join(match subject {
            Subject::Group(name) => format!("group-{name}.record"),
            Subject::Tenant(id) => format!("{id}.record"),
        })
    }

    /// Takes the oldest of those away whose tenants are gone.
    fn make_room(&self) -> Result<(), Error> {
        let mut held = self.held.lock();
        if held.len() < RECORDS_MAX {
            return Ok(());
        }
        let oldest = held
            .iter()
            .filter(|(_, held)| held.gone)
            .min_by_key(|(_, held)| held.revision);
        let subject = oldest.map(|(subject, _)| subject.clone()).ok_or(Error::Full)?;
        let id = subject.trim_start_matches("tenant/");
        let path = self.folder.join(format!("{id}.record"));
        fs::remove_file(&path).map_err(|source| Error::Disk { path, source })?;
        held.remove(&subject);
        Ok(())
    }

    /// What is kept, for the registry to hand out what is not.
    pub fn held(&self) -> Vec<HeldRecord> {
        let held = self.held.lock();
        let all = held.iter().map(|(subject, held)| HeldRecord {
            subject: subject.clone(),
            revision: held.revision,
            gone: held.gone,
        });
        all.collect()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.held.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Hands records to the thread that keeps them.
#[derive(Clone)]
pub struct Keeper {
    store: Arc<Store>,
    queue: std::sync::mpsc::SyncSender<Vec<SignedRecord>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    kept: AtomicU64,
    failed: AtomicU64,
    /// One was not kept: what comes after it waits for the next session, so that no gap is hidden.
    stopped: AtomicBool,
}

impl Keeper {
    /// Starts the thread.
    pub fn start(store: Store) -> io::Result<Keeper> {
        let (queue, batches) = std::sync::mpsc::sync_channel::<Vec<SignedRecord>>(QUEUE_MAX);
        let keeper = Keeper {
            store: Arc::new(store),
            queue,
            counts: Arc::default(),
        };
        let (store, counts) = (keeper.store.clone(), keeper.counts.clone());
        std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || {
                for record in batches.into_iter().flatten() {
                    counts.take(&store, record.into());
                }
            })?;
        Ok(keeper)
    }

    /// Takes a batch; never waits.
    pub fn take(&self, records: Vec<SignedRecord>) {
        if self.queue.try_send(records).is_err() {
            self.counts.stop("more records come than the disk takes");
        }
    }

    /// A new session: what is not held is handed out again.
    pub fn begin(&self) -> Vec<HeldRecord> {
        self.counts.stopped.store(false, Ordering::SeqCst);
        self.store.held()
    }

    /// Tenants that a record is kept of, and whether it says that they are gone.
    pub fn tenants(&self) -> Vec<(TenantId, bool)> {
        let held = self.store.held.lock();
        let ids = held.iter().filter_map(|(subject, held)| {
            let id = TenantId::parse(subject.strip_prefix("tenant/")?).ok()?;
            Some((id, held.gone))
        });
        ids.collect()
    }

    /// The version of a tenant's credential, by the record that is kept of it.
    pub fn credential_version(&self, tenant: &TenantId) -> Option<u64> {
        let held = self.store.held.lock();
        held.get(&Subject::Tenant(tenant.clone()).to_string())?.credential
    }

    /// Records on disk, kept in this life, and not kept.
    pub fn counts(&self) -> (usize, u64, u64) {
        let counts = &self.counts;
        (
            self.store.len(),
            counts.kept.load(Ordering::Relaxed),
            counts.failed.load(Ordering::Relaxed),
        )
    }
}

impl Counts {
    fn take(&self, store: &Store, record: Signed) {
        if self.stopped.load(Ordering::SeqCst) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match store.keep(&record) {
            Ok(newer) => drop(self.kept.fetch_add(u64::from(newer), Ordering::Relaxed)),
            Err(error) => self.stop(&error.to_string()),
        }
    }

    fn stop(&self, why: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if !self.stopped.swap(true, Ordering::SeqCst) {
            warn!(why, "records are not kept until the next session");
        }
    }
}

/// Writes all that is kept to one file, with no registry and whether or not the agent runs.
pub fn export(data_dir: &Path, agent: &str, file: &Path) -> anyhow::Result<usize> {
    let folder = data_dir.join("records");
    let mut records = Vec::new();
    for (path, read) in files(&folder)? {
        match read {
            Some(signed) => records.push(signed),
            None => warn!(path = %path.display(), "a record is damaged and left out"),
        }
    }
    let count = records.len();
    let export = Export {
        format: FORMAT,
        agent: agent.to_owned(),
        records,
    };
    let file = std::path::absolute(file)?;
    disk::write_durably(&file, &export.to_bytes()?)?;
    info!(count, file = %file.display(), "records are exported");
    Ok(count)
}

/// The folder's lock, for as long as the file is open.
fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let failed = |source| Error::Disk {
        path: path.clone(),
        source,
    };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// What a crash left unfinished was never kept.
fn remove_drafts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "draft") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Each file with what is in it; none when it is damaged. One that goes away meanwhile is no loss.
fn files(folder: &Path) -> io::Result<Vec<(PathBuf, Option<Signed>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "record") {
            continue;
        }
        if let Some(bytes) = disk::read_if_there(&path)? {
            found.push((path, decode(&bytes)));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

fn decode(bytes: &[u8]) -> Option<Signed> {
    let (crc, body) = bytes.split_at_checked(CRC_BYTES)?;
    let crc = u32::from_le_bytes(crc.try_into().ok()?);
    (crc == crc32c::crc32c(body)).then(|| rmp_serde::from_slice(body).ok())?
}
