//! A node stops in order, and waits for the work under way and for nothing else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_client::v1::cluster_service_client::ClusterServiceClient;
use reeve_client::{Api, v1};
use reeve_local::{Fleet, Node, until};
use reeve_proto::error::{Reason, info};
use reeve_proto::identity::{Expect, Tuning, channel, connector};
use rustix::process::{Pid, Signal, kill_process};
use tonic::{Request, Streaming};

/// Nothing here takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than the test: who waits for it never ends.
const DRAIN: &str = "[runtime]\ndrain_ms = 3600000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_stops_in_order_and_waits_for_the_work_under_way_alone() -> Result<()> {
    let no_regions: [&str; 0] = [];
    let builder = Fleet::builder().regions(no_regions).direct();
    let fleet = builder.node_settings(DRAIN.parse()?).start().await?;
    let first = fleet.leader().await?;
    let other = fleet.nodes().iter().find(|node| node.id() != first.id());
    let other = other.context("another node")?;

    // Two that are open for as long as they like, and one that is at work: it waits for us to read on.
    let mut watch = watch(first).await?;
    let mut tail = tail(first).await?;
    let mut copy = copy(&fleet, first).await?;
    let pid = first.pid().and_then(Pid::from_raw).context("it runs")?;
    kill_process(pid, Signal::TERM)?;

    // Leadership goes first.
    until("another leader", PATIENCE, async || {
        let seen = look(other).await?;
        Ok((![0, first.id()].contains(&seen.leader_id)).then_some(()))
    })
    .await?;

    // Then nobody new is let in, and whoever only waits is sent away.
    let told = ends(&mut watch).await?;
    ensure!(info(&told).reason == Reason::NodeStopping, "a watch: {told}");
    let told = ends(&mut tail).await?;
    ensure!(info(&told).reason == Reason::NodeStopping, "a tail: {told}");
    until("the door to be closed", PATIENCE, async || {
        let knocked = tokio::net::TcpStream::connect(first.address()).await;
        Ok(knocked.is_err().then_some(()))
    })
    .await?;

    // As long as there is work, it is one of the group: what is written now reaches it.
    fleet.token(v1::Role::Service, "while-it-leaves", "", &[]).await?;
    let leader = leader_of(&fleet, first).await?;
    let written = look(&leader).await?.applied_index;
    until("the leaving node to have what is written", PATIENCE, async || {
        let leader = leader_of(&fleet, first).await?;
        let seen = look(&leader).await?;
        let leaving = seen.nodes.iter().find(|node| node.id == first.id());
        Ok(leaving.filter(|node| node.matched_index >= written).map(drop))
    })
    .await?;
    ensure!(first.is_running(), "it left its work: {:?}", first.exit_code());

    // The work ends well, and with it the node.
    let mut sum = Vec::new();
    while let Some(piece) = tokio::time::timeout(PATIENCE, copy.message()).await?? {
        sum = piece.sha256;
    }
    ensure!(sum.len() == 32, "the copy came without its end");
    let code = until("the node to leave", PATIENCE, async || Ok(first.exit_code())).await?;
    ensure!(code == 0, "it ended with {code}");
    in_order(first)
}

/// What a node says while it stops, as it stands in its log.
fn in_order(node: &Node) -> Result<()> {
    let log = std::fs::read_to_string(node.log())?;
    let said = [
        "leadership is handed over",
        "no new calls are taken",
        "the calls under way have ended",
        "the streams of other nodes are closed",
        "stopped",
    ];
    let mut rest = log.as_str();
    for words in said {
        let at = rest
            .find(words)
            .with_context(|| format!("{words:?} is missing, or too early:\n{log}"))?;
        rest = &rest[at + words.len()..];
    }
    ensure!(!log.contains("did not end in time"), "{log}");
    Ok(())
}

async fn watch(node: &Node) -> Result<Streaming<v1::WatchResponse>> {
    let asked = v1::WatchRequest::default();
    let mut stream = node.api().resolver().watch(asked).await?.into_inner();
    tokio::time::timeout(PATIENCE, stream.message()).await??;
    Ok(stream)
}

async fn tail(node: &Node) -> Result<Streaming<v1::TailRecordsResponse>> {
    let asked = v1::TailRecordsRequest {
        follow: true,
        ..Default::default()
    };
    let mut stream = node.api().audit().tail_records(asked).await?.into_inner();
    tokio::time::timeout(PATIENCE, stream.message()).await??;
    Ok(stream)
}

/// A copy of the registry, through a window so small that the node waits for whoever reads.
async fn copy(fleet: &Fleet, node: &Node) -> Result<Streaming<v1::SaveSnapshotResponse>> {
    let tuning = Tuning {
        stream_window_bytes: 64,
        ..Tuning::default()
    };
    let connector = connector(fleet.admin(), Expect::Node(node.id()))?;
    let channel = channel(node.address(), connector, &tuning)?;
    let asked = Request::new(v1::SaveSnapshotRequest {});
    let mut stream = ClusterServiceClient::new(channel)
        .save_snapshot(asked)
        .await?
        .into_inner();
    let first = tokio::time::timeout(PATIENCE, stream.message()).await??;
    first
        .and_then(|first| first.about)
        .context("it does not say what comes")?;
    Ok(stream)
}

/// Reads on until the node ends it.
async fn ends<T>(stream: &mut Streaming<T>) -> Result<tonic::Status> {
    loop {
        match tokio::time::timeout(PATIENCE, stream.message()).await? {
            Ok(Some(_)) => {}
            Ok(None) => anyhow::bail!("it ended without a word"),
            Err(status) => return Ok(status),
        }
    }
}

/// The one that leads now, which is not the one that leaves.
async fn leader_of(fleet: &Fleet, leaving: &Node) -> Result<std::sync::Arc<Node>> {
    let mut others = fleet.nodes().iter().filter(|node| node.id() != leaving.id());
    let asked = others.next().context("another node")?;
    let leader = look(asked).await?.leader_id;
    let found = fleet.nodes().iter().find(|node| node.id() == leader);
    found
        .filter(|node| node.id() != leaving.id())
        .cloned()
        .context("nobody leads")
}

async fn look(node: &Node) -> Result<v1::GetClusterResponse> {
    let api: Api = node.api();
    let mut asked = Request::new(v1::GetClusterRequest::default());
    asked.set_timeout(PATIENCE);
    Ok(api.cluster().get_cluster(asked).await?.into_inner())
}
