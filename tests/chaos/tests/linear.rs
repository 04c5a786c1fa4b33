//! What clients are told of a value is as if there were one copy of it, whatever happens to the nodes.

use anyhow::{Result, bail};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use reeve_chaos::broken::is_broken;
use reeve_chaos::faults::kill::Crowd;
use reeve_chaos::faults::{Fault, PLAIN};
use reeve_chaos::storm::{play, registers};
use reeve_chaos::world::{Who, World, registry};
use reeve_local::Builder;

const SEED: u64 = 7;
/// Of the plain faults, so many in an order that the seed draws; the scenarios play each of them.
const FAULTS: usize = 9;
/// A fault that shows by chance is given so many chances.
const ROUNDS_MAX: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_are_as_one_copy_while_the_nodes_are_hurt() -> Result<()> {
    let mut faults = PLAIN.to_vec();
    faults.shuffle(&mut StdRng::seed_from_u64(SEED));
    faults.truncate(FAULTS);
    let mut world = World::start(registry(), SEED).await?;
    let mut registers = registers(&world).await?;
    let played = play(&mut world, &mut registers, &faults, SEED).await?;
    let heard = played.heard();
    println!("{heard} of {} operations answered, {faults:?}", played.seen.len());
    played.judge()?;
    world.shutdown().await
}

/// Plays on nodes with a planted fault until a promise breaks, in what clients were told or in the nodes' States.
/// A play that breaks off for another cause shows nothing, and fails.
async fn must_be_noticed(nodes: Builder, mutant: &str, faults: &[Fault]) -> Result<()> {
    let mut world = World::start(nodes.node_env("REEVE_MUTANT", mutant), SEED).await?;
    let mut registers = registers(&world).await?;
    for round in 0..ROUNDS_MAX {
        let played = play(&mut world, &mut registers, faults, SEED + round).await;
        let Err(found) = played.and_then(|played| played.judge()) else {
            continue;
        };
        if !is_broken(&found) {
            return Err(found.context(format!("{mutant}: round {round} could not be played")));
        }
        println!("{mutant}: round {round}\n{found:#}");
        return world.shutdown().await;
    }
    bail!("{mutant} was not noticed in {ROUNDS_MAX} rounds")
}

/// Nobody stands for election because a word is late: neither on slow links nor on a slow machine.
fn patient() -> Builder {
    registry().node_env("REEVE_REGISTRY_RAFT__PROFILE", "wan")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_reads_its_own_copy_is_found() -> Result<()> {
    must_be_noticed(patient(), "read_without_index", &[Fault::SlowEverybody]).await
}

/// It leads before it has learned what it had committed: until the other one has caught up, it misses what it
/// acknowledged last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_leads_on_after_its_restart_is_found() -> Result<()> {
    must_be_noticed(patient(), "restore_leader", &[Fault::RiseWithoutWitness]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_a_new_leader_gives_again_is_found() -> Result<()> {
    must_be_noticed(registry(), "reuse_revision", &[Fault::Kill(Crowd::Leader)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_calls_its_view_younger_than_it_is_is_found() -> Result<()> {
    must_be_noticed(registry(), "understate_age", &[Fault::Cut(Who::Follower)]).await
}
