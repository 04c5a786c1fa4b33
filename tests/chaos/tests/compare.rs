//! A node whose State is not the others' is found and stopped, and no other one ever is.

use std::time::Duration;

use anyhow::{Result, ensure};
use reeve_chaos::world::registry;
use reeve_client::v1::Role;
use reeve_local::until;

const PATIENCE: Duration = Duration::from_secs(60);
const FATAL: i32 = 70;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_strays_is_stopped_and_stays_away() -> Result<()> {
    let fleet = registry()
        .node_env_of(3, "REEVE_MUTANT", "stray_state")
        .start()
        .await?;
    let strayed = fleet.node(3)?;
    let mut written = 0;
    until("the end of the node that strayed", PATIENCE, async || {
        written += 1;
        fleet
            .token(Role::Service, &format!("w-{written}"), "", &[])
            .await?;
        Ok((!strayed.is_running()).then_some(()))
    })
    .await?;
    ensure!(
        strayed.exit_code() == Some(FATAL),
        "it ended with {:?}",
        strayed.exit_code()
    );
    strayed.start()?;
    until("its second end", PATIENCE, async || {
        Ok((!strayed.is_running()).then_some(()))
    })
    .await?;
    let log = std::fs::read_to_string(strayed.log())?;
    ensure!(
        log.contains("diverged.json stands in the way"),
        "its log does not say why it stays away"
    );
    let others = fleet.nodes().iter().filter(|node| node.id() != 3);
    ensure!(
        others.into_iter().all(|node| node.is_running()),
        "an innocent node ended"
    );
    fleet.token(Role::Service, "without-it", "", &[]).await?;
    fleet.shutdown().await
}
