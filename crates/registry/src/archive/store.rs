//! The trees of the archive. Every value is sealed and bound to its tree and key.
//!
//! `audit` (shard, sequence) → record · `operations` id → operation · `changes` revision → events, and where
//! the rest of the revision is · `meta` last revision, gaps

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use reeve_domain::{Event, Operation, OperationId, Revision, audit::Record};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sled::{Batch, Db, Mode, Tree};

use super::gaps::Gaps;
use super::{ArchiveError, Change, mark};

const CACHE_BYTES: u64 = 16 << 20;

/// Seals values at rest; `place` binds a value to where it lies.
pub trait Cipher: Send + Sync {
    fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, String>;
    fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, String>;
}

pub(super) struct Store {
    dir: PathBuf,
    db: Db,
    /// Our own descriptor: the store's flush does not reach the disk.
    file: File,
    cipher: Arc<dyn Cipher>,
    audit: Tree,
    operations: Tree,
    changes: Tree,
    meta: Tree,
    known: Mutex<Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    last: u64,
    gaps: Gaps,
    /// Revisions that never were: they are neither here nor missing.
    leaps: Gaps,
}

impl Known {
    fn miss(&mut self, from: u64, to: u64) {
        self.gaps.add(from, to);
        self.leave_out_leaps();
    }

    fn leave_out_leaps(&mut self) {
        for (from, to) in self.leaps.to_pairs() {
            self.gaps.remove(from, to);
        }
    }

    /// The first revision from one on that ever was.
    fn real(&self, revision: u64) -> u64 {
        self.leaps.end_of(revision).map_or(revision, |to| to + 1)
    }
}

/// What `changes` holds: the events themselves, and the keys of what lies in other trees.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    events: Vec<Event>,
    record: Option<(String, u64)>,
    retired: Vec<OperationId>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    last: u64,
    gaps: Vec<(u64, u64)>,
    #[serde(default)]
    leaps: Vec<(u64, u64)>,
}

impl Store {
    /// Opens the trees and checks the tail: nothing that was durable may be gone, and the last change opens.
    pub(super) fn open(dir: &Path, cipher: Arc<dyn Cipher>) -> Result<Store, ArchiveError> {
        let disk = ArchiveError::disk;
        let inside = dir.join("sled");
        fs::create_dir_all(&inside).map_err(disk("making the folder"))?;
        let db = sled::Config::new()
            .path(&inside)
            .cache_capacity(CACHE_BYTES)
            .mode(Mode::LowSpace)
            .flush_every_ms(None)
            .open()?;
        let file = File::open(inside.join("db")).map_err(disk("opening the store's file"))?;
        let store = Store {
            audit: db.open_tree("audit")?,
            operations: db.open_tree("operations")?,
            changes: db.open_tree("changes")?,
            meta: db.open_tree("meta")?,
            dir: dir.to_owned(),
            db,
            file,
            cipher,
            known: Mutex::default(),
        };
        let meta: Meta = store.get(&store.meta, b"known")?.unwrap_or_default();
        let durable = mark::read(dir).map_err(disk("reading the durable mark"))?;
        if meta.last < durable {
            return Err(ArchiveError::Short {
                found: meta.last,
                durable,
            });
        }
        let gaps = Gaps::from_pairs(meta.gaps);
        let leaps = Gaps::from_pairs(meta.leaps);
        if meta.last > 0 && !gaps.holds(meta.last) {
            store.change(meta.last)?.ok_or(ArchiveError::Short {
                found: meta.last - 1,
                durable: meta.last,
            })?;
        }
        *store.known.lock() = Known {
            last: meta.last,
            gaps,
            leaps,
        };
        Ok(store)
    }

