//! kill -9 of one node, of a majority, of all of them at once; what was flushed is all that is left.

use std::time::Duration;

use anyhow::Result;
use reeve_local::Mode;

use crate::world::{Who, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    Leader,
    Follower,
    /// The leader among them.
    Majority,
    All,
}

/// What a word between two nodes takes: so little that nobody stands for election because of it.
const SLOW: Duration = Duration::from_millis(80);
/// From a start until it is settled who leads, with words that take so long.
const SETTLED_MIN: Duration = Duration::from_secs(2);

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

/// A follower is killed while the others go on, then they are killed, too. Who led comes back with the one that was away,
/// and whoever else knows what was acknowledged last comes later. Words between the nodes take their time meanwhile:
/// the two find out by and by what the log held, and clients, who are near, ask before that.
pub async fn all_to_rise_without_a_witness(world: &mut World, long: Duration) -> Result<()> {
    let leader = world.id(Who::Leader).await?;
    let away = world.id(Who::Follower).await?;
    world.fleet.node(away)?.kill9()?;
    tokio::time::sleep(long).await;
    let nodes = world.others(0);
    for id in nodes.iter().filter(|id| **id != away) {
        world.fleet.node(*id)?.kill9()?;
    }
    for (one, other) in nodes
        .iter()
        .flat_map(|one| nodes.iter().map(move |other| (one, other)))
    {
        world.fleet.hops().set_link(*one, *other, Mode::Delay(SLOW));
    }
    for id in [leader, away] {
        world.fleet.node(id)?.start()?;
    }
    tokio::time::sleep(long.max(SETTLED_MIN)).await;
    world.fleet.hops().heal();
    for id in nodes.iter().filter(|id| ![leader, away].contains(id)) {
        world.fleet.node(*id)?.start()?;
    }
    Ok(())
}
