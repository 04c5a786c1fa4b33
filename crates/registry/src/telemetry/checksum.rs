//! Shows a part of the state's hash, so that nodes that should be alike can be compared from outside.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reeve_domain::Revision;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::consensus::Published;
use crate::{Rooms, threads};

/// The hash reads every tenant: a busy state is not hashed for each change.
const EVERY: Duration = Duration::from_secs(15);
/// How often a node that starts looks whether it has heard a quorum.
const QUORUM_EVERY: Duration = Duration::from_millis(250);
/// Of the time of one core a large state takes no more than this part.
const PART: u32 = 100;

/// Hashes the state when it has changed since the last time.
pub(super) async fn run(rooms: Rooms) {
    // Not at once: who waits for a node that starts comes first.
    while rooms.consensus.staleness().is_none() {
        sleep(QUORUM_EVERY).await;
    }
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<Revision> = None;
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let published = rooms.consensus.published();
        let revision = published.state.revision;
        if last == Some(revision) {
            continue;
        }
        let Ok(checksum) = threads::in_background(move || of(&published)).await else {
            continue;
        };
        rooms.metrics.state_checksum.set(checksum);
        rooms.metrics.state_revision.set(revision.0 as i64);
        last = Some(revision);
        sleep((began.elapsed() * PART).saturating_sub(EVERY)).await;
    }
}

/// 48 bits of the hash: Prometheus keeps a number in 53.
fn of(published: &Arc<Published>) -> i64 {
    let hash = published.state.hash();
    hash[..6].iter().fold(0, |sum, byte| sum << 8 | i64::from(*byte))
}
