//! The host of the leader, then of a follower, is gone from one packet to the next: no reset, no farewell. Services
//! that know the others' addresses see no failed call, and answers are as from one copy.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::callers::Callers;
use crate::faults::{Fault, packets};
use crate::world::Who::{Follower, Leader};
use crate::world::registry;

/// Past what a caller waits for a silent node, and past two elections.
const LONG: Duration = Duration::from_secs(4);
const CALLERS: usize = 3;

pub async fn play() -> Result<()> {
    if let Some(why) = packets::missing() {
        println!("not played: {why}");
        return Ok(());
    }
    super::as_one_copy(24, &[Fault::LoseHost(Leader), Fault::LoseHost(Follower)]).await?;

    let fleet = registry().start().await?;
    let mut callers = Callers::begin(&fleet, vec![fleet.addresses(); CALLERS]).await?;
    for _ in 0..2 {
        callers.progress().await?;
        let gone = fleet.leader().await?.id();
        let loss = packets::lose_host(&fleet, gone)?;
        fleet.node(gone)?.kill9()?;
        callers.progress().await?;
        tokio::time::sleep(LONG).await;
        callers.progress().await?;
        ensure!(loss.lost() > 0, "nobody missed node {gone}");
        drop(loss);
        fleet.node(gone)?.start()?;
        fleet.wait_whole().await?;
    }
    callers.progress().await?;
    let done = callers.end().await?;
    println!("{done} values written and read back");
    fleet.shutdown().await
}
