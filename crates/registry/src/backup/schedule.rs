//! Scheduled backups: the leader's alone, so that there is one at a time. What was kept says when the next is due, so
//! a new leader goes on where the last one ended.

use std::time::{Duration, SystemTime};

use reeve_domain::Command;
use reeve_domain::Revision;
use reeve_domain::command::Witness;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::shelf::{Shelf, ShelfError};
use super::{Copy, header};
use crate::archive::LIMIT_MAX;
use crate::config::Backup;
use crate::policy::{self, SNAPSHOT_KEEP};
use crate::rooms::Rooms;

/// Between two looks at what is due, at the most.
const LOOK_MAX: Duration = Duration::from_secs(30);
const LOOKS_PER_PERIOD: u32 = 4;
/// A proposal that takes longer is made anew the next time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no new backup.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error("it was not written down: {0}")]
    Unsaid(String),
}

/// Runs until told to stop; without a schedule, not at all.
pub async fn run(rooms: Rooms, settings: Backup, stop: CancellationToken) {
    let every = Duration::from_millis(settings.every_ms);
    rooms.metrics.backup_every_seconds.set(every.as_secs() as i64);
    if every.is_zero() {
        return;
    }
    let mut ticks = interval((every / LOOKS_PER_PERIOD).min(LOOK_MAX));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let round = stop.clone().run_until_cancelled_owned(round(&rooms, &settings));
        match round.await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(failure)) => {
                rooms.metrics.backup_failures.inc();
                error!(failure = %chain(&failure), "no backup was kept; the next look tries again");
            }
        }
    }
}

async fn round(rooms: &Rooms, settings: &Backup) -> Result<(), Failure> {
    let state = rooms.consensus.published().state.clone();
    if state.cluster.id.is_empty() {
        return Ok(());
    }
    let shelf = Shelf::open(&settings.url, &state.cluster.name, &state.cluster.id)?;
    let newest = shelf.newest_ms().await?;
    let seen = newest.unwrap_or(0);
    rooms.metrics.backup_last_success.set((seen / 1_000) as i64);
    if !rooms.consensus.is_leader() || now_ms() < seen.saturating_add(settings.every_ms) {
        return Ok(());
    }
    if !rooms.archive.is_whole() {
        debug!("the archive is not whole yet; no backup now");
        return Ok(());
    }
    // Whoever believes to lead and does not must not act on it.
    let Ok(permit) = policy::for_pilot(&rooms.consensus).await else {
        debug!("leadership is not confirmed; no backup now");
        return Ok(());
    };
    let witness = Witness {
        action: SNAPSHOT_KEEP.to_owned(),
        resource: "cluster".to_owned(),
        tenant: None,
        detail: settings.url.clone(),
    };
    let said = policy::propose(rooms, permit, Command::Witness(witness), PATIENCE).await;
    let said = said.map_err(|error| Failure::Unsaid(error.to_string()))?;
    said.outcome
        .map_err(|refusal| Failure::Unsaid(refusal.to_string()))?;

    let state = rooms.consensus.published().state.clone();
    let header = header(&state, rooms.node_id.0, SystemTime::now());
    let (saved_ms, archive) = (header.saved_ms, rooms.archive.clone());
    let name = shelf
        .keep(rooms.authority.root(), header, move |save| {
            save(Copy {
                state: &state,
                changes: &mut |from: Revision| Ok(archive.changes(from, LIMIT_MAX)?),
                said: &mut |_| {},
            })
        })
        .await?;
    rooms.metrics.backup_last_success.set((saved_ms / 1_000) as i64);
    let gone = shelf.prune(settings.keep).await?;
    info!(name, gone, "a backup was kept and read back");
    Ok(())
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An error with what is behind it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
