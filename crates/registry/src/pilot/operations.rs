//! Drives operations: says of a try that took too long that it did. Everything else is the agents' to report.

use std::time::Duration;

use reeve_domain::Command;
use reeve_domain::plan::operations::plan;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Rooms, pilot, policy};

const EVERY: Duration = Duration::from_millis(250);
/// A proposal that takes longer is made anew from what is true then.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(rooms: Rooms, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => round(&rooms).await,
        }
    }
}

async fn round(rooms: &Rooms) {
    if !rooms.consensus.is_leader() {
        return;
    }
    let published = rooms.consensus.published();
    let due = plan(
        &published.state,
        &rooms.sightings.own(),
        pilot::now(&published.state),
    );
    if due.is_empty() {
        return;
    }
    // Whoever believes to lead and does not must not act on it.
    let permit = match policy::for_pilot(&rooms.consensus).await {
        Ok(permit) => permit,
        Err(error) => return warn!(%error, "leadership is not confirmed; the pilot waits"),
    };
    for timeout in due {
        info!(operation = %timeout.operation, step = timeout.step, attempt = timeout.attempt, "the time of a try is over");
        let proposed = policy::propose(rooms, permit.clone(), Command::TimeoutStep(timeout), PATIENCE).await;
        if let Err(error) = proposed {
            warn!(%error, "a timeout was not written down; the next round tries again");
        }
    }
}
