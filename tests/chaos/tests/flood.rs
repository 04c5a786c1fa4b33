//! A flood of calls costs its caller and nobody else: the leader leads on, and others' changes are acknowledged.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reeve_chaos::broken::{Broken, is_broken};
use reeve_chaos::flood::Flood;
use reeve_chaos::invariants::nodes_agree;
use reeve_chaos::memory::resident_bytes;
use reeve_client::Api;
use reeve_client::v1::{GetClusterRequest, GetClusterResponse, Role};
use reeve_local::{Builder, Fleet, until};
use tokio::sync::Mutex;
use tonic::Request;

/// Thousands of calls under way: so many connections, and so many calls on each.
const CONNECTIONS: usize = 40;
const CALLS: usize = 60;
const WRITES: usize = 40;
/// Enough was refused to say that the bounds were reached.
const REFUSED_MIN: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(120);
const TRY_PATIENCE: Duration = Duration::from_secs(10);
/// One flood at a time: each is meant to take all that a machine has.
static TURN: Mutex<()> = Mutex::const_new(());
/// What a node may come to hold under a flood.
const RESIDENT_MAX: u64 = 512 << 20;

/// As any admin asks: of the first node that answers. The flooded one may not, for it answers one caller after the other,
/// and a new connection waits its turn among those of the same address, the flooder's.
async fn cluster(admin: &Api) -> Result<GetClusterResponse> {
    until("a node to answer an admin", PATIENCE, async || {
        let mut request = Request::new(GetClusterRequest::default());
        request.set_timeout(TRY_PATIENCE);
        let asked = admin.cluster().get_cluster(request).await;
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
    let before = cluster(fleet.api()).await?;

    let flood = Flood::begin(leader, &flooder, CONNECTIONS, CALLS)?;
    let mut written = 0;
    let writing = async {
        while written < WRITES || flood.counts.refused.load(Relaxed) < REFUSED_MIN {
            // As any admin beside a flood: the first answer may be that he should come back.
            let name = format!("w-{written}");
            until("a change beside the flood", PATIENCE, async || {
                fleet.token(Role::Service, &name, "", &[]).await.map(Some)
            })
            .await?;
            written += 1;
        }
        anyhow::Ok(())
    };
    let in_time = tokio::time::timeout(PATIENCE, writing).await;
    let resident = resident_bytes(leader)?;
    let after = cluster(fleet.api()).await?;
    let counts = flood.end().await;
    println!("{written} changes, {counts:?}, {} MiB", resident >> 20);

    if (before.term, before.leader_id) != (after.term, after.leader_id) {
        let (was, is) = ((before.term, before.leader_id), (after.term, after.leader_id));
        bail!(Broken(format!("(term, leader) was {was:?} and became {is:?}")));
    }
    in_time.context("the writer waits without end")??;
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
    let _turn = TURN.lock().await;
    // Other tests may want the same cores: a heartbeat may be a little late here.
    let fleet = registry()
        .node_env("REEVE_REGISTRY_RAFT__PROFILE", "wan")
        .start()
        .await?;
    play(&fleet).await?;
    fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_elected_while_one_caller_floods_everybody_who_is_left() -> Result<()> {
    let _turn = TURN.lock().await;
    let fleet = registry()
        .node_env("REEVE_REGISTRY_RAFT__PROFILE", "wan")
        .start()
        .await?;
    let flooder = fleet.enroll(Role::Operator, "flooder", &[]).await?;
    let dead = fleet.leader().await?.id();
    let left = fleet.nodes().iter().filter(|node| node.id() != dead);
    let floods = left
        .map(|node| Flood::begin(node, &flooder, CONNECTIONS / 2, CALLS))
        .collect::<Result<Vec<_>>>()?;
    until("the bounds to be reached", PATIENCE, async || {
        let enough = |flood: &Flood| flood.counts.refused.load(Relaxed) >= REFUSED_MIN;
        Ok(floods.iter().all(enough).then_some(()))
    })
    .await?;
    fleet.node(dead)?.kill9()?;
    let heir = fleet.leader().await?.id();
    ensure!(heir != dead, "node {heir} leads although it is dead");
    until("a change under the new leader", PATIENCE, async || {
        fleet
            .token(Role::Service, "under-the-heir", "", &[])
            .await
            .map(Some)
    })
    .await?;
    for flood in floods {
        let counts = flood.end().await;
        println!("{counts:?}");
        ensure!(
            counts.rude.load(Relaxed) == 0,
            "refusals that do not say when to come back"
        );
    }
    fleet.node(dead)?.start()?;
    fleet.wait_whole().await?;
    nodes_agree::hold(&fleet).await?;
    fleet.shutdown().await
}

/// The check is checked: it shows what the thread of its own is for. Calls are planted that keep a thread to themselves, so
/// that it is the flood and not the machine that decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_heartbeats_wait_behind_calls_is_found() -> Result<()> {
    let _turn = TURN.lock().await;
    let fleet = registry()
        .node_env("REEVE_MUTANT", "heavy_calls")
        .node_env("REEVE_REGISTRY_RUNTIME__WORKER_THREADS", "1")
        .node_env("REEVE_REGISTRY_RUNTIME__CONSENSUS_THREAD", "false")
        .start()
        .await?;
    match play(&fleet).await {
        Ok(()) => bail!("a flood kept no heartbeat from running"),
        Err(found) if is_broken(&found) => println!("{found:#}"),
        Err(unplayed) => return Err(unplayed),
    }
    fleet.shutdown().await
}
