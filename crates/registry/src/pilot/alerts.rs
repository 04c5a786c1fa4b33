//! Raises and resolves alerts: the leader's alone.

use std::time::Duration;

use reeve_domain::alert::ReportAlerts;
use reeve_domain::plan::alerts::{Memory, Seen, delta, look};
use reeve_domain::{Command, version};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Rooms, pilot, policy};

const EVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(5);

/// What one term of leading remembers.
struct Term {
    number: u64,
    memory: Memory,
}

pub(super) async fn run(rooms: Rooms, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut term = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => round(&rooms, &mut term).await,
        }
    }
}

async fn round(rooms: &Rooms, led: &mut Option<Term>) {
    if !rooms.consensus.is_leader() {
        *led = None;
        return;
    }
    let number = rooms.consensus.term();
    let term = match led {
        Some(term) if term.number == number => term,
        _ => led.insert(Term {
            number,
            memory: Memory::default(),
        }),
    };
    // Most looks find nothing new, and ask nobody whether this node leads.
    let mut memory = term.memory.clone();
    if news(rooms, &mut memory).is_none() {
        term.memory = memory;
        return;
    }
    let permit = match policy::for_pilot(&rooms.consensus).await {
        Ok(permit) => permit,
        Err(error) => return warn!(%error, "leadership is not confirmed; the pilot waits"),
    };
    // Looked at again behind the confirmation: all that an earlier leader has written is in it.
    let Some(order) = news(rooms, &mut term.memory) else {
        return;
    };
    info!(told = %order.told(), "alerts");
    match policy::propose(rooms, permit, Command::ReportAlerts(order), PATIENCE).await {
        Ok(committed) => {
            if let Err(refusal) = committed.outcome {
                warn!(%refusal, "alerts were not written down; the next round looks again");
            }
        }
        Err(error) => warn!(%error, "alerts were not written down; the next round tries again"),
    }
}

/// What the State does not know yet.
fn news(rooms: &Rooms, memory: &mut Memory) -> Option<ReportAlerts> {
    let published = rooms.consensus.published();
    let state = &published.state;
    if state.cluster.id.is_empty() || state.cluster.version < version::TURNS {
        return None;
    }
    let now = pilot::now(state);
    let sightings = rooms.sightings.own();
    let look = rooms.vitals.look(|vitals| {
        let seen = Seen {
            sightings: &sightings,
            vitals,
        };
        look(state, seen, rooms.terms, now)
    });
    delta(state, &look, memory, now)
}
