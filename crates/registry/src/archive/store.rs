//! The trees of the archive. Every value is sealed and bound to its tree and key.
//!
//! `blocks` first revision → all that a run of revisions left behind · `audit` (shard, sequence) → revision ·
//! `operations` id → revision · `meta` last revision, gaps

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use reeve_domain::{Operation, OperationId, Revision, audit::Record};
use serde::{Deserialize, Serialize};
use sled::{Db, IVec, Mode, Tree};

use super::gaps::Gaps;
use super::{ArchiveError, Change, block, mark};

const CACHE_BYTES: u64 = 16 << 20;

/// Seals values at rest; `place` binds a value to where it lies.
pub trait Cipher: Send + Sync {
    fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, String>;
    fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, String>;
}

pub(super) struct Store {
    pub(super) dir: PathBuf,
    db: Db,
    /// Our own descriptor: the store's flush does not reach the disk.
    file: File,
    cipher: Arc<dyn Cipher>,
    audit: Tree,
    operations: Tree,
    blocks: Tree,
    meta: Tree,
    known: Mutex<Known>,
    /// Where the last block begins, also one that `known` does not know of: a power cut or a full disk may leave it.
    end: AtomicU64,
    /// Whether all of it was read once since it was opened: only then is what is not found not there.
    is_checked: AtomicBool,
    /// What was odd about it when it was opened, though it can be used.
    oddity: Option<String>,
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

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    /// How the trees are laid out; 1 had no blocks.
    #[serde(default = "first")]
    layout: u32,
    last: u64,
    gaps: Vec<(u64, u64)>,
    #[serde(default)]
    leaps: Vec<(u64, u64)>,
}

const LAYOUT: u32 = 2;

