//! A node that gets a tenth of the time that it wants: it applies, flushes, answers and votes, and all of it late.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::world::{Who, World};

const RUNS: Duration = Duration::from_millis(5);
/// Shorter than any patience of the others: it is slow, and not gone.
const STANDS: Duration = Duration::from_millis(45);

pub async fn strike(world: &mut World, who: Who, long: Duration) -> Result<()> {
    let id = world.id(who).await?;
    let node = world.fleet.node(id)?;
    let end = Instant::now() + long;
    while Instant::now() < end {
        node.pause();
        tokio::time::sleep(STANDS).await;
        node.resume();
        tokio::time::sleep(RUNS).await;
    }
    Ok(())
}
