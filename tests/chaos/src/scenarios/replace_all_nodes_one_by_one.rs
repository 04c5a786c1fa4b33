//! Every node is replaced by a new one, one after the other, while services call that know one old and one new
//! address each: no call fails, nothing acknowledged is lost, the old ids are gone.

use anyhow::{Result, ensure};
use reeve_client::v1::GetClusterRequest;

use crate::callers::Callers;
use crate::invariants::nodes_agree;
use crate::world::registry;

pub async fn play() -> Result<()> {
    let mut fleet = registry().start().await?;
    let (old, new) = (fleet.addresses(), fleet.future_addresses());
    // The first to go is n1, and the first to come stands in for it.
    let lists: Vec<_> = old
        .into_iter()
        .zip(new)
        .map(|(old, new)| vec![old, new])
        .collect();
    let mut callers = Callers::begin(&fleet, lists).await?;
    for gone in 1..=3 {
        callers.progress().await?;
        let added = fleet.add_node().await?.id();
        ensure!(added == gone + 3, "node {added} has an id that was not planned");
        fleet.wait_whole().await?;
        callers.progress().await?;
        fleet.remove_node(gone).await?;
        fleet.wait_whole().await?;
    }
    callers.progress().await?;
    let done = callers.end().await?;
    println!("{done} values written and read back");

    nodes_agree::hold(&fleet).await?;
    let cluster = fleet
        .api()
        .cluster()
        .get_cluster(GetClusterRequest::default())
        .await?;
    let mut ids: Vec<u64> = cluster.into_inner().nodes.iter().map(|node| node.id).collect();
    ids.sort_unstable();
    ensure!(ids == [4, 5, 6], "the cluster is {ids:?}");
    fleet.shutdown().await
}