    /// Writes changes; the ones that are here already are passed over.
    pub(super) fn write(&self, changes: &[Change]) -> Result<(), ArchiveError> {
        let mut known = self.known.lock().clone();
        let (mut audit, mut operations, mut links) = (Batch::default(), Batch::default(), Batch::default());
        for change in changes {
            let revision = change.revision.0;
            if revision <= known.last && !known.gaps.holds(revision) {
                continue;
            }
            if revision > known.last {
                known.miss(known.last + 1, revision - 1);
                known.last = revision;
            }
            known.gaps.fill(revision);
            if let Some(record) = &change.record {
                let key = audit_key(&record.shard, record.sequence);
                audit.insert(key.as_slice(), self.seal("audit", &key, record)?);
            }
            for operation in &change.retired {
                let key = operation.id.as_str().as_bytes();
                operations.insert(key, self.seal("operations", key, operation)?);
            }
            let link = Link {
                events: change.events.clone(),
                record: change.record.as_ref().map(|r| (r.shard.clone(), r.sequence)),
                retired: change.retired.iter().map(|o| o.id.clone()).collect(),
            };
            let key = revision.to_be_bytes();
            links.insert(&key, self.seal("changes", &key, &link)?);
        }
        // The link comes last: where it is, the rest of its revision is too.
        self.audit.apply_batch(audit)?;
        self.operations.apply_batch(operations)?;
        self.changes.apply_batch(links)?;
        self.know(known)
    }

    /// Everything up to a revision belongs here, but for what never was; what is not, is missing.
    pub(super) fn reach(&self, revision: u64, leaps: &[(u64, u64)]) -> Result<(), ArchiveError> {
        let mut known = self.known.lock().clone();
        let before = known.leaps.clone();
        for (from, to) in leaps {
            known.leaps.add(*from, *to);
        }
        if revision <= known.last && known.leaps == before {
            return Ok(());
        }
        known.leave_out_leaps();
        if revision > known.last {
            known.miss(known.last + 1, revision);
            known.last = revision;
        }
        self.know(known)
    }

    pub(super) fn leaps(&self) -> Vec<(u64, u64)> {
        self.known.lock().leaps.to_pairs()
    }

    /// The first revision from one on that ever was.
    pub(super) fn real(&self, revision: u64) -> u64 {
        self.known.lock().real(revision)
    }

    /// Something is damaged: all of it is fetched again, over what is here.
    pub(super) fn doubt(&self) -> Result<(), ArchiveError> {
        let mut known = self.known.lock().clone();
        known.miss(1, known.last);
        self.know(known)
    }

    /// The first range that is missing.
    pub(super) fn gap(&self) -> Option<(Revision, Revision)> {
        let (from, to) = self.known.lock().gaps.first()?;
        Some((Revision(from), Revision(to)))
    }

    pub(super) fn last(&self) -> u64 {
        self.known.lock().last
    }

    /// A shard's records up to the first hole.
    pub(super) fn records(&self, shard: &str, from: u64, limit: usize) -> Result<Vec<Record>, ArchiveError> {
        let mut found: Vec<Record> = Vec::new();
        let range = audit_key(shard, from)..=audit_key(shard, u64::MAX);
        for (expected, pair) in (from..).zip(self.audit.range(range).take(limit)) {
            let (key, value) = pair?;
            if *key != *audit_key(shard, expected) {
                break;
            }
            let record: Record = self.unseal("audit", &key, &value)?;
            let in_place = record.shard == shard && record.sequence == expected;
            let linked = found.last().is_none_or(|before| before.chain == record.previous);
            if !in_place || !linked {
                return Err(ArchiveError::damaged(format!(
                    "record {expected} of shard {shard}"
                )));
            }
            found.push(record);
        }
        Ok(found)
    }

    pub(super) fn operation(&self, id: &OperationId) -> Result<Option<Operation>, ArchiveError> {
        self.get(&self.operations, id.as_str().as_bytes())
    }

