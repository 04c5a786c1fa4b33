//! The one thread that writes to the store, in the order of the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use reeve_domain::Revision;
use tracing::error;

use super::check::Reading;
use super::open::{guarded, open, set_aside};
use super::store::Store;
use super::suspect::odd_file;
use super::{ArchiveError, Change, Shared};
use crate::damage::{Part, chain};

/// Changes written at once.
const BATCH_MAX: usize = 512;
/// How long the first of them waits for others: what is written together fills whole blocks, and whoever asks for it
/// meanwhile is not kept waiting.
const LINGER: Duration = Duration::from_millis(50);

pub(super) enum Job {
    Write(Vec<Change>),
    /// The State is at this revision, and these never were.
    Reach(Revision, Vec<(u64, u64)>),
    Flush(SyncSender<Result<(), ArchiveError>>),
    Settle(SyncSender<()>),
    /// Reads a few blocks on.
    Check(Reading, SyncSender<Result<Reading, ArchiveError>>),
    /// This store panicked, or says itself that it is broken.
    Replace(Arc<Store>, String),
}

pub(super) fn spawn(shared: Arc<Shared>, inbox: Receiver<Job>) -> Result<(), ArchiveError> {
    let worker = Worker {
        shared,
        inbox,
        batch: Vec::new(),
    };
    let thread = thread::Builder::new().name("archive".to_owned());
    thread
        .spawn(move || worker.run())
        .map_err(ArchiveError::disk("starting a thread"))?;
    Ok(())
}

struct Worker {
    shared: Arc<Shared>,
    inbox: Receiver<Job>,
    /// Taken and not in the store yet; kept while the store fails, and tried again with the next job.
    batch: Vec<Change>,
}

impl Worker {
    /// Ends when the last handle is gone.
    fn run(mut self) {
        while let Ok(first) = self.inbox.recv() {
            let until = Instant::now() + LINGER;
            let mut next = Some(first);
            while let Some(job) = next.take() {
                match job {
                    Job::Write(changes) => {
                        self.batch.extend(changes);
                        if self.batch.len() < BATCH_MAX {
                            let left = until.saturating_duration_since(Instant::now());
                            next = self.inbox.recv_timeout(left).ok();
                        }
                    }
                    other => {
                        let written = self.write();
                        self.work(other, written);
                    }
                }
            }
            self.write().unwrap_or_else(told);
        }
    }

    fn write(&mut self) -> Result<(), ArchiveError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.on_store(|store| store.write(&self.batch))?;
        self.shared
            .written
            .fetch_add(self.batch.len() as u64, Ordering::SeqCst);
        self.batch.clear();
        Ok(())
    }

    fn work(&mut self, job: Job, written: Result<(), ArchiveError>) {
        match job {
            // The loop keeps these for itself.
            Job::Write(changes) => self.batch.extend(changes),
            Job::Flush(done) => {
                let flushed = written.and_then(|()| self.on_store(Store::flush));
                // Whoever asked may have left.
                done.send(flushed).ok();
            }
            Job::Settle(done) => {
                written.unwrap_or_else(told);
                done.send(()).ok();
            }
            Job::Reach(revision, leaps) => {
                written
                    .and_then(|()| self.on_store(|store| store.reach(revision.0, &leaps)))
                    .unwrap_or_else(told);
                self.shared.written.fetch_add(1, Ordering::SeqCst);
                self.shared.reaching.fetch_sub(1, Ordering::SeqCst);
            }
            Job::Check(reading, done) => {
                let read = written.and_then(|()| self.check(reading));
                // Whoever asked may have left.
                done.send(read).ok();
            }
            Job::Replace(broken, cause) => self.replace(&broken, &cause).unwrap_or_else(told),
        }
        if self.shared.store.load().gap().is_some() {
            self.shared.missing.notify_one();
        }
    }

    /// Reads on. What it finds to be gone is missing from now on, before anybody can ask for it again.
    fn check(&self, reading: Reading) -> Result<Reading, ArchiveError> {
        let found = self.on_store(|store| store.check(reading.clone()))?;
        let file = self.shared.dir.join("sled/db");
        for place in found.places {
            self.shared
                .damages
                .found(Part::Archive, format!("{}: {place}", file.display()));
        }
        self.on_store(|store| store.miss(&found.missing))?;
        if found.reading.is_done {
            self.shared.store.load().set_checked();
        }
        Ok(found.reading)
    }

    /// Works on the store; one that breaks is replaced, and the work is done on the new one.
    fn on_store<T>(&self, work: impl Fn(&Store) -> Result<T, ArchiveError>) -> Result<T, ArchiveError> {
        let store = self.shared.store.load_full();
        match guarded(|| work(&store)) {
            Err(error) if error.is_broken_store() => {
                self.replace(&store, &chain(&error))?;
                let store = self.shared.store.load_full();
                guarded(|| work(&store))
            }
            done => done,
        }
    }

    /// Sets the folder aside and begins a new one in which everything so far is missing. Several may have met the same
    /// damage: only the first of them counts.
    fn replace(&self, broken: &Arc<Store>, cause: &str) -> Result<(), ArchiveError> {
        let before = self.shared.store.load_full();
        if !Arc::ptr_eq(&before, broken) {
            return Ok(());
        }
        let place = odd_file(&self.shared.dir);
        self.shared.damages.found(
            Part::Archive,
            format!("{place}: {cause}; it is set aside and fetched anew"),
        );
        set_aside(&self.shared.dir)?;
        let store = open(&self.shared.dir, &self.shared.cipher)?;
        store.reach(before.last(), &before.leaps())?;
        self.shared.store.store(Arc::new(store));
        Ok(())
    }
}

fn told(failure: ArchiveError) {
    error!(%failure, "the archive did not take a change");
}
