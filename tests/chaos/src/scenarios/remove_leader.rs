//! The leader is taken out of the cluster, twice: services go on, its id is never seen again, answers are as from one
//! copy.

use anyhow::{Result, ensure};

use crate::faults::membership;
use crate::storm::{play_while, registers};
use crate::world::{Who, World, registry};

pub async fn play() -> Result<()> {
    let mut world = World::start(registry(), 18).await?;
    let mut registers = registers(&world).await?;
    let played = play_while(&mut world, &mut registers, 18, async |world, registers| {
        for _ in 0..2 {
            let before: Vec<u64> = world.others(0);
            ensure!(
                membership::replace(world, Who::Leader).await?,
                "no node is left to be added"
            );
            registers.meet(&world.fleet);
            let after = world.others(0);
            ensure!(
                after.iter().max() > before.iter().max(),
                "an id came again: {before:?}, {after:?}"
            );
            ensure!(after.len() == before.len(), "{after:?}");
        }
        Ok(())
    })
    .await?;
    played.judge()?;
    world.shutdown().await
}
