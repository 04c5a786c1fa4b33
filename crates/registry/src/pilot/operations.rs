//! Drives operations: says of a try that took too long that it did, and lets those begin whose turn has come though the
//! State alone cannot tell. Everything else is the agents' to report.

use std::time::Duration;

use reeve_domain::plan::{AGENT_SILENT_MS, operations, turns};
use reeve_domain::{Command, version};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Rooms, pilot, policy};

const EVERY: Duration = Duration::from_millis(250);
/// A proposal that takes longer is made anew from what is true then.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(rooms: Rooms, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut led = Led::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => round(&rooms, &mut led).await,
        }
    }
}

/// Since when this node leads, and in which term: who was not heard by a leader that has just begun is not silent.
#[derive(Default)]
struct Led {
    term: u64,
    since: Option<Instant>,
}

impl Led {
    fn for_long(&mut self, term: u64) -> bool {
        if self.term != term || self.since.is_none() {
            *self = Led {
                term,
                since: Some(Instant::now()),
            };
        }
        let long = Duration::from_millis(AGENT_SILENT_MS);
        self.since.is_some_and(|since| since.elapsed() > long)
    }
}

async fn round(rooms: &Rooms, led: &mut Led) {
    if !rooms.consensus.is_leader() {
        return;
    }
    let published = rooms.consensus.published();
    let state = &published.state;
    let (sightings, now) = (rooms.sightings.own(), pilot::now(state));
    let mut due: Vec<Command> = Vec::new();
    for timeout in operations::plan(state, &sightings, now) {
        info!(operation = %timeout.operation, step = timeout.step, attempt = timeout.attempt, "the time of a try is over");
        due.push(Command::TimeoutStep(timeout));
    }
    let led_for_long = led.for_long(rooms.consensus.term());
    if led_for_long && state.cluster.version >= version::TURNS {
        for begin in turns::plan(state, &sightings, now) {
            info!(operation = %begin.operation, "nobody is heard whom it waits for");
            due.push(Command::BeginOperation(begin));
        }
    }
    if due.is_empty() {
        return;
    }
    // Whoever believes to lead and does not must not act on it.
    let permit = match policy::for_pilot(&rooms.consensus).await {
        Ok(permit) => permit,
        Err(error) => return warn!(%error, "leadership is not confirmed; the pilot waits"),
    };
    for command in due {
        if let Err(error) = policy::propose(rooms, permit.clone(), command, PATIENCE).await {
            warn!(%error, "it was not written down; the next round tries again");
        }
    }
}
