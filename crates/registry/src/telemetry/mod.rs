//! What operators see of a node: log lines and metrics.
//!
//! ```text
//! calls, proposals, flushes ─► counters, histograms ─┐
//! gauges (State, status: each second) ───────────────┼─► /metrics ─► deploy/prometheus/*.rules.yml ─► docs/runbooks
//! disk, checksum, chains (now and then) ─────────────┘
//! ```

mod chains;
mod checksum;
mod disk;
mod gauges;
mod logs;
mod metrics;
mod recent;
mod table;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::SystemTime;

use reeve_proto::identity::Credentials;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use logs::init;
pub use metrics::{BackupTrouble, Metrics, RpcCall};

use crate::Rooms;

/// Starts everything that keeps the gauges true; it ends with the token.
pub fn spawn(
    rooms: &Rooms,
    credentials: Credentials,
    data_dir: PathBuf,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let stop = || stop.clone();
    tasks.spawn(stop().run_until_cancelled_owned(gauges::run(rooms.clone(), credentials)));
    tasks.spawn(stop().run_until_cancelled_owned(disk::run(rooms.metrics.clone(), data_dir)));
    tasks.spawn(stop().run_until_cancelled_owned(checksum::run(rooms.clone())));
    tasks.spawn(stop().run_until_cancelled_owned(chains::run(rooms.clone())));
}

/// Whole seconds since 1970, as Prometheus tells time.
fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
