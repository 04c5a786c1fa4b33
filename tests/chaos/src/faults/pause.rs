//! A node is stopped where it stands, for longer than an election takes, and goes on as if nothing had happened.

use std::time::Duration;

use anyhow::Result;

use crate::world::{Who, World};

/// Three elections of the LAN profile.
const LONG_MIN: Duration = Duration::from_millis(1_200);

pub async fn strike(world: &mut World, who: Who, long: Duration) -> Result<()> {
    let id = world.id(who).await?;
    let node = world.fleet.node(id)?;
    node.pause();
    tokio::time::sleep(long.max(LONG_MIN)).await;
    node.resume();
    Ok(())
}
