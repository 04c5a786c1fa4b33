//! Reads this node's own files again, long after they were written: a disk may forget what it took.

use std::io;
use std::time::{Duration, Instant};

use futures::FutureExt;
use openraft::RaftSnapshotBuilder;
use openraft::storage::RaftStateMachine;
use tokio_util::sync::CancellationToken;

use super::machine::Machine;
use super::{Consensus, tail};
use crate::damage::{Damages, Part};

/// A rest is taken in pieces: whoever stops waits for no longer.
const REST_MAX: Duration = Duration::from_millis(50);

impl Consensus {
    /// What was found damaged in the log and the snapshots.
    pub fn damages(&self) -> &Damages {
        self.snapshots().damages()
    }

    /// Reads the log, not faster than so many bytes a second. A damaged log ends nothing now: what it says is in
    /// memory. After a restart the node would refuse it, and is told so today.
    pub async fn check_log(&self, bytes_per_second: u64) -> io::Result<()> {
        let (folder, damages) = (self.0.settings.data_dir.join("wal"), self.damages().clone());
        let (stop, sealer) = (self.0.stop.clone(), self.snapshots().sealer().clone());
        let looked = tokio::task::spawn_blocking(move || {
            tail::check(
                &folder,
                &sealer,
                |bytes| pause(&stop, bytes, bytes_per_second),
                |place| damages.found(Part::Log, place),
            )
        });
        looked.await.map_err(io::Error::other)?
    }

    /// Reads the snapshots; another one is made in the place of a damaged one, which is then set aside.
    pub async fn check_snapshots(&self, bytes_per_second: u64) -> io::Result<()> {
        let (store, stop) = (self.snapshots().clone(), self.0.stop.clone());
        let look = move || store.check(|bytes| pause(&stop, bytes, bytes_per_second));
        let looked = tokio::task::spawn_blocking(look).await;
        let damaged = looked.map_err(io::Error::other)??;
        if damaged.is_empty() {
            return Ok(());
        }
        self.make_another_snapshot().await?;
        let store = self.snapshots().clone();
        let let_go = move || damaged.iter().try_for_each(|path| store.let_go(path));
        tokio::task::spawn_blocking(let_go)
            .await
            .map_err(io::Error::other)?
    }

    /// Makes a snapshot of the State in memory, and returns when it has its place.
    async fn make_another_snapshot(&self) -> io::Result<()> {
        let builder = self.raft().with_state_machine(|machine: &mut Machine| {
            // It only clones what is in memory.
            let builder = machine.try_create_snapshot_builder(true).now_or_never().flatten();
            Box::pin(std::future::ready(builder))
        });
        let builder = builder.await.map_err(io::Error::other)?;
        let full =
            || io::Error::other("the disk is full: a damaged snapshot keeps its place until there is room");
        builder.ok_or_else(full)?.build_snapshot().await.map(drop)
    }
}

/// Gives the disk a rest for what was read. An error: this node stops.
fn pause(stop: &CancellationToken, bytes: u64, bytes_per_second: u64) -> io::Result<()> {
    let long = Duration::from_secs_f64(bytes as f64 / bytes_per_second.max(1) as f64);
    let end = Instant::now() + long;
    loop {
        if stop.is_cancelled() {
            return Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "this node is stopping",
            ));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(REST_MAX));
    }
}
