//! A second process on a node's folder ends at once and says why, and so does a node that finds another cluster's
//! data in its folder; the first goes on.

use std::process::Output;

use anyhow::{Context, Result, ensure};
use reeve_client::v1::Role;
use reeve_local::{Fleet, Node, registry_program};

use crate::world::registry;

pub async fn play() -> Result<()> {
    let (one, other) = tokio::try_join!(
        registry().nodes(1).start(),
        registry().nodes(1).cluster("other").start()
    )?;
    let (mine, foreign) = (one.node(1)?, other.node(1)?);
    ended_with(&run(mine).await?, "another process uses")?;
    ensure!(mine.is_running(), "the first one has ended");
    write(&one, "with-two").await?;

    mine.stop().await?;
    foreign.stop().await?;
    let (data, aside) = (mine.data_dir(), mine.data_dir().with_extension("aside"));
    std::fs::rename(data, &aside)?;
    std::fs::rename(foreign.data_dir(), data)?;
    ended_with(&run(mine).await?, "belongs to node 1 of cluster other")?;

    std::fs::rename(data, foreign.data_dir())?;
    std::fs::rename(&aside, data)?;
    for (fleet, node) in [(&one, mine), (&other, foreign)] {
        node.start()?;
        fleet.wait_whole().await?;
        write(fleet, "after").await?;
    }
    one.shutdown().await?;
    other.shutdown().await
}

/// Once more, beside the one that may run.
async fn run(node: &Node) -> Result<Output> {
    let mut command = tokio::process::Command::new(registry_program()?);
    let command = command.arg("--config").arg(node.config()).arg("run");
    let ended = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await;
    Ok(ended.context("it runs on")??)
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

fn ended_with(ended: &Output, why: &str) -> Result<()> {
    let said = [&ended.stdout[..], &ended.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    println!("{}", said.lines().last().unwrap_or_default());
    ensure!(!ended.status.success(), "it ended as if all were well: {said}");
    ensure!(said.contains(why), "{why:?} is missing in what it said: {said}");
    Ok(())
}

async fn write(fleet: &Fleet, name: &str) -> Result<()> {
    fleet.token(Role::Service, name, "", &[]).await.map(drop)
}
