//! The leader, then a follower, gets a tenth of the time that it wants, applying included: answers stay true, callers
//! are kept waiting instead of piling up in its memory, and it comes to the same State as everybody else.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::faults::slow;
use crate::memory::resident_bytes;
use crate::storm::{play_while, registers};
use crate::world::Who::{Follower, Leader};
use crate::world::{World, registry};

const LONG: Duration = Duration::from_secs(4);
/// What a node may come to hold meanwhile.
const RESIDENT_MAX: u64 = 512 << 20;

pub async fn play() -> Result<()> {
    let mut world = World::start(registry(), 28).await?;
    let mut registers = registers(&world).await?;
    let played = play_while(&mut world, &mut registers, 28, async |world, _| {
        for who in [Leader, Follower] {
            slow::strike(world, who, LONG).await?;
            for node in world.fleet.nodes() {
                let resident = resident_bytes(node)?;
                ensure!(
                    resident < RESIDENT_MAX,
                    "node {} holds {resident} bytes",
                    node.id()
                );
            }
            world.fleet.wait_whole().await?;
        }
        Ok(())
    })
    .await?;
    played.judge()?;
    world.shutdown().await
}
