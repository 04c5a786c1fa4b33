//! The kernel ends the leader, then a follower, for its memory, while it makes one snapshot after the other: nothing that
//! was acknowledged is lost, no half snapshot is believed, and it comes back from its folder.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_local::until;

use crate::faults::memory::{self, NoMemory};
use crate::storm::{play_while, registers};
use crate::world::Who::{Follower, Leader};
use crate::world::{World, registry};

const PATIENCE: Duration = Duration::from_secs(120);

pub async fn play() -> Result<()> {
    if let Some(why) = memory::missing() {
        println!("not played: {why}");
        return Ok(());
    }
    let busy = registry()
        .node_env("REEVE_REGISTRY_RAFT__SNAPSHOT_ENTRIES", "20")
        .node_env("REEVE_REGISTRY_RAFT__TRAILING_ENTRIES", "10");
    let mut world = World::start(busy, 27).await?;
    let mut registers = registers(&world).await?;
    let played = play_while(&mut world, &mut registers, 27, async |world, _| {
        for who in [Leader, Follower] {
            let id = world.id(who).await?;
            let node = world.fleet.node(id)?;
            let group = NoMemory::around(node)?;
            until("the end of a node without memory", PATIENCE, async || {
                Ok((!node.is_running()).then_some(()))
            })
            .await?;
            ensure!(
                node.exit_code().is_none(),
                "it ended by itself: {:?}",
                node.exit_code()
            );
            ensure!(group.ended()? > 0, "somebody else has ended it");
            drop(group);
            node.start()?;
            world
                .fleet
                .wait_whole()
                .await
                .context("when it has memory again")?;
        }
        Ok(())
    })
    .await?;
    played.judge()?;
    world.shutdown().await
}
