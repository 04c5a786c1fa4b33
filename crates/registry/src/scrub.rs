//! Reads everything this node keeps again, after each start and once a day: a bit that flipped is found before it is
//! needed.
//!
//! ```text
//! archive ─► damaged ranges are missing, and fetched ─► log ─► told ─► snapshots ─► set aside, made again
//! ```

use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Rooms;
use crate::archive::Reading;
use crate::config::Scrub;

/// Whoever met damage asks again soon; the archive is not read for each of them.
const DOUBT_PAUSE: Duration = Duration::from_secs(1);

/// Reads until told to stop.
pub async fn run(rooms: Rooms, settings: Scrub, stop: CancellationToken) {
    let bytes_per_second = settings.mb_per_s << 20;
    let rounds = async {
        loop {
            let archive = check_archive(&rooms, bytes_per_second).await;
            let log = rooms.consensus.check_log(bytes_per_second).await;
            let snapshots = rooms.consensus.check_snapshots(bytes_per_second).await;
            match archive
                .and(log.map_err(Into::into))
                .and(snapshots.map_err(Into::into))
            {
                Ok(()) => {
                    info!("everything on this node's disk was read again");
                    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                    let now = now.unwrap_or_default().as_secs();
                    rooms
                        .metrics
                        .data_scrub_last
                        .set(i64::try_from(now).unwrap_or(i64::MAX));
                }
                Err(error) => warn!(
                    error = format!("{error:#}"),
                    "not everything on this node's disk could be read again"
                ),
            }
            wait(&rooms, Duration::from_millis(settings.every_ms), bytes_per_second).await;
        }
    };
    stop.run_until_cancelled(rounds).await;
}

/// Until the next round; meanwhile the archive is read whenever somebody met damage in it.
async fn wait(rooms: &Rooms, every: Duration, bytes_per_second: u64) {
    let again = async {
        loop {
            rooms.archive.doubted().await;
            tokio::time::sleep(DOUBT_PAUSE).await;
            if let Err(error) = check_archive(rooms, bytes_per_second).await {
                warn!(
                    error = format!("{error:#}"),
                    "the archive could not be read again"
                );
            }
        }
    };
    // It never ends by itself: the time is what ends the wait.
    let _ = tokio::time::timeout(every, again).await;
}

async fn check_archive(rooms: &Rooms, bytes_per_second: u64) -> anyhow::Result<()> {
    let mut reading = Reading::default();
    while !reading.is_done {
        let (archive, before) = (rooms.archive.clone(), reading.bytes);
        reading = tokio::task::spawn_blocking(move || archive.check(reading)).await??;
        let read = reading.bytes - before;
        tokio::time::sleep(Duration::from_secs_f64(read as f64 / bytes_per_second as f64)).await;
    }
    Ok(())
}
