//! Every node's certificate is renewed while services call, and all connections between nodes are made anew with it:
//! not one call fails.

use anyhow::{Result, ensure};
use reeve_local::Fleet;

use crate::callers::Callers;
use crate::faults::certificates;
use crate::invariants::nodes_agree;
use crate::world::registry;

const CALLERS: usize = 3;

pub async fn play() -> Result<()> {
    let fleet = registry().start().await?;
    let before = chains(&fleet)?;
    let mut callers = Callers::begin(&fleet, vec![fleet.addresses(); CALLERS]).await?;
    callers.progress().await?;
    for _ in 0..2 {
        certificates::rotate(&fleet).await?;
        callers.progress().await?;
    }
    let done = callers.end().await?;
    println!("{done} values written and read back");
    fleet.wait_whole().await?;
    let after = chains(&fleet)?;
    let is_new = before.iter().zip(&after).all(|(before, after)| before != after);
    ensure!(is_new, "a node has its old certificate");
    nodes_agree::hold(&fleet).await?;
    // What is on the disk is what a new life begins with.
    for node in fleet.nodes() {
        node.kill9()?;
        node.start()?;
        fleet.wait_whole().await?;
    }
    fleet.shutdown().await
}

fn chains(fleet: &Fleet) -> Result<Vec<Vec<u8>>> {
    let files = fleet.nodes().iter().map(|node| std::fs::read(node.certificate()));
    Ok(files.collect::<Result<_, _>>()?)
}
