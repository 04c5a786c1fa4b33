//! What State does not keep for ever: every audit record, every ended operation, every event.
//!
//! ```text
//! apply ─► write (a queue, its own thread) ─► store (sled, sealed)      flush_durable before each snapshot
//! doors ─► records, operation, events ◄──────────┘ ▲
//!                                       gaps ──────┴── fill (from peers, in the background)
//! ```
//! All of it follows from the log, so the store never holds the only copy of an acknowledged change. What is
//! missing is known as a gap and fetched from a peer; a hole is never served. A `check` reads all of it after each
//! opening and now and then, and finds the holes that nobody knew of.

mod block;
mod check;
mod error;
mod gaps;
mod mark;
mod open;
mod store;
mod suspect;
mod worker;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use reeve_domain::{Applied, Event, Operation, OperationId, Revision, State, audit::Record};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use check::Reading;
pub use error::ArchiveError;
pub use store::Cipher;

use store::Store;
use worker::Job;

use crate::damage::{Damages, chain};

/// Times that something was applied, and may wait to be written; a full queue slows applying down.
const QUEUE_MAX: usize = 8_192;
/// Most records or changes in one answer.
pub const LIMIT_MAX: usize = 1_000;

/// All that one revision left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    pub revision: Revision,
    pub events: Arc<[Event]>,
    pub record: Option<Arc<Record>>,
    pub retired: Vec<Operation>,
}

impl Change {
    /// What an applied entry left; nothing when nothing happened.
    pub fn of(applied: &Applied) -> Option<Change> {
        let record = Some(applied.record.clone()?);
        Some(Change {
            revision: applied.revision,
            events: applied.events.clone(),
            record,
            retired: applied.retired.clone(),
        })
    }
}

/// What watchers were told of one revision.
pub type Told = (Revision, Arc<[Event]>);

type Heads = Box<dyn Fn() -> Arc<State> + Send + Sync>;

/// A cloneable handle.
#[derive(Clone)]
pub struct Archive {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
}

struct Shared {
    dir: PathBuf,
    cipher: Arc<dyn Cipher>,
    store: ArcSwap<Store>,
    /// How many changes were handed in, and how many of them the store knows of.
    queued: AtomicU64,
    written: AtomicU64,
    /// How often a State came whose gaps the store does not know yet.
    reaching: AtomicU64,
    /// The published State, whose heads say what must be here.
    heads: RwLock<Option<Heads>>,
    missing: Notify,
    /// A hole was met that nobody knew of.
    doubted: Notify,
    damages: Damages,
}

