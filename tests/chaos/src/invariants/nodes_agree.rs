//! When all is healed, every node comes to the same entry of the log and to the same hash of its State.

use std::time::Duration;

use anyhow::{Context, Result};
use reeve_client::v1::GetClusterRequest;
use reeve_local::{Fleet, until};

use crate::broken::Broken;

const PATIENCE: Duration = Duration::from_secs(120);
/// What a node finds in its folder that was stopped because its State was not the others'.
const CONDEMNED: &str = "diverged.json";

pub async fn hold(fleet: &Fleet) -> Result<()> {
    until("the same State on every node", PATIENCE, async || {
        if let Some(found) = strayed(fleet) {
            return Ok(Some(Err(found)));
        }
        let mut seen = Vec::new();
        for node in fleet.nodes() {
            let mut api = node.api().cluster();
            let asked = GetClusterRequest {
                with_state_hash: true,
                ..Default::default()
            };
            let answer = api.get_cluster(asked).await;
            let cluster = answer
                .with_context(|| format!("asking node {}", node.id()))?
                .into_inner();
            seen.push((cluster.applied_index, cluster.state_hash));
        }
        let apart = seen
            .windows(2)
            .any(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1);
        if apart {
            return Ok(Some(Err(
                Broken(format!("one entry, and two States: {seen:?}")).into()
            )));
        }
        Ok(seen.windows(2).all(|pair| pair[0] == pair[1]).then_some(Ok(())))
    })
    .await?
}

/// Whether the nodes' own comparison has stopped one of them.
pub fn strayed(fleet: &Fleet) -> Option<anyhow::Error> {
    let condemned = |id: u64| Broken(format!("node {id} was stopped: its State was not the others'"));
    let mut nodes = fleet.nodes().iter();
    let odd = nodes.find(|node| node.data_dir().join(CONDEMNED).exists())?;
    Some(condemned(odd.id()).into())
}
