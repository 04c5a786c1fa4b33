//! A node joins and another one leaves for ever, while everybody works.

use anyhow::Result;

use crate::world::{Who, World};

/// Adds a node, and removes one when that has a vote. False when no further node was planned for.
pub async fn replace(world: &mut World, who: Who) -> Result<bool> {
    if !world.fleet.can_grow() {
        return Ok(false);
    }
    world.fleet.add_node().await?;
    world.fleet.wait_whole().await?;
    let gone = world.id(who).await?;
    world.fleet.remove_node(gone).await?;
    world.disks.remove(&gone);
    world.fleet.wait_whole().await?;
    Ok(true)
}
