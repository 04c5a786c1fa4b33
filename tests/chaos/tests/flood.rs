//! A flood of calls costs its caller and nobody else: the leader leads on, and others' changes are acknowledged.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_chaos::flood::Flood;
use reeve_chaos::memory::resident_bytes;
use reeve_client::v1::{GetClusterRequest, GetClusterResponse, Role};
use reeve_local::{Fleet, Node};

/// Thousands of calls under way: so many connections, and so many calls on each.
const CONNECTIONS: usize = 40;
const CALLS: usize = 60;
const WRITES: usize = 40;
/// Enough was refused to say that the bounds were reached.
const REFUSED_MIN: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(120);
/// What a node may come to hold under a flood.
const RESIDENT_MAX: u64 = 512 << 20;

async fn cluster(node: &Node) -> Result<GetClusterResponse> {
    let mut api = node.api().cluster();
    Ok(api.get_cluster(GetClusterRequest::default()).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_leads_on_and_others_are_served_while_one_caller_floods_it() -> Result<()> {
    let settings = toml::toml! {
        [raft]
        profile = "wan"
        [limits]
        connections_per_principal = 30
        calls_per_principal = 300
        request_bytes_total = 33554432
    };
    let no_regions: [&str; 0] = [];
    let fleet = Fleet::builder()
        .regions(no_regions)
        .node_settings(settings)
        .direct()
        .start()
        .await?;
    let flooder = fleet.enroll(Role::Operator, "flooder", &[]).await?;
    let leader = fleet.leader().await?;
    let before = cluster(leader).await?;

    let flood = Flood::begin(leader, &flooder, CONNECTIONS, CALLS)?;
    let mut written = 0;
    let writing = async {
        while written < WRITES || flood.counts.refused.load(Relaxed) < REFUSED_MIN {
            let name = format!("w-{written}");
            fleet.token(Role::Service, &name, "", &[]).await.context(name)?;
            written += 1;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, writing)
        .await
        .context("the writer waits without end")??;
    let resident = resident_bytes(leader)?;
    let after = cluster(leader).await?;
    let counts = flood.end().await;
    println!("{written} changes, {counts:?}, {} MiB", resident >> 20);

    ensure!(
        (before.term, before.leader_id) == (after.term, after.leader_id),
        "term {} of node {} became term {} of node {}",
        before.term,
        before.leader_id,
        after.term,
        after.leader_id
    );
    ensure!(
        resident < RESIDENT_MAX,
        "node {} holds {resident} bytes",
        leader.id()
    );
    ensure!(
        counts.rude.load(Relaxed) == 0,
        "refusals that do not say when to come back"
    );
    ensure!(
        counts.answered.load(Relaxed) > 0,
        "the flooder itself was never served"
    );
    ensure!(
        counts.half_open.load(Relaxed) > 0,
        "no half-open connection was closed"
    );
    for node in fleet.nodes() {
        ensure!(node.is_running(), "node {} has ended", node.id());
    }
    fleet.shutdown().await
}
