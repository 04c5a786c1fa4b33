//! Reads this node's own files again, long after they were written: a disk may forget what it took.

use std::io;
use std::time::Duration;

use super::{Consensus, tail};
use crate::damage::{Damages, Part};

impl Consensus {
    /// What was found damaged in the log and the snapshots.
    pub fn damages(&self) -> &Damages {
        self.snapshots().damages()
    }

    /// Reads the log, not faster than so many bytes a second. A damaged log ends nothing now: what it says is in
    /// memory. After a restart the node would refuse it, and is told so today.
    pub async fn check_log(&self, bytes_per_second: u64) -> io::Result<()> {
        let (folder, damages) = (self.0.settings.data_dir.join("wal"), self.damages().clone());
        let looked = tokio::task::spawn_blocking(move || {
            tail::check(
                &folder,
                |bytes| pause(bytes, bytes_per_second),
                |place| damages.found(Part::Log, place),
            )
        });
        looked.await.map_err(io::Error::other)?
    }

    /// Reads the snapshots; a damaged one is set aside, and another one made in its place.
    pub async fn check_snapshots(&self, bytes_per_second: u64) -> io::Result<()> {
        let store = self.snapshots().clone();
        let looked = move || store.check(|bytes| pause(bytes, bytes_per_second));
        let any = tokio::task::spawn_blocking(looked)
            .await
            .map_err(io::Error::other)??;
        if any {
            self.snapshot_now().await.map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// Gives the disk a rest for what was read.
fn pause(bytes: u64, bytes_per_second: u64) {
    std::thread::sleep(Duration::from_secs_f64(
        bytes as f64 / bytes_per_second.max(1) as f64,
    ));
}
