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
        for applied in batch {
            let Some(change) = Change::of(applied) else {
                continue;
            };
            if let Err(error) = self.archive.write(change) {
                // The next snapshot will not become durable, so the log keeps the change.
                error!(%error, revision = %applied.revision, "the archive did not take a change");
            }
            self.metrics.audit_records.inc();
            self.hub.publish(applied.revision, applied.events.clone());
        }
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
