//! When all is healed, every node comes to the same entry of the log and to the same hash of its State.

use std::time::Duration;

use anyhow::{Context, Result};
use reeve_client::v1::GetClusterRequest;
use reeve_local::{Fleet, until};

const PATIENCE: Duration = Duration::from_secs(60);

pub async fn hold(fleet: &Fleet) -> Result<()> {
    until("the same State on every node", PATIENCE, async || {
        let mut seen = Vec::new();
        for node in fleet.nodes() {
            let mut api = node.api().cluster();
            let answer = api.get_cluster(GetClusterRequest::default()).await;
            let cluster = answer
                .with_context(|| format!("asking node {}", node.id()))?
                .into_inner();
            seen.push((cluster.applied_index, cluster.state_hash));
        }
        Ok(seen.windows(2).all(|pair| pair[0] == pair[1]).then_some(()))
    })
    .await
}
