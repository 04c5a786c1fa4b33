//! Looks at the disk of the data folder: what is free, what each part takes, when the newest snapshot was written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::{Metrics, seconds};

const EVERY: Duration = Duration::from_secs(15);
/// Each part, and its folder.
const PARTS: [(&str, &str); 3] = [("log", "wal"), ("snapshots", "snapshots"), ("archive", "archive")];

/// Looks now and then.
pub(super) async fn run(metrics: Arc<Metrics>, data_dir: PathBuf) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (metrics, data_dir) = (metrics.clone(), data_dir.clone());
        let looked = tokio::task::spawn_blocking(move || look(&metrics, &data_dir)).await;
        if let Ok(Err(error)) = looked {
            warn!(%error, "the data folder cannot be looked at");
        }
    }
}

pub(super) fn look(metrics: &Metrics, data_dir: &Path) -> io::Result<()> {
    let disk = rustix::fs::statvfs(data_dir)?;
    metrics
        .data_disk_free_bytes
        .set((disk.f_bavail * disk.f_frsize) as i64);
    metrics
        .data_disk_total_bytes
        .set((disk.f_blocks * disk.f_frsize) as i64);

    let mut rows = Vec::new();
    for (part, folder) in PARTS {
        let found = Found::below(&data_dir.join(folder))?;
        rows.push(([("part", part.to_owned())], found.bytes as i64));
        if part == "snapshots" {
            metrics.raft_last_snapshot.set(found.newest.map_or(0, seconds));
        }
    }
    metrics.store_bytes.show(rows.into_iter().collect());
    Ok(())
}

/// The files of a folder. They come and go meanwhile: one that is gone counts for nothing.
#[derive(Default)]
struct Found {
    bytes: u64,
    /// When the newest whole file was written; a draft is none.
    newest: Option<SystemTime>,
}

impl Found {
    fn below(folder: &Path) -> io::Result<Found> {
        let mut found = Found::default();
        let mut open = vec![folder.to_owned()];
        while let Some(folder) = open.pop() {
            let Some(entries) = unless_gone(fs::read_dir(&folder))? else {
                continue;
            };
            for entry in entries {
                let entry = entry?;
                let Some(about) = unless_gone(entry.metadata())? else {
                    continue;
                };
                if about.is_dir() {
                    open.push(entry.path());
                    continue;
                }
                found.bytes += about.len();
                if entry
                    .path()
                    .extension()
                    .is_none_or(|extension| extension != "tmp")
                {
                    found.newest = found.newest.max(about.modified().ok());
                }
            }
        }
        Ok(found)
    }
}

fn unless_gone<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
