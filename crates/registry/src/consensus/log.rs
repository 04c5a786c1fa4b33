//! The log and the vote, on `raft-log`, which has its own writer thread.
//!
//! ```text
//! append ─► encode, seal, buffer ─► idle? flush : wait ─► fdatasync ─► all who waited, in order ─► next flush
//! ```
//! One flush is in flight; what arrives meanwhile goes with the next. A failed flush fails everyone who waits
//! and ends the process: a retried fsync may lie.

use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, RaftLogReader};
use parking_lot::Mutex;
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{Config, RaftLog};

use super::mark::{End, Mark};
use super::recent::Recent;
use super::tail;
use super::types::{C, Entry, LogId, Vote};
use super::wal::{Flushed, Wal, from_wal, to_wal, vote_from_wal, vote_to_wal};
use super::{Fatal, Timer};
use crate::mutant::Mutant;
use crate::vault::Sealer;

/// Of a log's file. Until the first flush the library holds the whole of the newest one in memory.
const CHUNK_BYTES_MAX: usize = 16 << 20;
const READ_BUFFER_BYTES: usize = 4 << 20;
/// What the library keeps in memory, still sealed. The newest entries are kept open beside it, and read first.
const CACHE_BYTES_MAX: usize = 8 << 20;
const CACHE_ITEMS_MAX: usize = 4_096;
/// What goes to another node in one message, unless a single entry is larger.
const READ_BYTES_MAX: usize = 4 << 20;

/// The log of one node. Clones share it.
#[derive(Clone)]
pub(super) struct LogStore {
    shared: Arc<Shared>,
    _closing: Arc<Closing>,
}

/// Closes the log with its last handle. The writer's callbacks hold the log as well, and the writer cannot wait for
/// its own end.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        let log = self.0.inner.lock().log.take();
        drop(log);
    }
}

/// The log behind its lock.
pub(super) struct Shared {
    inner: Mutex<Inner>,
    sealer: Sealer,
    fatal: Fatal,
    mark: Mark,
    /// Hears how long each flush took.
    timer: OnceLock<Timer>,
}

struct Inner {
    /// None once the log is closed.
    log: Option<RaftLog<Wal>>,
    recent: Recent,
    pending: Vec<IOFlushed<C>>,
    /// Since when a flush is under way.
    in_flight: Option<Instant>,
    /// A flush has failed: nothing may count as durable any more.
    failed: bool,
}

impl LogStore {
    /// Opens the log of a folder, and refuses one that ends before what was known to be durable.
    pub(super) fn open(folder: &Path, sealer: Sealer, fatal: Fatal) -> io::Result<LogStore> {
        LogStore::open_in_chunks(folder, sealer, fatal, CHUNK_BYTES_MAX)
    }

    /// The same, in files of another size.
    pub(super) fn open_in_chunks(
        folder: &Path,
        sealer: Sealer,
        fatal: Fatal,
        chunk_bytes: usize,
    ) -> io::Result<LogStore> {
        std::fs::create_dir_all(folder)?;
        let mut config = Config::new(folder.join("wal").display());
        std::fs::create_dir_all(folder.join("wal"))?;
        config.wal.chunk_max_size = Some(chunk_bytes);
        config.wal.read_buffer_size = Some(READ_BUFFER_BYTES);
        // Grouping is ours: the worker must not linger, and must never block on itself in a callback.
        config.wal.flush_batch_wait = Some(Duration::ZERO);
        config.wal.flush_queue_max_bytes = Some(1 << 40);
        config.log_cache_capacity = Some(CACHE_BYTES_MAX);
        config.log_cache_max_items = Some(CACHE_ITEMS_MAX);
        tail::mend(&folder.join("wal"))?;
        let log = RaftLog::<Wal>::open(Arc::new(config))?;
        let mark = Mark::open(folder)?;
        // A log whose every entry is in a snapshot has a purged end only.
        let last = log
            .log_state()
            .last()
            .max(log.log_state().purged())
            .map(|id| from_wal(*id));
        mark.check(last.as_ref(), log.log_state().vote())?;
        let inner = Mutex::new(Inner {
            log: Some(log),
            recent: Recent::default(),
            pending: Vec::new(),
            in_flight: None,
            failed: false,
        });
        let shared = Arc::new(Shared {
            inner,
            sealer,
            fatal,
            mark,
            timer: OnceLock::new(),
        });
        Ok(LogStore {
            _closing: Arc::new(Closing(shared.clone())),
            shared,
        })
    }

