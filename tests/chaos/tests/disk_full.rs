//! Full and slow disks: reads go on, writes do while a majority can keep them, and everything heals by itself.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reeve_chaos::faults::disk::{NEARLY_FULL, SmallDisk};
use reeve_chaos::invariants::nodes_agree;
use reeve_chaos::metrics::metric;
use reeve_chaos::trace::Trace;
use reeve_client::v1;
use reeve_client::v1::{ErrorReason, GetClusterRequest, Role};
use reeve_local::{Builder, Fleet, Node, until};
use tonic::Status;

const PATIENCE: Duration = Duration::from_secs(60);

fn registry() -> Builder {
    let no_regions: [&str; 0] = [];
    // Nobody but the disk may make a leader lose its place: not a machine that is slow for a moment, either.
    let settings = toml::toml! {
        [raft]
        profile = "wan"
        [disk]
        reserve_mb = 8
        ballast_mb = 4
    };
    Fleet::builder().regions(no_regions).node_settings(settings)
}

async fn write(fleet: &Fleet, name: &str) -> Result<()> {
    fleet.token(Role::Service, name, "", &[]).await.map(drop)
}

/// Writes one after the other, and not one may fail.
async fn write_until_another_leads(fleet: &Fleet, than: &Node) -> Result<()> {
    let writing = async {
        for number in 0.. {
            write(fleet, &format!("w-{number}")).await?;
            if fleet.leader().await?.id() != than.id() {
                break;
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, writing)
        .await
        .context("nobody else leads")?
}

/// A fleet whose nodes have a small disk each, in the order of the nodes.
async fn on_small_disks() -> Result<(Fleet, Vec<SmallDisk>)> {
    let fleet = registry().start().await?;
    let mut disks = Vec::new();
    for node in fleet.nodes() {
        node.stop().await?;
        disks.push(SmallDisk::below(node)?);
        node.start()?;
        fleet.wait_whole().await?;
    }
    Ok((fleet, disks))
}

async fn cluster(node: &Node) -> Result<v1::GetClusterResponse> {
    Ok(node
        .api()
        .cluster()
        .get_cluster(GetClusterRequest::default())
        .await?
        .into_inner())
}

async fn wait_for(node: &Node, name: &str, value: &str) -> Result<()> {
    until(&format!("{name} {value}"), PATIENCE, async || {
        Ok((metric(node, name).await? == value).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_refuse_changes_when_they_are_a_majority_and_heal_by_themselves() -> Result<()> {
    let (fleet, disks) = on_small_disks().await?;
    write(&fleet, "before").await?;

    // The leader's disk fills up: another one leads, and not one change fails.
    let first = fleet.leader().await?;
    disks[first.id() as usize - 1].fill(NEARLY_FULL)?;
    write_until_another_leads(&fleet, first).await?;
    wait_for(first, "reeve_disk_full", "1").await?;
    write(&fleet, "with-one-full").await?;

    // A second one: changes are refused with their reason, reads go on, nobody ends.
    let second = fleet.leader().await?;
    disks[second.id() as usize - 1].fill(NEARLY_FULL)?;
    let mut written = 0;
    let refused = until("a refusal", PATIENCE, async || {
        written += 1;
        Ok(write(&fleet, &format!("late-{written}")).await.err())
    })
    .await?;
    let reason = refused.downcast_ref::<Status>().and_then(reeve_client::reason);
    ensure!(
        reason == Some(ErrorReason::DiskFull),
        "another refusal: {refused:#}"
    );
    for node in fleet.nodes() {
        cluster(node)
            .await
            .with_context(|| format!("reading at node {}", node.id()))?;
        ensure!(node.is_running(), "node {} has ended", node.id());
    }

    // Room again: it goes on without anybody's help, and all nodes come to the same.
    disks[first.id() as usize - 1].clear()?;
    disks[second.id() as usize - 1].clear()?;
    until("changes again", PATIENCE, async || {
        Ok(write(&fleet, "after").await.is_ok().then_some(()))
    })
    .await?;
    nodes_agree::hold(&fleet).await?;
    for node in [first, second] {
        wait_for(node, "reeve_disk_full", "0").await?;
    }
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_a_disk_without_any_room_starts_on_its_ballast() -> Result<()> {
    let (fleet, disks) = on_small_disks().await?;
    let leader = fleet.leader().await?.id();
    let victim = fleet.node(if leader == 3 { 2 } else { 3 })?;
    let (disk, ballast) = (
        &disks[victim.id() as usize - 1],
        victim.data_dir().join("ballast"),
    );
    until("its ballast", PATIENCE, async || {
        Ok(ballast.exists().then_some(()))
    })
    .await?;
    victim.kill9()?;
    disk.fill(0)?;
    victim.start()?;
    fleet.wait_whole().await?;
    ensure!(!ballast.exists(), "the ballast is still there");
    let seen = cluster(victim).await?;
    ensure!(seen.applied_index > 0, "it knows nothing");
    write(&fleet, "without-it").await?;

    disk.clear()?;
    nodes_agree::hold(&fleet).await?;
    until("its ballast again", PATIENCE, async || {
        Ok(ballast.exists().then_some(()))
    })
    .await?;
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_a_slow_disk_hands_over_and_no_change_fails() -> Result<()> {
    let fleet = registry().start().await?;
    let slow = fleet.leader().await?;
    let fault = ["-e", "inject=fdatasync:delay_enter=4000000"];
    let trace = Trace::attach(slow.pid().unwrap_or_default(), "fdatasync", &fault)?;
    write_until_another_leads(&fleet, slow).await?;
    let log = std::fs::read_to_string(slow.log())?;
    if !log.contains("this disk cannot lead") {
        bail!("it lost leadership for another reason");
    }
    trace.end()?;
    let mut written = 0;
    until("a disk that is well again", PATIENCE, async || {
        written += 1;
        write(&fleet, &format!("then-{written}")).await?;
        Ok((metric(slow, "reeve_disk_slow").await? == "0").then_some(()))
    })
    .await?;
    fleet.shutdown().await
}
