//! Raises the cluster version once every node of the roll runs a program that knows the next one.

use std::time::Duration;

use reeve_domain::Command;
use reeve_domain::plan::raise::{Reason, Verdict, plan};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Rooms, policy};

const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(rooms: Rooms, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waits = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => round(&rooms, &mut waits).await,
        }
    }
}

/// `waits` is what was last said to hold the version: it is said once.
async fn round(rooms: &Rooms, waits: &mut Option<Reason>) {
    if !rooms.consensus.is_leader() {
        *waits = None;
        return;
    }
    let published = rooms.consensus.published();
    let order = match plan(&published.state, &rooms.consensus.versions_lately()) {
        Verdict::Current => return,
        Verdict::Wait(reason) if waits.as_ref() == Some(&reason) => return,
        Verdict::Wait(reason) => {
            info!(%reason, "the cluster version waits");
            *waits = Some(reason);
            return;
        }
        Verdict::Raise(order) => order,
    };
    let permit = match policy::for_pilot(&rooms.consensus).await {
        Ok(permit) => permit,
        Err(error) => return warn!(%error, "leadership is not confirmed; the pilot waits"),
    };
    info!(
        to = order.to,
        from = published.state.cluster.version,
        "raising the cluster version"
    );
    match policy::propose(rooms, permit, Command::RaiseVersion(order), PATIENCE).await {
        Ok(committed) => {
            if let Err(refusal) = committed.outcome {
                warn!(%refusal, "the cluster version was not raised; the next round looks again");
            }
        }
        Err(error) => warn!(%error, "the cluster version was not raised; the next round tries again"),
    }
}
