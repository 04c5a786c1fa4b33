//! A flood of calls costs its caller and nobody else: the leader leads on, and others' changes are acknowledged.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reeve_chaos::flood::Flood;
use reeve_chaos::memory::resident_bytes;
use reeve_client::v1::{GetClusterRequest, GetClusterResponse, Role};
use reeve_local::{Builder, Fleet, Node, until};

/// Thousands of calls under way: so many connections, and so many calls on each.
const CONNECTIONS: usize = 40;
const CALLS: usize = 60;
const WRITES: usize = 40;
/// A fault that shows by chance is given so many chances.
const ROUNDS_MAX: usize = 4;
/// Enough was refused to say that the bounds were reached.
const REFUSED_MIN: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(120);
/// What a node may come to hold under a flood.
const RESIDENT_MAX: u64 = 512 << 20;

/// An admin may have to ask more than once: his connection waits its turn among the flooder's.
async fn cluster(node: &Node) -> Result<GetClusterResponse> {
    let api = node.api();
    until("the leader to answer an admin", PATIENCE, async || {
        let asked = api.cluster().get_cluster(GetClusterRequest::default()).await;
        Ok(asked.ok().map(|answer| answer.into_inner()))
    })
    .await
}

fn registry() -> Builder {
    let settings = toml::toml! {
        [limits]
        connections_per_principal = 30
        calls_per_principal = 300
        request_bytes_total = 33554432
    };
    let no_regions: [&str; 0] = [];
    Fleet::builder()
        .regions(no_regions)
        .node_settings(settings)
        .direct()
}

async fn play(fleet: &Fleet) -> Result<()> {
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
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_leads_on_and_others_are_served_while_one_caller_floods_it() -> Result<()> {
    // Other tests may want the same cores: a heartbeat may be a little late here.
    let fleet = registry()
        .node_env("REEVE_REGISTRY_RAFT__PROFILE", "wan")
        .start()
        .await?;
    play(&fleet).await?;
    fleet.shutdown().await
}

/// The check is checked: it shows what the thread of its own is for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_heartbeats_wait_behind_calls_is_found() -> Result<()> {
    for _ in 0..ROUNDS_MAX {
        let fleet = registry()
            .node_env("REEVE_REGISTRY_RUNTIME__CONSENSUS_THREAD", "false")
            .start()
            .await?;
        if let Err(found) = play(&fleet).await {
            println!("{found:#}");
            return fleet.shutdown().await;
        }
    }
    bail!("a flood never kept heartbeats from running in {ROUNDS_MAX} rounds")
}
