//! Each node leaves on SIGTERM and comes back, the leader too, twice over: no service sees a failed call, and none
//! misses what it was told is written.

use anyhow::Result;

use crate::callers::Callers;
use crate::faults::restart;
use crate::invariants::nodes_agree;
use crate::world::registry;

const CALLERS: usize = 6;

pub async fn play() -> Result<()> {
    let fleet = registry().start().await?;
    let mut callers = Callers::begin(&fleet, vec![fleet.addresses(); CALLERS]).await?;
    for _ in 0..2 {
        callers.progress().await?;
        restart::rolling(&fleet).await?;
    }
    callers.progress().await?;
    let done = callers.end().await?;
    println!("{done} values written and read back");
    nodes_agree::hold(&fleet).await?;
    fleet.shutdown().await
}
