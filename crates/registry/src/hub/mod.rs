//! Tells watchers what changed: every batch of events, in order, never skipped in silence.
//!
//! ```text
//! consensus ─► publish ─► window (the last revisions, shared) ◄─ cursor of each stream
//! ```
//! A stream holds a cursor, not a queue: what a thousand watchers wait for is in memory once.

mod stream;
mod window;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::RwLock;
use reeve_domain::{Event, Revision};
use tokio::sync::watch;

pub use stream::{HubItem, HubStream, QUEUE_MAX};
pub use window::{Batch, Compacted, WINDOW_MAX};

use crate::mutant::Mutant;
use window::Window;

/// A cloneable handle on the window.
#[derive(Clone)]
pub struct Hub {
    window: Arc<RwLock<Window>>,
    head: Arc<watch::Sender<Revision>>,
}

impl Default for Hub {
    fn default() -> Hub {
        Hub::new(Revision(0))
    }
}

impl Hub {
    /// An empty window that begins behind `revision`.
    pub fn new(revision: Revision) -> Hub {
        Hub {
            window: Arc::new(RwLock::new(Window::beginning_after(revision))),
            head: Arc::new(watch::Sender::new(revision)),
        }
    }

    /// Everything after a revision, as it comes. A revision ahead of this node is waited for.
    pub fn watch(&self, after: Revision) -> Result<HubStream, Compacted> {
        self.window.read().check(after)?;
        Ok(HubStream::new(self.window.clone(), self.head.subscribe(), after))
    }

    /// Publishes the events of one change.
    pub fn publish(&self, revision: Revision, events: impl Into<Arc<[Event]>>) {
        self.publish_all([(revision, events.into())]);
    }

    /// Publishes the events of several changes, and tells of all of them at once. What the window holds already is a
    /// replay and changes nothing.
    pub fn publish_all(&self, changes: impl IntoIterator<Item = (Revision, Arc<[Event]>)>) {
        let mut last = None;
        let mut window = self.window.write();
        for (revision, mut events) in changes {
            if Mutant::WatchGap.is_planted() && revision.0.is_multiple_of(7) {
                events = Arc::default();
            }
            if window.push(Batch::new(revision, events)) {
                last = Some(revision);
            }
        }
        drop(window);
        if let Some(last) = last {
            self.head.send_replace(last);
        }
    }

    /// Begins anew behind a revision: a snapshot took the place of the changes in between.
    pub fn restart_after(&self, revision: Revision) {
        self.window.write().restart_after(revision);
        self.head.send_replace(revision);
    }

    /// The last revision published.
    pub fn head(&self) -> Revision {
        *self.head.borrow()
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.head.receiver_count()
    }
}
