//! The last revisions, in order, each encoded once for all who see everything.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use reeve_domain::{Event, Revision};

/// Revisions that are kept in memory for streams that resume.
pub const WINDOW_MAX: usize = 100_000;

/// Encoded changes are kept for the newest ones: who is further behind encodes for itself.
const WIRE_MAX: usize = super::QUEUE_MAX;
/// Networks for which a change is encoded; watchers of others encode for themselves.
const NETWORKS_MAX: usize = 8;

/// All events of one change.
#[derive(Debug)]
pub struct Batch {
    pub revision: Revision,
    pub events: Arc<[Event]>,
    wire: Mutex<Wire>,
}

#[derive(Debug, Default)]
struct Wire {
    is_old: bool,
    /// By network; none when there is nothing to tell.
    encoded: Vec<(Box<str>, Option<Bytes>)>,
}

impl Batch {
    /// The events of one revision; there may be none.
    pub fn new(revision: Revision, events: Arc<[Event]>) -> Batch {
        Batch {
            revision,
            events,
            wire: Mutex::default(),
        }
    }

    /// What everybody is sent who sees all of it from a network: the first encodes, the others share.
    pub fn wire(&self, network: &str, encode: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        let mut wire = self.wire.lock();
        if let Some((_, bytes)) = wire.encoded.iter().find(|(known, _)| **known == *network) {
            return bytes.clone();
        }
        let bytes = encode();
        if !wire.is_old && wire.encoded.len() < NETWORKS_MAX {
            wire.encoded.push((network.into(), bytes.clone()));
        }
        bytes
    }

    /// From here on nothing encoded is kept.
    fn grow_old(&self) {
        *self.wire.lock() = Wire {
            is_old: true,
            encoded: Vec::new(),
        };
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
        let aged = self.batches.len().checked_sub(WIRE_MAX + 1);
        if let Some(old) = aged.and_then(|at| self.batches.get(at)) {
            old.grow_old();
        }
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
