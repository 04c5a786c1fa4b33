//! Every node gets a new certificate while it runs, and everybody shakes hands anew.

use std::time::Duration;

use anyhow::{Context, Result};
use reeve_local::{Fleet, Mode, until};

const PATIENCE: Duration = Duration::from_secs(60);
/// So long that every connection sees it.
const BREAK: Duration = Duration::from_millis(50);

pub async fn rotate(fleet: &Fleet) -> Result<()> {
    for node in fleet.nodes() {
        let (file, before) = (node.certificate(), std::fs::read(node.certificate())?);
        node.renew_certificate();
        until("a new certificate", PATIENCE, async || {
            let now = std::fs::read(&file).context("its certificate")?;
            Ok((now != before).then_some(()))
        })
        .await?;
        // With the old one a connection could live on for days.
        for other in fleet.nodes().iter().filter(|other| other.id() != node.id()) {
            fleet.hops().set_between(node.id(), other.id(), Mode::Cut);
        }
        tokio::time::sleep(BREAK).await;
        fleet.hops().heal();
    }
    Ok(())
}