    /// From now on this hears how long each flush takes; the first one to be told stays.
    pub(super) fn tell(&self, timer: Timer) {
        let _ = self.shared.timer.set(timer);
    }

    /// For how long the flush that is under way has been.
    pub(super) fn flushing_for(&self) -> Option<Duration> {
        let since = self.shared.inner.lock().in_flight;
        since.map(|since| since.elapsed())
    }

    /// Writes down how far the log is known to be durable.
    pub(super) fn save_mark(&self) -> io::Result<()> {
        self.shared.mark.save()
    }

    async fn flush_and_wait(
        &self,
        write: impl FnOnce(&mut RaftLog<Wal>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        {
            let mut inner = self.shared.inner.lock();
            let log = inner.log()?;
            write(log)?;
            log.flush(true, Some(self.shared.timed(Flushed::One(sender))))?;
        }
        let flushed = receiver
            .await
            .map_err(|_| io::Error::other("the log's writer is gone"))?;
        if let Err(error) = &flushed {
            self.shared
                .fatal
                .raise(&format!("the log cannot be flushed: {error}"));
        }
        flushed
    }
}

impl LogStore {
    /// The last entry that only a snapshot holds.
    pub(super) fn purged(&self) -> io::Result<Option<u64>> {
        let mut inner = self.shared.inner.lock();
        Ok(inner.log()?.log_state().purged().map(|id| id.1))
    }

    /// The index behind the last entry.
    pub(super) fn end(&self) -> io::Result<u64> {
        let mut inner = self.shared.inner.lock();
        Ok(inner.log()?.log_state().last().map_or(0, |id| id.1 + 1))
    }

    /// The index behind the last entry that this node knew to be committed.
    pub(super) fn committed_end(&self) -> io::Result<u64> {
        let mut inner = self.shared.inner.lock();
        Ok(inner.log()?.log_state().committed().map_or(0, |id| id.1 + 1))
    }

    /// Entries from `from` up to and without `to`.
    pub(super) fn read(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        self.shared.read(from, to, usize::MAX)
    }
}

impl Inner {
    fn log(&mut self) -> io::Result<&mut RaftLog<Wal>> {
        let closed = || io::Error::other("the log is closed");
        self.log.as_mut().ok_or_else(closed)
    }
}

impl Shared {
    /// Called on the writer's thread when a flush is over.
    pub(super) fn flushed(self: Arc<Shared>, result: io::Result<()>, waiters: Vec<IOFlushed<C>>, end: End) {
        if let Err(error) = result {
            let told = || io::Error::new(error.kind(), error.to_string());
            let behind = {
                let mut inner = self.inner.lock();
                inner.failed = true;
                std::mem::take(&mut inner.pending)
            };
            for waiter in waiters.into_iter().chain(behind) {
                waiter.io_completed(Err(told()));
            }
            self.fatal.raise(&format!("the log cannot be flushed: {error}"));
            return;
        }
        self.mark.reached(end);
        for waiter in waiters {
            waiter.io_completed(Ok(()));
        }
        let mut inner = self.inner.lock();
        inner.in_flight = None;
        if let Err(error) = Shared::flush_pending(&self, &mut inner) {
            self.fatal.raise(&format!("the log cannot be flushed: {error}"));
        }
    }

    fn flush_pending(self: &Arc<Shared>, inner: &mut Inner) -> io::Result<()> {
        if inner.failed {
            return Err(io::Error::other("an earlier flush of the log has failed"));
        }
        let Some(log) = inner.log.as_mut() else {
            // It was closed meanwhile, and whoever waits is gone with it.
            return Ok(());
        };
        if inner.in_flight.is_some() || inner.pending.is_empty() {
            return Ok(());
        }
        inner.in_flight = Some(Instant::now());
        let waiters = std::mem::take(&mut inner.pending);
        let end = self.mark.end(log.log_state().last().map(|id| from_wal(*id)));
        log.flush(true, Some(self.timed(Flushed::Group(self.clone(), waiters, end))))
    }

    fn timed(&self, then: Flushed) -> Flushed {
        match self.timer.get() {
            Some(timer) => Flushed::Timed(Instant::now(), timer.clone(), Box::new(then)),
            None => then,
        }
    }

