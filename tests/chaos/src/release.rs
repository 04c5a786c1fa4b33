//! Nodes of two releases, which are one program: `REEVE_PRETEND_VERSION` says which cluster versions it knows, and with
//! them whether it can read and propose the one command that comes with the next version (a region whose name begins with
//! `next-` is made with it). Everything else about another release is not simulated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use reeve_client::v1::{
    ErrorReason, GetClusterRequest, GetClusterResponse, ReadLevel, TailRecordsRequest, read_level,
};
use reeve_client::{Api, reason};
use reeve_domain::Versions;
use reeve_local::{Builder, Fleet, Node, until};
use tokio::task::JoinSet;

use crate::steady::create_region;
use crate::world::registry;

/// The variable that says which release a node is.
pub const RELEASE: &str = "REEVE_PRETEND_VERSION";
pub const OLD: u32 = Versions::KNOWN.max;
pub const NEW: u32 = OLD + 1;

/// What every program here says of itself.
pub const PROGRAM: &str = env!("CARGO_PKG_VERSION");

const PATIENCE: Duration = Duration::from_secs(60);
/// How a node ends when it may not go on.
const FATAL: i32 = 70;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Three nodes of the old release.
pub fn old() -> Builder {
    registry().node_env(RELEASE, &OLD.to_string())
}

/// The registry as one node knows it.
pub async fn cluster(node: &Node) -> Result<GetClusterResponse> {
    let level = Some(read_level::Level::Stale(Default::default()));
    let asked = GetClusterRequest {
        read: Some(ReadLevel { level }),
        with_state_hash: true,
    };
    Ok(node.api().cluster().get_cluster(asked).await?.into_inner())
}

/// Stops a node in peace and starts it as another release.
pub async fn change(fleet: &Fleet, id: u64, release: u32) -> Result<()> {
    let node = fleet.node(id)?;
    node.stop().await?;
    node.set_env(RELEASE, &release.to_string());
    node.start()?;
    fleet.wait_whole().await
}

/// Until every node is at the new version.
pub async fn raised(fleet: &Fleet) -> Result<()> {
    until("the new version on every node", PATIENCE, async || {
        let mut versions = Vec::new();
        for node in fleet.nodes() {
            versions.push(cluster(node).await?.cluster_version);
        }
        Ok(versions.iter().all(|version| *version == NEW).then_some(()))
    })
    .await
}

/// Every node has come to the same State.
pub async fn same_everywhere(fleet: &Fleet) -> Result<()> {
    until("the same State on every node", PATIENCE, async || {
        let mut seen = Vec::new();
        for node in fleet.nodes() {
            let cluster = cluster(node).await?;
            seen.push((cluster.applied_index, cluster.state_hash));
        }
        Ok(seen.windows(2).all(|pair| pair[0] == pair[1]).then_some(()))
    })
    .await
}

/// The node ends with the status of a node that may not go on, and its log says why.
pub async fn gives_up(node: &Node, why: &[&str]) -> Result<()> {
    until("the end of a node", PATIENCE, async || {
        Ok((!node.is_running()).then_some(()))
    })
    .await?;
    let code = node.exit_code();
    ensure!(code == Some(FATAL), "node {} ended with {code:?}", node.id());
    let log = std::fs::read_to_string(node.log())?;
    let last = log.lines().rev().find(|line| line.contains("cannot go on"));
    let last = last.context("its log does not say that it cannot go on")?;
    for part in why {
        ensure!(last.contains(part), "{part:?} is missing in: {last}");
    }
    Ok(())
}

/// What is new is refused each time, and as soon as the node has heard of the others it names one that is not upgraded.
pub async fn refuses_new(api: &Api, name: &str, behind: u64) -> Result<()> {
    let expected = format!("node {behind} runs {}", PROGRAM);
    until("a refusal that names who is behind", PATIENCE, async || {
        let Err(refused) = create_region(api, name).await else {
            return Ok(Some(Err(anyhow!("it was accepted"))));
        };
        let is_ours = reason(&refused) == Some(ErrorReason::ClusterVersionTooLow)
            && refused.message().contains("upgrade all nodes first");
        if !is_ours {
            return Ok(Some(Err(anyhow!("another refusal: {refused}"))));
        }
        Ok(refused.message().contains(&expected).then_some(Ok(())))
    })
    .await?
}

/// Looks at all nodes all the while: no version may rise while an old node is left. True when one did.
pub fn watch(fleet: &Fleet, old_left: &Arc<AtomicUsize>, is_over: &Arc<AtomicBool>) -> JoinSet<bool> {
    let mut watching = JoinSet::new();
    for node in fleet.nodes().to_vec() {
        let (old_left, is_over) = (old_left.clone(), is_over.clone());
        watching.spawn(async move {
            let mut rose_early = false;
            loop {
                // The last look begins when all is over.
                let is_last = is_over.load(Ordering::SeqCst);
                let version = cluster(&node).await.map_or(0, |seen| seen.cluster_version);
                rose_early |= version > OLD && old_left.load(Ordering::SeqCst) > 0;
                if is_last {
                    return rose_early;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
    }
    watching
}

/// How often the audit log says that the version rose.
pub async fn raises(api: &Api) -> Result<usize> {
    let all = TailRecordsRequest::default();
    let mut records = api.audit().tail_records(all).await?.into_inner();
    let mut count = 0;
    while let Some(told) = records.message().await? {
        let record = told.record.context("no record")?;
        let shown = reeve_domain::audit::decode(&record.canonical).context("a record that cannot be read")?;
        count += usize::from(shown.action == "cluster.raise_version" && shown.actor == "pilot");
    }
    Ok(count)
}
