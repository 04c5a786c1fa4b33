//! Where applied changes go: the archive first, then the watchers.

use std::io;
use std::sync::Arc;

use reeve_domain::{Applied, Revision, State};
use tracing::error;

use crate::archive::{Archive, Change};
use crate::consensus::{AppliedSink, Timer};
use crate::hub::Hub;
use crate::telemetry::Metrics;

/// Hands each applied change to the rooms that wait for it.
pub struct Sink {
    pub archive: Archive,
    pub hub: Hub,
    pub metrics: Arc<Metrics>,
}

impl AppliedSink for Sink {
    fn applied(&self, batch: &[Arc<Applied>]) {
        let changes: Vec<Change> = batch.iter().filter_map(|applied| Change::of(applied)).collect();
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else {
            return;
        };
        let (count, first, last) = (changes.len() as u64, first.revision, last.revision);
        if let Err(error) = self.archive.write_all(changes) {
            // The next snapshot will not become durable, so the log keeps the changes.
            error!(%error, %first, %last, "the archive did not take what was changed");
        }
        self.metrics.audit_records.inc_by(count);
        let changed = batch.iter().filter(|applied| applied.record.is_some());
        self.hub
            .publish_all(changed.map(|applied| (applied.revision, applied.events.clone())));
    }

    fn installed(&self, state: &State) {
        if let Err(error) = self.archive.reach(state) {
            error!(%error, "the archive did not hear of a snapshot");
        }
        self.hub.restart_after(state.revision);
    }

    fn make_durable(&self, _revision: Revision) -> io::Result<()> {
        // The queue is in order, so everything up to the revision is in it.
        self.archive.flush_durable().map_err(io::Error::other)
    }

    fn timer(&self) -> Timer {
        let metrics = self.metrics.clone();
        Arc::new(move |work, took| metrics.worked(work, took))
    }
}
