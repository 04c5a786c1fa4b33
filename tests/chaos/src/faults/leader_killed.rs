//! kill -9 of the leader, another one, and the dead node's return.

use anyhow::{Result, ensure};
use reeve_local::Fleet;

/// Gives back who died and who leads instead.
pub async fn strike(fleet: &Fleet) -> Result<(u64, u64)> {
    let dead = fleet.leader().await?;
    dead.kill9()?;
    let heir = fleet.leader().await?.id();
    ensure!(heir != dead.id(), "node {heir} leads although it is dead");
    Ok((dead.id(), heir))
}

/// Starts the dead node and waits until everybody votes again.
pub async fn mend(fleet: &Fleet, dead: u64) -> Result<()> {
    fleet.node(dead)?.start()?;
    fleet.wait_whole().await
}
