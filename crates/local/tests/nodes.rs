//! A registry of three real nodes, hurt through the harness's own handles.

use anyhow::{Result, ensure};
use reeve_local::{Fleet, Mode};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_live_through_what_is_done_to_them() -> Result<()> {
    let no_regions: [&str; 0] = [];
    let fleet = Fleet::builder().regions(no_regions).start().await?;
    let first = fleet.leader().await?.id();

    fleet.node(first)?.kill9()?;
    let second = fleet.leader().await?.id();
    ensure!(first != second, "the dead lead");
    fleet.node(first)?.start()?;
    fleet.wait_whole().await?;

    // A leader whose links are cut is no leader to the others.
    fleet.hops().set_around(&format!("n{second}"), Mode::Cut);
    let others = fleet.nodes().iter().filter(|node| node.id() != second);
    for node in others {
        reeve_local::until("another leader", std::time::Duration::from_secs(60), async || {
            let level = reeve_client::v1::read_level::Level::Stale(Default::default());
            let read = Some(reeve_client::v1::ReadLevel { level: Some(level) });
            let asked = reeve_client::v1::GetClusterRequest {
                read,
                ..Default::default()
            };
            let seen = node.api().cluster().get_cluster(asked).await?.into_inner();
            Ok((seen.leader_id != 0 && seen.leader_id != second).then_some(()))
        })
        .await?;
    }
    fleet.hops().heal();
    fleet.wait_whole().await?;

    let paused = fleet.leader().await?;
    paused.pause();
    fleet
        .token(reeve_client::v1::Role::Service, "while-paused", "", &[])
        .await?;
    paused.resume();
    fleet.wait_whole().await?;
    let dir = fleet.dir().to_owned();
    fleet.shutdown().await?;
    ensure!(!dir.exists(), "a temporary fleet left its folder");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_with_a_folder_comes_back_from_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let home = dir.path().join("fleet");
    let no_regions: [&str; 0] = [];
    let start = || Fleet::builder().regions(no_regions).dir(&home).start();
    let before = identity(&start().await?).await?;
    // That one was dropped, which is as good as a power cut.
    let fleet = start().await?;
    let after = identity(&fleet).await?;
    ensure!(
        before == after,
        "another cluster came back: {before:?}, {after:?}"
    );
    fleet.shutdown().await?;
    ensure!(home.join("fleet.json").exists(), "a kept fleet lost its folder");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_grows_and_shrinks_and_comes_back_as_it_was_left() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let no_regions: [&str; 0] = [];
    let start = || {
        let builder = Fleet::builder().nodes(2).spares(1).regions(no_regions);
        builder.dir(dir.path().join("fleet")).start()
    };
    let mut fleet = start().await?;
    let added = fleet.add_node().await?.id();
    fleet.wait_whole().await?;
    ensure!(added == 3 && !fleet.can_grow(), "node {added} came");
    ensure!(fleet.add_node().await.is_err(), "nobody planned for a fourth one");
    fleet.remove_node(1).await?;
    fleet.wait_whole().await?;
    ensure!(fleet.node(1).is_err() && fleet.hops().get("n2->n1").is_err());
    fleet.shutdown().await?;
    let fleet = start().await?;
    let ids: Vec<u64> = fleet.nodes().iter().map(|node| node.id()).collect();
    ensure!(ids == [2, 3], "{ids:?} came back");
    fleet.shutdown().await
}

async fn identity(fleet: &Fleet) -> Result<(String, Vec<String>)> {
    let cluster = fleet
        .api()
        .cluster()
        .get_cluster(reeve_client::v1::GetClusterRequest::default())
        .await?
        .into_inner();
    Ok((cluster.cluster_id, fleet.addresses()))
}