fn first() -> u32 {
    1
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
        let mut store = Store {
            audit: db.open_tree("audit")?,
            operations: db.open_tree("operations")?,
            blocks: db.open_tree("blocks")?,
            meta: db.open_tree("meta")?,
            dir: dir.to_owned(),
            db,
            file,
            cipher,
            known: Mutex::default(),
            end: AtomicU64::new(0),
            is_checked: AtomicBool::new(false),
            oddity: None,
        };
        let end = store.blocks.last()?.and_then(|(key, _)| revision(&key));
        store.end = AtomicU64::new(end.unwrap_or_default());
        let fresh = Meta {
            layout: LAYOUT,
            ..Meta::default()
        };
        let meta = store.known()?.unwrap_or(fresh);
        if meta.layout != LAYOUT {
            return Err(ArchiveError::Layout(meta.layout));
        }
        // A mark that cannot be read says nothing; the check that follows each opening reads all there is.
        let durable = match mark::read(dir).map_err(disk("reading the durable mark"))? {
            Ok(durable) => durable,
            Err(odd) => {
                store.oddity = Some(odd);
                0
            }
        };
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
        store.is_checked.store(meta.last == 0, Ordering::Relaxed);
        Ok(store)
    }

    pub(super) fn oddity(&self) -> Option<String> {
        self.oddity.clone()
    }

    pub(super) fn is_checked(&self) -> bool {
        self.is_checked.load(Ordering::Relaxed)
    }

    pub(super) fn set_checked(&self) {
        self.is_checked.store(true, Ordering::Relaxed);
    }

    /// Writes changes; the ones that are here already are passed over.
    pub(super) fn write(&self, changes: &[Change]) -> Result<(), ArchiveError> {
        let mut known = self.known.lock().clone();
        let mut fresh: Vec<&Change> = Vec::new();
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
            fresh.push(change);
        }
        // One by one and in this order, `known` last: a power cut leaves a beginning of it. A batch of sled's would seal
        // and write half a megabyte each time.
        for block in block::pack(fresh.iter().copied())? {
            // An older block that begins inside of this one would be found before it.
            for inside in
                self.keys_within(block.first + 1, block.last.min(self.end.load(Ordering::Relaxed)))?
            {
                self.blocks.remove(inside)?;
            }
            let key = block.first.to_be_bytes();
            self.end.fetch_max(block.first, Ordering::Relaxed);
            self.blocks
                .insert(key, self.seal("blocks", &key, &block.bytes)?)?;
        }
        for change in fresh {
            let at = change.revision.0.to_be_bytes();
            if let Some(record) = &change.record {
                self.audit
                    .insert(audit_key(&record.shard, record.sequence), &at)?;
            }
            for operation in &change.retired {
                self.operations.insert(operation.id.as_str(), &at)?;
            }
        }
        self.know(known)
    }

    /// Takes a block away that should not be there.
    pub(super) fn forget_block(&self, key: &[u8]) -> Result<(), ArchiveError> {
        self.blocks.remove(key)?;
        Ok(())
    }

    /// Sees to it that a record is found at its revision; true when it was not.
    pub(super) fn index_audit(&self, key: &[u8], revision: u64) -> Result<bool, ArchiveError> {
        set(&self.audit, key, revision)
    }

    /// The same for an operation.
    pub(super) fn index_operation(&self, id: &OperationId, revision: u64) -> Result<bool, ArchiveError> {
        set(&self.operations, id.as_str().as_bytes(), revision)
    }

    /// Leaves a block behind that `known` does not know of, as a power cut does.
    #[cfg(test)]
    pub(super) fn leave_behind(&self, change: &Change) {
        let [block] = &block::pack([change]).unwrap()[..] else {
            panic!()
        };
        let key = block.first.to_be_bytes();
        let sealed = self.seal("blocks", &key, &block.bytes).unwrap();
        self.blocks.insert(key, sealed).unwrap();
    }

    /// Loses an index entry as sled does: without a word.
    #[cfg(test)]
    pub(super) fn lose(&self, record: (&str, u64), operation: &OperationId) {
        self.audit.remove(audit_key(record.0, record.1)).unwrap().unwrap();
        self.operations.remove(operation.as_str()).unwrap().unwrap();
    }

    /// Where what is missing from a revision on ends: before the next block, or with the archive.
    pub(super) fn end_of_hole(&self, from: u64) -> Result<u64, ArchiveError> {
        let behind = self.blocks.range((from + 1).to_be_bytes()..).next();
        let next = behind.transpose()?.and_then(|(key, _)| revision(&key));
        let last = self.last();
        Ok(next.map_or(last, |next| last.min(next - 1)))
    }

    pub(super) fn keys_within(&self, from: u64, to: u64) -> Result<Vec<IVec>, ArchiveError> {
        if from > to {
            return Ok(Vec::new());
        }
        let within = self.blocks.range(from.to_be_bytes()..=to.to_be_bytes());
        Ok(within.keys().collect::<Result<_, _>>()?)
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

    /// These are damaged or gone: they are fetched again, over what is here.
    pub(super) fn miss(&self, ranges: &[(u64, u64)]) -> Result<(), ArchiveError> {
        if ranges.is_empty() {
            return Ok(());
        }
        let mut known = self.known.lock().clone();
        for (from, to) in ranges {
            known.miss(*from, *to);
        }
        self.know(known)
    }

    /// The end of the gap that a revision lies in.
    pub(super) fn gap_end(&self, revision: u64) -> Option<u64> {
        self.known.lock().gaps.end_of(revision)
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
        let (mut found, mut blocks): (Vec<Record>, _) = (Vec::new(), Blocks::new(self));
        let range = audit_key(shard, from)..=audit_key(shard, u64::MAX);
        for (expected, pair) in (from..).zip(self.audit.range(range).take(limit)) {
            let (key, at) = pair?;
            if *key != *audit_key(shard, expected) {
                break;
            }
            let damaged = || ArchiveError::damaged(format!("record {expected} of shard {shard}"));
            let record = blocks
                .change(revision(&at).ok_or_else(damaged)?)?
                .and_then(|change| change.record.as_deref().cloned())
                .ok_or_else(damaged)?;
            let in_place = record.shard == shard && record.sequence == expected;
            let linked = found.last().is_none_or(|before| before.chain == record.previous);
            if !in_place || !linked {
                return Err(damaged());
            }
            found.push(record);
        }
        Ok(found)
    }

    pub(super) fn operation(&self, id: &OperationId) -> Result<Option<Operation>, ArchiveError> {
        let Some(at) = self.operations.get(id.as_str().as_bytes())? else {
            return Ok(None);
        };
        let damaged = || ArchiveError::damaged(format!("operation {id}"));
        let change = self
            .change(revision(&at).ok_or_else(damaged)?)?
            .ok_or_else(damaged)?;
        let retired = change.retired.into_iter().find(|operation| operation.id == *id);
        retired.map(Some).ok_or_else(damaged)
    }

    /// Whole revisions, up to the first that is missing.
    pub(super) fn changes(&self, from: Revision, limit: usize) -> Result<Vec<Change>, ArchiveError> {
        let known = self.known.lock().clone();
        let (mut found, mut blocks) = (Vec::new(), Blocks::new(self));
        let mut revision = known.real(from.0);
        while found.len() < limit && !known.gaps.holds(revision) {
            let Some(change) = blocks.change(revision)? else {
                break;
            };
            found.push(change.clone());
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
        Ok(Blocks::new(self).change(revision)?.cloned())
    }

    /// The block that a revision is in, should it be here, and how large it lies there.
    pub(super) fn block(&self, revision: u64) -> Result<Option<(u64, Vec<Change>, u64)>, ArchiveError> {
        let Some(nearest) = self.blocks.range(..=revision.to_be_bytes()).next_back() else {
            return Ok(None);
        };
        let (key, sealed) = nearest?;
        let damaged = || ArchiveError::damaged(format!("blocks {}", hex::encode(&key)));
        let first = self::revision(&key).ok_or_else(damaged)?;
        let bytes: Vec<u8> = self.unseal("blocks", &key, &sealed)?;
        let changes = block::unpack(first, &bytes).ok_or_else(damaged)?;
        Ok(Some((first, changes, sealed.len() as u64)))
    }

    fn know(&self, known: Known) -> Result<(), ArchiveError> {
        let meta = Meta {
            layout: LAYOUT,
            last: known.last,
            gaps: known.gaps.to_pairs(),
            leaps: known.leaps.to_pairs(),
        };
        let plain = rmp_serde::to_vec_named(&meta).map_err(|e| ArchiveError::Seal(e.to_string()))?;
        self.meta.insert(b"known", self.seal("meta", b"known", &plain)?)?;
        *self.known.lock() = known;
        Ok(())
    }

    fn seal(&self, tree: &str, key: &[u8], plain: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        self.cipher
            .seal(&place(tree.as_bytes(), key), plain)
            .map_err(ArchiveError::Seal)
    }

    fn unseal(&self, tree: &str, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        let damaged = |_| ArchiveError::damaged(format!("{tree} {}", hex::encode(key)));
        self.cipher
            .open(&place(tree.as_bytes(), key), sealed)
            .map_err(damaged)
    }

    fn known(&self) -> Result<Option<Meta>, ArchiveError> {
        let Some(sealed) = self.meta.get(b"known")? else {
            return Ok(None);
        };
        let plain = self.unseal("meta", b"known", &sealed)?;
        let damaged = |_| ArchiveError::damaged("meta known");
        rmp_serde::from_slice(&plain).map(Some).map_err(damaged)
    }
}

/// Reads change after change, and opens each block once.
struct Blocks<'a> {
    store: &'a Store,
    open: Option<(u64, Vec<Change>)>,
}

impl<'a> Blocks<'a> {
    fn new(store: &'a Store) -> Blocks<'a> {
        Blocks { store, open: None }
    }

    fn change(&mut self, revision: u64) -> Result<Option<&Change>, ArchiveError> {
        if self.index(revision).is_none() {
            let block = self.store.block(revision)?;
            self.open = block.map(|(first, changes, _)| (first, changes));
        }
        let at = self.index(revision);
        Ok(at.and_then(|at| self.open.as_ref()?.1.get(at)))
    }

    /// Where it is in the open block.
    fn index(&self, revision: u64) -> Option<usize> {
        let (first, changes) = self.open.as_ref()?;
        let at = usize::try_from(revision.checked_sub(*first)?).ok()?;
        (at < changes.len()).then_some(at)
    }
}

fn revision(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// Writes an index entry unless it is there; whether it was not.
fn set(index: &Tree, key: &[u8], revision: u64) -> Result<bool, ArchiveError> {
    let at = revision.to_be_bytes();
    if index.get(key)?.is_some_and(|there| *there == at) {
        return Ok(false);
    }
    index.insert(key, &at)?;
    Ok(true)
}

pub(super) fn audit_key(shard: &str, sequence: u64) -> Vec<u8> {
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
