//! Everybody leaves in order and comes back; then everybody is killed at once and comes back: nothing is lost, and a
//! registry of three comes up by itself.

use anyhow::Result;

use crate::faults::Fault;
use crate::faults::kill::Crowd;
use crate::storm::{play_while, registers};
use crate::world::{World, registry};

pub async fn play() -> Result<()> {
    let mut world = World::start(registry(), 20).await?;
    let mut registers = registers(&world).await?;
    let played = play_while(&mut world, &mut registers, 20, async |world, _| {
        let stopping = world.fleet.nodes().iter().map(|node| node.stop());
        futures::future::try_join_all(stopping).await?;
        for node in world.fleet.nodes() {
            node.start()?;
        }
        world.fleet.wait_whole().await?;
        for _ in 0..2 {
            crate::faults::strike(world, Fault::Kill(Crowd::All), Default::default()).await?;
            world.fleet.wait_whole().await?;
        }
        Ok(())
    })
    .await?;
    played.judge()?;
    world.shutdown().await
}
