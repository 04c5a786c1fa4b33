//! One node after the other leaves in order and comes back, the leader too, as an upgrade does it.

use anyhow::Result;
use reeve_local::Fleet;

pub async fn rolling(fleet: &Fleet) -> Result<()> {
    for node in fleet.nodes() {
        node.stop().await?;
        node.start()?;
        fleet.wait_whole().await?;
    }
    Ok(())
}
