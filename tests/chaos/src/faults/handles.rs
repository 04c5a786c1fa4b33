//! No file handle is left to a node: nothing can be opened, accepted or dialled, and what is open goes on.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::world::{Who, World};

pub async fn strike(world: &mut World, who: Who, long: Duration) -> Result<()> {
    let id = world.id(who).await?;
    let pid = world
        .fleet
        .node(id)?
        .pid()
        .context("a dead node has no handles")?;
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
    let pid = Pid::from_raw(pid);
    let before = rustix::process::getrlimit(Resource::Nofile);
    let none_left = Rlimit {
        current: Some(open),
        maximum: before.maximum,
    };
    let before = prlimit(pid, Resource::Nofile, none_left)?;
    tokio::time::sleep(long).await;
    // It may have ended, and then its next life begins with handles again.
    if prlimit(pid, Resource::Nofile, before).is_err() {
        world.fleet.node(id)?.start()?;
    }
    Ok(())
}
