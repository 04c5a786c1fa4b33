//! What clients are told of a value is as if there were one copy of it, whatever happens to the nodes.

use anyhow::{Result, bail, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use reeve_chaos::faults::registry::{ALL, Fault};
use reeve_chaos::storm::{judge, play, registers, registry};

const SEED: u64 = 7;
/// A fault that shows by chance is given so many chances.
const ROUNDS_MAX: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_are_as_one_copy_while_the_nodes_are_hurt() -> Result<()> {
    let mut chance = StdRng::seed_from_u64(SEED);
    let further = ALL.choose_multiple(&mut chance, 3).copied();
    let faults: Vec<Fault> = ALL.into_iter().chain(further).collect();
    let fleet = registry().start().await?;
    let seen = play(&fleet, &mut registers(&fleet).await?, &faults, SEED).await?;
    let heard = seen.iter().filter(|event| event.said().is_some()).count();
    println!("{} operations, {heard} of them answered, {faults:?}", seen.len());
    ensure!(heard > 200, "only {heard} answers were heard: that shows little");
    judge(&seen)?;
    fleet.shutdown().await
}

/// Plays on nodes with a planted fault until the clients notice.
async fn must_be_noticed(mutant: &str, faults: &[Fault]) -> Result<()> {
    let fleet = registry().node_env("REEVE_MUTANT", mutant).start().await?;
    let mut registers = registers(&fleet).await?;
    for round in 0..ROUNDS_MAX {
        let seen = play(&fleet, &mut registers, faults, SEED + round).await?;
        if let Err(found) = judge(&seen) {
            println!("{mutant}: round {round}\n{found}");
            return fleet.shutdown().await;
        }
    }
    bail!("{mutant} was not noticed in {ROUNDS_MAX} rounds")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_reads_its_own_copy_is_found() -> Result<()> {
    must_be_noticed("read_without_index", &[Fault::SlowEverybody]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_leads_on_after_its_restart_is_found() -> Result<()> {
    must_be_noticed("restore_leader", &[Fault::KillAll; 4]).await
}
