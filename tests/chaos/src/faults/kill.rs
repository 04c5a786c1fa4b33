//! kill -9 of one node, of a majority, of all of them at once; what was flushed is all that is left.

use std::time::Duration;

use anyhow::Result;

use crate::world::{Who, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    Leader,
    Follower,
    /// The leader among them.
    Majority,
    All,
}

pub async fn strike(world: &mut World, crowd: Crowd, long: Duration) -> Result<()> {
    let leader = world.id(Who::Leader).await?;
    let others = world.others(leader);
    let needed = others.len().div_ceil(2);
    let dead = match crowd {
        Crowd::Leader => vec![leader],
        Crowd::Follower => vec![world.id(Who::Follower).await?],
        Crowd::Majority => [leader]
            .into_iter()
            .chain(others.into_iter().take(needed))
            .collect(),
        Crowd::All => [leader].into_iter().chain(others).collect(),
    };
    for id in &dead {
        world.fleet.node(*id)?.kill9()?;
    }
    // Nothing is written while all are away: to wait would show nothing.
    if crowd != Crowd::All {
        tokio::time::sleep(long).await;
    }
    for id in &dead {
        world.fleet.node(*id)?.start()?;
    }
    Ok(())
}