impl Archive {
    /// Opens the archive in a folder of its own. One that cannot be trusted is set aside and begun anew.
    pub fn open(dir: PathBuf, cipher: Arc<dyn Cipher>) -> Result<Archive, ArchiveError> {
        let damages = Damages::default();
        let store = open::open_or_set_aside(&dir, &cipher, &damages)?;
        let (jobs, inbox) = sync_channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            dir,
            cipher,
            store: ArcSwap::from_pointee(store),
            queued: AtomicU64::new(0),
            written: AtomicU64::new(0),
            reaching: AtomicU64::new(0),
            heads: RwLock::new(None),
            missing: Notify::new(),
            doubted: Notify::new(),
            damages,
        });
        worker::spawn(shared.clone(), inbox)?;
        Ok(Archive { shared, jobs })
    }

    /// Tells where the published State is; from now on what it names and this archive lacks counts as missing.
    pub fn follow(&self, state: impl Fn() -> Arc<State> + Send + Sync + 'static) -> Result<(), ArchiveError> {
        let now = state();
        *self.shared.heads.write() = Some(Box::new(state));
        self.reach(&now)
    }

    /// Takes what a change left behind. It is durable once `flush_durable` returns.
    pub fn write(&self, change: Change) -> Result<(), ArchiveError> {
        self.write_all(vec![change])
    }

    /// Takes what several changes left behind, in order.
    pub fn write_all(&self, changes: Vec<Change>) -> Result<(), ArchiveError> {
        self.shared
            .queued
            .fetch_add(changes.len() as u64, Ordering::SeqCst);
        self.jobs
            .send(Job::Write(changes))
            .map_err(|_| ArchiveError::Stopped)
    }

    /// A snapshot brought this State: what lies between is missing here, unless it never was.
    pub fn reach(&self, state: &State) -> Result<(), ArchiveError> {
        let leaps = state.leaps.iter().map(|leap| (leap.from.0, leap.to.0)).collect();
        self.shared.queued.fetch_add(1, Ordering::SeqCst);
        self.shared.reaching.fetch_add(1, Ordering::SeqCst);
        self.jobs
            .send(Job::Reach(state.revision, leaps))
            .map_err(|_| ArchiveError::Stopped)
    }

    /// Returns when everything taken so far is on the disk.
    pub fn flush_durable(&self) -> Result<(), ArchiveError> {
        let (done, wait) = sync_channel(1);
        self.jobs
            .send(Job::Flush(done))
            .map_err(|_| ArchiveError::Stopped)?;
        wait.recv().map_err(|_| ArchiveError::Stopped)?
    }

    /// A shard's records from a sequence on. Fewer than `limit` means that there are no more.
    pub fn records(&self, shard: &str, from: u64, limit: usize) -> Result<Vec<Record>, ArchiveError> {
        let head = self
            .state()
            .map(|s| s.heads.get(shard).map_or(0, |head| head.sequence));
        self.settle()?;
        let from = from.max(1);
        let limit = limit.min(LIMIT_MAX);
        let found = self.read(|store| store.records(shard, from, limit))?;
        let next = from + found.len() as u64;
        if let Some(head) = head
            && found.len() < limit
            && next <= head
        {
            self.met_a_hole();
            return Err(ArchiveError::Incomplete {
                what: format!("shard {shard}"),
                from: next,
                to: head,
            });
        }
        Ok(found)
    }

    /// An ended operation that has left State.
    pub fn operation(&self, id: &OperationId) -> Result<Option<Operation>, ArchiveError> {
        self.settle()?;
        match self.read(|store| store.operation(id))? {
            Some(operation) => Ok(Some(operation)),
            None if self.shared.store.load().is_checked() => self.whole().map(|()| None),
            None => Err(ArchiveError::Unchecked),
        }
    }

    /// The events of the revisions after one, in order. Fewer than `limit` means that there are no more.
    pub fn events(&self, after: Revision, limit: usize) -> Result<Vec<Told>, ArchiveError> {
        let changes = self.changes(after.next(), limit)?;
        Ok(changes
            .into_iter()
            .map(|change| (change.revision, change.events))
            .collect())
    }

    /// All that was left behind from a revision on: what a peer needs to fill its gaps.
    pub fn changes(&self, from: Revision, limit: usize) -> Result<Vec<Change>, ArchiveError> {
        let head = self.state().map(|s| s.revision);
        self.settle()?;
        let from = from.max(Revision(1));
        let limit = limit.min(LIMIT_MAX);
        let found = self.read(|store| store.changes(from, limit))?;
        let next = found.last().map_or(from, |change| change.revision.next());
        let next = Revision(self.shared.store.load().real(next.0));
        if let Some(head) = head
            && found.len() < limit
            && next <= head
        {
            self.met_a_hole();
            return Err(ArchiveError::Incomplete {
                what: "revisions".to_owned(),
                from: next.0,
                to: head.0,
            });
        }
        Ok(found)
    }

    /// The first revisions that are missing, if any are.
    pub fn gap(&self) -> Result<Option<(Revision, Revision)>, ArchiveError> {
        self.settle()?;
        Ok(self.shared.store.load().gap())
    }

    /// Whether nothing is missing: only then does this node count as caught up.
    pub fn is_whole(&self) -> bool {
        self.gap().is_ok_and(|gap| gap.is_none())
    }

    /// The same as far as it is known, without waiting for what is being written.
    pub fn seems_whole(&self) -> bool {
        self.shared.reaching.load(Ordering::SeqCst) == 0 && self.shared.store.load().gap().is_none()
    }

    /// Returns when something was found to be missing since the last time.
    pub async fn missing(&self) {
        self.shared.missing.notified().await;
    }

    /// Reads on where a check stands; what it finds to be gone is missing from then on, and fetched.
    pub fn check(&self, reading: Reading) -> Result<Reading, ArchiveError> {
        let (done, wait) = sync_channel(1);
        self.jobs
            .send(Job::Check(reading, done))
            .map_err(|_| ArchiveError::Stopped)?;
        wait.recv().map_err(|_| ArchiveError::Stopped)?
    }

    /// Returns when somebody met damage since the last time: a check will say where all of it is.
    pub async fn doubted(&self) {
        self.shared.doubted.notified().await;
    }

    /// What was found damaged.
    pub fn damages(&self) -> &Damages {
        &self.shared.damages
    }

    fn met_a_hole(&self) {
        match self.shared.store.load().gap() {
            Some(_) => self.shared.missing.notify_one(),
            None => self.shared.doubted.notify_one(),
        }
    }

    fn whole(&self) -> Result<(), ArchiveError> {
        let Some((from, to)) = self.gap()? else {
            return Ok(());
        };
        self.shared.missing.notify_one();
        Err(ArchiveError::Incomplete {
            what: "revisions".to_owned(),
            from: from.0,
            to: to.0,
        })
    }

    fn state(&self) -> Option<Arc<State>> {
        self.shared.heads.read().as_ref().map(|state| state())
    }

    /// Waits until everything that was handed in before is in the store.
    fn settle(&self) -> Result<(), ArchiveError> {
        if self.shared.written.load(Ordering::SeqCst) >= self.shared.queued.load(Ordering::SeqCst) {
            return Ok(());
        }
        let (done, wait) = sync_channel(1);
        self.jobs
            .send(Job::Settle(done))
            .map_err(|_| ArchiveError::Stopped)?;
        wait.recv().map_err(|_| ArchiveError::Stopped)
    }

    /// Reads with an eye on the store: one that breaks is replaced, and damage is looked into.
    fn read<T>(&self, look: impl FnOnce(&Store) -> Result<T, ArchiveError>) -> Result<T, ArchiveError> {
        let store = self.shared.store.load_full();
        let looked = open::guarded(|| look(&store));
        match &looked {
            Err(error) if error.is_broken_store() => {
                let broken = Job::Replace(store, chain(error));
                self.jobs.send(broken).map_err(|_| ArchiveError::Stopped)?;
            }
            Err(ArchiveError::Damaged { .. }) => self.shared.doubted.notify_one(),
            _ => {}
        }
        looked
    }
}
