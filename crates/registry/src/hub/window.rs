//! The last revisions, in order, each encoded at most once.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use reeve_domain::{Event, Revision};

/// Revisions that are kept in memory for streams that resume.
pub const WINDOW_MAX: usize = 100_000;

/// All events of one change.
#[derive(Debug)]
pub struct Batch {
    pub revision: Revision,
    pub events: Vec<Event>,
    wire: Box<[OnceLock<Bytes>]>,
}

impl Batch {
    /// The events of one revision; there may be none.
    pub fn new(revision: Revision, events: Vec<Event>) -> Batch {
        let wire = events.iter().map(|_| OnceLock::new()).collect();
        Batch {
            revision,
            events,
            wire,
        }
    }

    /// An event's bytes on the wire: the first watcher encodes, all others share.
    pub fn wire(&self, index: usize, encode: impl FnOnce(&Event) -> Bytes) -> Option<Bytes> {
        let event = self.events.get(index)?;
        Some(self.wire[index].get_or_init(|| encode(event)).clone())
    }
}

/// The start that was asked for is behind the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("changes before revision {oldest} are compacted; read everything again and watch from there")]
pub struct Compacted {
    /// The first revision that can still be had.
    pub oldest: Revision,
}

pub(super) struct Window {
    batches: VecDeque<Arc<Batch>>,
    /// The revision before the first one held.
    base: Revision,
}

impl Window {
    pub(super) fn beginning_after(base: Revision) -> Window {
        Window {
            batches: VecDeque::new(),
            base,
        }
    }

    pub(super) fn check(&self, after: Revision) -> Result<(), Compacted> {
        if after < self.base {
            return Err(Compacted {
                oldest: self.base.next(),
            });
        }
        Ok(())
    }

    /// Adds the next revision; false when it is known already. After a gap the window begins anew, so that
    /// nobody can read across it.
    pub(super) fn push(&mut self, batch: Batch) -> bool {
        let head = self.head();
        if batch.revision <= head {
            return false;
        }
        if batch.revision != head.next() {
            *self = Window::beginning_after(Revision(batch.revision.0 - 1));
        }
        self.batches.push_back(Arc::new(batch));
        while self.batches.len() > WINDOW_MAX {
            self.base = self.batches.pop_front().map_or(self.base, |gone| gone.revision);
        }
        true
    }

    pub(super) fn restart_after(&mut self, revision: Revision) {
        *self = Window::beginning_after(revision);
    }

    pub(super) fn head(&self) -> Revision {
        self.batches.back().map_or(self.base, |last| last.revision)
    }

    /// Up to `limit` batches after a revision, and how many more there are.
    pub(super) fn after(&self, revision: Revision, limit: usize) -> (Vec<Arc<Batch>>, usize) {
        let from = self.batches.partition_point(|batch| batch.revision <= revision);
        let taken: Vec<_> = self.batches.range(from..).take(limit).cloned().collect();
        let left = self.batches.len() - from - taken.len();
        (taken, left)
    }
}
