//! Scheduled backups: the leader's alone, so that there is one at a time. What was kept says when the next is due, so
//! a new leader goes on where the last one ended.

use std::time::{Duration, SystemTime};

use reeve_domain::Command;
use reeve_domain::Revision;
use reeve_domain::command::Witness;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::shelf::trouble::{Reason, Trouble, chain};
use super::shelf::{Kept, Shelf, ShelfError, Slot};
use super::{Copy, header};
use crate::archive::LIMIT_MAX;
use crate::config::Backup;
use crate::policy::{self, SNAPSHOT_KEEP};
use crate::rooms::Rooms;
use crate::telemetry::BackupTrouble;

/// Between two looks at what is due, at the most.
const LOOK_MAX: Duration = Duration::from_secs(30);
const LOOKS_PER_PERIOD: u32 = 4;
/// After failures the looks are rarer, up to this many times.
const PAUSE_MAX: u32 = 4;
/// Further ahead of this clock no backup can be of.
const AHEAD_MAX_MS: u64 = 3_600_000;
/// A proposal that takes longer is made anew the next time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no new backup.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error("it was not written down: {0}")]
    Unsaid(String),
    #[error("it took longer than {} s", .0.as_secs())]
    Late(Duration),
}

impl Failure {
    fn trouble(&self) -> BackupTrouble {
        let trouble = match self {
            Failure::Shelf(error) => error.trouble(),
            Failure::Unsaid(_) => Trouble::new(Reason::Registry, self.to_string()),
            Failure::Late(_) => Trouble::new(Reason::Late, self.to_string()),
        };
        BackupTrouble {
            reason: trouble.reason.word(),
            what: trouble.what,
            fix: trouble.reason.fix(),
        }
    }
}

/// Runs until told to stop; without a schedule, not at all.
pub async fn run(rooms: Rooms, settings: Backup, stop: CancellationToken) {
    let every = Duration::from_millis(settings.every_ms);
    rooms.metrics.backup_every_seconds.set(every.as_secs() as i64);
    if every.is_zero() {
        return;
    }
    let (look, deadline) = (
        (every / LOOKS_PER_PERIOD).min(LOOK_MAX),
        Duration::from_millis(settings.deadline_ms),
    );
    let mut failed = 0;
    loop {
        let round = timeout(deadline, round(&rooms, &settings));
        let Some(done) = stop.run_until_cancelled(round).await else {
            return;
        };
        match done.unwrap_or(Err(Failure::Late(deadline))) {
            Ok(()) => {
                failed = 0;
                rooms.metrics.backup(None);
            }
            Err(failure) => {
                failed += 1;
                let trouble = failure.trouble();
                error!(failure = %chain(&failure), reason = trouble.reason, fix = trouble.fix, "no backup was kept; a later look tries again");
                rooms.metrics.backup_failures.inc();
                rooms.metrics.backup(Some(trouble));
            }
        }
        if stop
            .run_until_cancelled(sleep(pause(look, failed)))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// Until the next look, after so many failures without a success.
fn pause(look: Duration, failed: u32) -> Duration {
    look * failed.clamp(1, PAUSE_MAX)
}

async fn round(rooms: &Rooms, settings: &Backup) -> Result<(), Failure> {
    let state = rooms.consensus.published().state.clone();
    if state.cluster.id.is_empty() {
        return Ok(());
    }
    let shelf = Shelf::open(
        &settings.url,
        &settings.s3,
        &state.cluster.name,
        &state.cluster.id,
    )?;
    let seen = shelf.look().await?;
    has_come(seen.newest(), now_ms()).map_err(ShelfError::from)?;
    tell(rooms, seen.newest());
    if !rooms.consensus.is_leader() {
        return Ok(());
    }
    let slot = Slot::of(now_ms(), settings.every_ms);
    if seen.newest() >= Some(slot) {
        shelf.tidy(&seen, settings.keep, oldest(settings)).await?;
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
    let archive = rooms.archive.clone();
    let kept = shelf
        .keep(rooms.authority.root(), header, slot, move |save| {
            save(Copy {
                state: &state,
                changes: &mut |from: Revision| Ok(archive.changes(from, LIMIT_MAX)?),
                said: &mut |_| {},
            })
        })
        .await?;
    let seen = shelf.look().await?;
    tell(rooms, seen.newest());
    let gone = shelf.tidy(&seen, settings.keep, oldest(settings)).await?;
    let swept = shelf.sweep_uploads(&seen).await.unwrap_or_else(|error| {
        // The backup is kept all the same.
        warn!(error = %chain(&error), "what cut uploads left cannot be swept; let the bucket end unfinished uploads by a rule");
        0
    });
    match kept {
        Kept::Ours(name) => info!(
            name,
            kept = seen.kept(),
            gone,
            swept,
            "a backup was kept and read back"
        ),
        Kept::Theirs => info!(slot = slot.0, "another node kept the backup of this time"),
    }
    Ok(())
}

/// A backup of a time to come, made by a node whose clock was wrong, would keep others from being made.
fn has_come(newest: Option<Slot>, now_ms: u64) -> Result<(), Trouble> {
    match newest {
        Some(slot) if slot.0 > now_ms.saturating_add(AHEAD_MAX_MS) => Err(Trouble::new(
            Reason::ClockSkew,
            format!(
                "the newest backup is of {} ms after 1970, which has not come; set the clock, or move that backup away",
                slot.0
            ),
        )),
        _ => Ok(()),
    }
}

/// The time of a slot stands for all that was there before it.
fn tell(rooms: &Rooms, newest: Option<Slot>) {
    let newest = newest.map_or(0, |slot| slot.0);
    rooms.metrics.backup_last_success.set((newest / 1_000) as i64);
}

/// Before it, only the newest stays.
fn oldest(settings: &Backup) -> Slot {
    match settings.keep_ms {
        0 => Slot(0),
        keep_ms => Slot(now_ms().saturating_sub(keep_ms)),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_of_a_time_to_come_is_told() {
        let now = 10 * AHEAD_MAX_MS;
        assert_eq!(has_come(None, now), Ok(()));
        assert_eq!(has_come(Some(Slot(now + AHEAD_MAX_MS)), now), Ok(()));
        let told = has_come(Some(Slot(now + AHEAD_MAX_MS + 1)), now).unwrap_err();
        assert_eq!(told.reason, Reason::ClockSkew);
    }

    #[test]
    fn looks_are_rarer_after_failures_and_never_rare() {
        let look = Duration::from_secs(30);
        let pauses = [0, 1, 2, 4, 900].map(|failed| pause(look, failed).as_secs());
        assert_eq!(pauses, [30, 30, 60, 120, 120]);
    }
}
