//! Changes credentials by the schedule: the leader's alone, a few at a time.

use std::time::Duration;

use reeve_domain::operation::{Priority, Rotate, Turn};
use reeve_domain::plan::rotation::{Schedule, due};
use reeve_domain::{Command, OperationId, State, TenantId, version};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::Rotation;
use crate::{Rooms, pilot, policy};

const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(rooms: Rooms, settings: Rotation, stop: CancellationToken) {
    rooms
        .metrics
        .rotation_every_seconds
        .set((settings.every_ms / 1_000) as i64);
    if settings.every_ms == 0 {
        return;
    }
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => round(&rooms, settings).await,
        }
    }
}

async fn round(rooms: &Rooms, settings: Rotation) {
    if !rooms.consensus.is_leader() {
        return;
    }
    let published = rooms.consensus.published();
    let state = &published.state;
    let schedule = Schedule {
        every_ms: settings.every_ms,
        at_once_max: settings.at_once,
    };
    let due = due(state, &rooms.sightings.own(), pilot::now(state), schedule);
    if due.is_empty() {
        return;
    }
    let permit = match policy::for_pilot(&rooms.consensus).await {
        Ok(permit) => permit,
        Err(error) => return warn!(%error, "leadership is not confirmed; the pilot waits"),
    };
    for tenant in due {
        let Some(order) = order(rooms, state, &tenant, settings.grace_ms) else {
            continue;
        };
        info!(%tenant, version = order.next.version, "a credential is due");
        let command = Command::RotateCredential(order);
        match policy::propose(rooms, permit.clone(), command, PATIENCE).await {
            Ok(committed) => {
                if let Err(refusal) = committed.outcome {
                    warn!(%tenant, %refusal, "the credential is not changed now; the next round looks again");
                }
            }
            Err(error) => {
                warn!(%tenant, %error, "the credential is not changed now; the next round tries again")
            }
        }
    }
}

/// Drawn and sealed on the leader, before anything is proposed.
fn order(rooms: &Rooms, state: &State, id: &TenantId, grace_ms: u64) -> Option<Rotate> {
    let tenant = state.tenants.get(id)?;
    match rooms.authority.next_credential(id, &tenant.credential) {
        Ok(next) => Some(Rotate {
            tenant: id.clone(),
            operation: OperationId::from_random(rand::random()),
            etag: String::new(),
            next,
            leaked: false,
            grace_ms,
            turn: match state.cluster.version >= version::TURNS {
                true => Turn {
                    queue: false,
                    priority: Priority::Background,
                },
                false => Turn::default(),
            },
        }),
        Err(cause) => {
            error!(tenant = %id, %cause, "a credential cannot be sealed");
            None
        }
    }
}
