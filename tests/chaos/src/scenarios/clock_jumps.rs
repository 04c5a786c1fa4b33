//! The clock of the leader, then of a follower, is an hour ahead or behind, and comes back: the roll's own clock never
//! runs back, requests are remembered, answers are as from one copy.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use crate::faults::Fault;
use crate::faults::clock::HOUR_S;
use crate::faults::clock::Jump::{Ahead, Back};
use crate::invariants::{audit_chain_whole, stamps_go_forward};
use crate::world::Who::{Follower, Leader};
use crate::world::{World, registry};

pub async fn play() -> Result<()> {
    let mut world = World::with_clocks(registry(), 21).await?;
    let faults = [
        Fault::Clock(Leader, Ahead),
        Fault::Clock(Leader, Back),
        Fault::Clock(Follower, Ahead),
        Fault::Clock(Follower, Back),
    ];
    super::on(&mut world, 21, &faults).await?;
    let newest_ms = stamps_go_forward::judge(&audit_chain_whole::observe(&world.fleet).await?)?;
    // All nodes were two hours ahead of this process for a while; otherwise no clock was moved.
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let ahead_ms = newest_ms.saturating_sub(now_ms);
    ensure!(
        ahead_ms > 1_900 * HOUR_S as u64,
        "the roll's clock is only {ahead_ms} ms ahead"
    );
    world.shutdown().await
}
