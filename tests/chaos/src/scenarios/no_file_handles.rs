//! The leader, then a follower, can open nothing any more, while connections break: answers stay true, nobody ends,
//! and all is well when handles are there again.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::faults::handles;
use crate::storm::{play_while, registers};
use crate::world::Who::{Follower, Leader};
use crate::world::{World, registry};

const LONG: Duration = Duration::from_millis(1_500);

pub async fn play() -> Result<()> {
    let mut world = World::start(registry(), 22).await?;
    let mut registers = registers(&world).await?;
    let played = play_while(&mut world, &mut registers, 22, async |world, _| {
        for who in [Leader, Follower] {
            let pids = pids(world);
            // What is dialled anew needs a handle that is not there.
            let id = world.id(who).await?;
            world.fleet.hops().strand_around(&format!("n{id}"));
            handles::strike(world, who, LONG).await?;
            world.fleet.wait_whole().await?;
            ensure!(pids == self::pids(world), "a node has ended");
        }
        Ok(())
    })
    .await?;
    played.judge()?;
    world.shutdown().await
}

fn pids(world: &World) -> Vec<Option<i32>> {
    world.fleet.nodes().iter().map(|node| node.pid()).collect()
}
