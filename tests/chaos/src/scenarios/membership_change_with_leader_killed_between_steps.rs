//! A node joins and another one is taken out, and the leader is killed between the two steps of each change: it is
//! finished by whoever leads next, and answers are as from one copy.

use std::time::Duration;

use anyhow::{Result, ensure};
use reeve_local::{Mode, until};

use crate::storm::{play_while, registers};
use crate::world::{SPARES, Who, World, registry};

const PATIENCE: Duration = Duration::from_secs(60);
/// A step needs a word to the others and back: they hear of the first after this time, of the second after three times
/// it. So long that a machine which is slow to notice still strikes between the two.
const SLOW: Duration = Duration::from_millis(200);
/// From the word that a change begins to the leader's end: between the two.
const INTO: Duration = Duration::from_millis(300);
/// What a leader writes that finds a change half done.
const FOUND_HALF_DONE: &str = "FinishJoint";

pub async fn play() -> Result<()> {
    let patient = registry().node_env("REEVE_REGISTRY_RAFT__PROFILE", "wan");
    let mut world = World::start(patient, 19).await?;
    let mut registers = registers(&world).await?;
    let played = play_while(&mut world, &mut registers, 19, async |world, registers| {
        for round in 1..=SPARES {
            let said = count(world, "Promote")?;
            world.fleet.add_node().await?;
            kill_leader_in(world, "Promote", said).await?;
            world.fleet.wait_whole().await?;
            registers.meet(&world.fleet);
            let gone = world.id(Who::Follower).await?;
            let said = count(world, "RemoveVoter")?;
            world.fleet.ask_to_remove(gone).await?;
            kill_leader_in(world, "RemoveVoter", said).await?;
            let half_done = count(world, FOUND_HALF_DONE)?;
            world.fleet.forget_node(gone).await?;
            world.fleet.wait_whole().await?;
            registers.meet(&world.fleet);
            if half_done > 0 {
                println!("round {round}: {half_done} changes were found half done");
                return Ok(());
            }
        }
        ensure!(false, "no leader died between the two steps in {SPARES} rounds");
        Ok(())
    })
    .await?;
    played.judge()?;
    world.shutdown().await
}

/// Kills the leader in the middle of the first such change after so many, lets another one lead, and starts it again.
async fn kill_leader_in(world: &mut World, change: &str, said: usize) -> Result<()> {
    let dead = world.id(Who::Leader).await?;
    for node in world.fleet.nodes() {
        world
            .fleet
            .hops()
            .set_around(&format!("n{}", node.id()), Mode::Delay(SLOW));
    }
    until("the change to begin", PATIENCE, async || {
        Ok((count(world, change)? > said).then_some(()))
    })
    .await?;
    tokio::time::sleep(INTO).await;
    world.fleet.node(dead)?.kill9()?;
    world.fleet.hops().heal();
    world.fleet.leader().await?;
    world.fleet.node(dead)?.start()
}

/// How often the nodes have written a word down.
fn count(world: &World, word: &str) -> Result<usize> {
    let mut found = 0;
    for node in world.fleet.nodes() {
        found += std::fs::read_to_string(node.log())?.matches(word).count();
    }
    Ok(found)
}
