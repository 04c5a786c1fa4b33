//! A node stops in order, in the time that the work under way takes and no longer.
//!
//! ```text
//! leadership handed over ─► no new calls; watches, sessions, waits end ─► calls under way end ─► peers' streams end
//! ```
//! Until the last step the node votes and follows, so that the calls under way, and the others, have a whole group.

use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::rooms::Rooms;

/// Some of what runs, and the word that ends it.
#[derive(Clone, Default)]
pub(crate) struct Part {
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

/// All that runs in a node.
#[derive(Default)]
pub(crate) struct Parts {
    /// The door for clients.
    pub calls: Part,
    /// The doors for other nodes and for probes.
    pub peers: Part,
    pub loops: Part,
}

/// Ends all of it. What takes longer than `drain` is left behind.
pub(crate) async fn in_order(rooms: &Rooms, parts: Parts, drain: Duration) -> anyhow::Result<()> {
    info!("stopping: leadership is handed over");
    rooms.consensus.leave().await;

    info!("stopping: no new calls are taken");
    let limit = Instant::now() + drain;
    parts.calls.stop.cancel();
    parts.loops.stop.cancel();
    match parts.calls.ended(limit).await {
        true => info!("stopping: the calls under way have ended"),
        false => warn!("stopping: calls under way did not end in time"),
    }

    rooms.consensus.shutdown().await;
    parts.peers.stop.cancel();
    match parts.peers.ended(limit).await {
        true => info!("stopping: the streams of other nodes are closed"),
        false => warn!("stopping: streams of other nodes did not end in time"),
    }
    if !parts.loops.ended(limit).await {
        warn!("stopping: a loop did not end in time");
    }
    let flushed = rooms.archive.flush_durable();
    flushed.context("the archive was not flushed")?;
    info!("stopped");
    Ok(())
}

impl Part {
    /// Whether all of it has ended before the limit.
    async fn ended(&self, limit: Instant) -> bool {
        self.tasks.close();
        timeout_at(limit, self.tasks.wait()).await.is_ok()
    }
}