    /// Entries from `from` up to and without `to`; fewer, but at least one, when they are more than so many bytes.
    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let (mut sealed, mut bytes) = (Vec::new(), 0);
        let mut inner = self.inner.lock();
        if let Some(entries) = inner.recent.read(from, to, bytes_max) {
            return Ok(entries);
        }
        for next in inner.log()?.read(from, to) {
            let (id, payload) = next?;
            bytes += payload.len();
            if bytes > bytes_max && !sealed.is_empty() {
                break;
            }
            sealed.push((id, payload));
        }
        drop(inner);
        sealed
            .into_iter()
            .map(|(id, payload)| self.unseal(from_wal(id), &payload))
            .collect()
    }

    fn seal(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        let plain = rmp_serde::to_vec_named(&entry.payload).map_err(io::Error::other)?;
        self.sealer
            .seal(&place(entry.log_id.index), &plain)
            .map_err(io::Error::other)
    }

    fn unseal(&self, id: LogId, sealed: &[u8]) -> io::Result<Entry> {
        let corrupt = |why: String| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("log entry {} is damaged: {why}", id.index),
            )
        };
        let plain = self
            .sealer
            .open(&place(id.index), sealed)
            .map_err(|e| corrupt(e.to_string()))?;
        let payload: EntryPayload<_, _, _> = rmp_serde::from_slice(&plain)
            .map_err(|e| corrupt(format!("{e} (or a later release wrote it)")))?;
        Ok(Entry { log_id: id, payload })
    }
}

/// What is sent to another node begins where it was asked to, or is nothing. A stream that failed is read a moment
/// longer, while its log may be purged already: the entries behind the gap would be taken for those that follow. After
/// nothing openraft asks again.
pub(super) fn without_gap(from: u64, entries: Vec<Entry>) -> Vec<Entry> {
    match entries.first() {
        Some(first) if first.log_id.index != from => Vec::new(),
        _ => entries,
    }
}

/// What an entry is sealed for.
pub(super) fn place(index: u64) -> Vec<u8> {
    format!("log/{index}").into_bytes()
}

impl RaftLogReader<C> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + std::fmt::Debug + openraft::OptionalSend,
    {
        let from = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => *at + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(at) => at.saturating_add(1),
            Bound::Excluded(at) => *at,
            Bound::Unbounded => u64::MAX,
        };
        self.shared.read(from, to, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        Ok(without_gap(from, self.shared.read(from, to, READ_BYTES_MAX)?))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self
            .shared
            .inner
            .lock()
            .log()?
            .log_state()
            .vote()
            .map(|vote| vote_from_wal(*vote)))
    }
}

impl RaftLogStorage<C> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        let mut inner = self.shared.inner.lock();
        let state = inner.log()?.log_state();
        let purged = state.purged().map(|id| from_wal(*id));
        let last = state.last().map(|id| from_wal(*id));
        Ok(LogState {
            last_log_id: last.max(purged),
            last_purged_log_id: purged,
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = vote_to_wal(vote);
        self.flush_and_wait(|log| log.save_vote(vote).map(drop)).await?;
        self.shared.mark.voted(vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        // Best effort: it rides with the next flush.
        if let Some(id) = committed {
            self.shared.inner.lock().log()?.commit(to_wal(&id))?;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self
            .shared
            .inner
            .lock()
            .log()?
            .log_state()
            .committed()
            .map(|id| from_wal(*id)))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + openraft::OptionalSend,
        I::IntoIter: openraft::OptionalSend,
    {
        let (mut sealed, mut appended) = (Vec::new(), Vec::new());
        for entry in entries {
            sealed.push((to_wal(&entry.log_id), self.shared.seal(&entry)?));
            appended.push(entry);
        }
        let mut inner = self.shared.inner.lock();
        inner.log()?.append(sealed)?;
        inner.recent.append(appended);
        if Mutant::AnswerBeforeFlush.is_planted() {
            callback.io_completed(Ok(()));
            return inner.log()?.flush(true, None);
        }
        inner.pending.push(callback);
        self.shared.flush_pending(&mut inner)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.as_ref().map_or(0, |id| id.index + 1);
        let end = self
            .shared
            .inner
            .lock()
            .log()?
            .log_state()
            .last()
            .map_or(0, |id| id.1 + 1);
        if from >= end {
            return Ok(());
        }
        let mark = &self.shared.mark;
        // The mark goes back first: a log that ends before its mark counts as damaged.
        self.shared.inner.lock().recent.truncate(from);
        let cut = |log: &mut RaftLog<Wal>| mark.lower(last).and_then(|()| log.truncate(from).map(drop));
        self.flush_and_wait(cut).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let mut inner = self.shared.inner.lock();
        inner.recent.purge(upto.index);
        inner.log()?.purge(to_wal(&upto)).map(drop)
    }
}