    /// Whole revisions, up to the first that is missing.
    pub(super) fn changes(&self, from: Revision, limit: usize) -> Result<Vec<Change>, ArchiveError> {
        let known = self.known.lock().clone();
        let mut found = Vec::new();
        let mut revision = known.real(from.0);
        while found.len() < limit && !known.gaps.holds(revision) {
            let Some(change) = self.change(revision)? else {
                break;
            };
            found.push(change);
            revision = known.real(revision + 1);
        }
        Ok(found)
    }

    /// Returns when all that was written is on the disk.
    pub(super) fn flush(&self) -> Result<(), ArchiveError> {
        let last = self.last();
        self.db.flush()?;
        self.file
            .sync_data()
            .map_err(ArchiveError::disk("syncing the store"))?;
        sync_folder(&self.dir.join("sled").join("blobs")).map_err(ArchiveError::disk("syncing the blobs"))?;
        sync_folder_itself(&self.dir.join("sled")).map_err(ArchiveError::disk("syncing the folder"))?;
        mark::write(&self.dir, last).map_err(ArchiveError::disk("setting the durable mark"))
    }

    fn change(&self, revision: u64) -> Result<Option<Change>, ArchiveError> {
        let Some(link) = self.get::<Link>(&self.changes, &revision.to_be_bytes())? else {
            return Ok(None);
        };
        let gone = || ArchiveError::damaged(format!("revision {revision}"));
        let record = match link.record {
            Some((shard, sequence)) => Some(
                self.get(&self.audit, &audit_key(&shard, sequence))?
                    .ok_or_else(gone)?,
            ),
            None => None,
        };
        let retired = link.retired.iter().map(|id| self.operation(id)?.ok_or_else(gone));
        let retired = retired.collect::<Result<_, _>>()?;
        Ok(Some(Change {
            revision: Revision(revision),
            events: link.events,
            record,
            retired,
        }))
    }

    fn know(&self, known: Known) -> Result<(), ArchiveError> {
        let meta = Meta {
            last: known.last,
            gaps: known.gaps.to_pairs(),
            leaps: known.leaps.to_pairs(),
        };
        self.meta.insert(b"known", self.seal("meta", b"known", &meta)?)?;
        *self.known.lock() = known;
        Ok(())
    }

    fn seal<T: Serialize>(&self, tree: &str, key: &[u8], value: &T) -> Result<Vec<u8>, ArchiveError> {
        let plain = rmp_serde::to_vec_named(value).map_err(|e| ArchiveError::Seal(e.to_string()))?;
        self.cipher
            .seal(&place(tree.as_bytes(), key), &plain)
            .map_err(ArchiveError::Seal)
    }

    fn unseal<T: DeserializeOwned>(&self, tree: &str, key: &[u8], sealed: &[u8]) -> Result<T, ArchiveError> {
        let damaged = || ArchiveError::damaged(format!("{tree} {}", hex::encode(key)));
        let plain = self
            .cipher
            .open(&place(tree.as_bytes(), key), sealed)
            .map_err(|_| damaged())?;
        rmp_serde::from_slice(&plain).map_err(|_| damaged())
    }

    fn get<T: DeserializeOwned>(&self, tree: &Tree, key: &[u8]) -> Result<Option<T>, ArchiveError> {
        let Some(value) = tree.get(key)? else {
            return Ok(None);
        };
        let name = tree.name();
        self.unseal(&String::from_utf8_lossy(&name), key, &value)
            .map(Some)
    }
}

fn audit_key(shard: &str, sequence: u64) -> Vec<u8> {
    [shard.as_bytes(), &[0], &sequence.to_be_bytes()].concat()
}

fn place(tree: &[u8], key: &[u8]) -> Vec<u8> {
    [b"archive/", tree, b"/", key].concat()
}

/// Syncs the files in a folder, and the folder.
fn sync_folder(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        File::open(entry?.path())?.sync_all()?;
    }
    sync_folder_itself(folder)
}

fn sync_folder_itself(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
