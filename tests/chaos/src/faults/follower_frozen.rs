//! A follower whose links hang: nothing arrives, nothing is refused.

use anyhow::{Context, Result};
use reeve_local::{Fleet, Mode};

/// Freezes every link of one follower and gives back which.
pub async fn strike(fleet: &Fleet) -> Result<u64> {
    let leader = fleet.leader().await?.id();
    let follower = fleet
        .nodes()
        .iter()
        .map(|node| node.id())
        .find(|id| *id != leader);
    let follower = follower.context("a fleet of one has no follower")?;
    fleet.hops().set_around(&format!("n{follower}"), Mode::Freeze);
    Ok(follower)
}

/// Lets everything flow again and waits until everybody votes.
pub async fn mend(fleet: &Fleet) -> Result<()> {
    fleet.hops().heal();
    fleet.wait_whole().await
}
