//! A disk that stands still: each flush of a node takes seconds, as strace makes it.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::trace::Trace;
use crate::world::{Who, World};

const STALL: &str = "inject=fdatasync:delay_enter=5000000";
/// Shorter than one flush would show nothing.
const LONG_MIN: Duration = Duration::from_secs(2);

pub async fn strike(world: &mut World, who: Who, long: Duration) -> Result<()> {
    let id = world.id(who).await?;
    let pid = world.fleet.node(id)?.pid().context("a dead node has no disk")?;
    let trace = Trace::attach(pid, "fdatasync", &["-e", STALL])?;
    tokio::time::sleep(long.max(LONG_MIN)).await;
    trace.end().map(drop)
}
