//! Links between nodes that are cut: both ways, one way, all but one node's, on and off. Clients still reach every
//! node, the lonely leader too, unless it is isolated.

use std::time::{Duration, Instant};

use anyhow::Result;
use reeve_local::Mode;

use crate::world::{Who, World};

const FLAP_EVERY: Duration = Duration::from_millis(100);

/// From the other nodes, both ways.
pub async fn cut(world: &mut World, who: Who, long: Duration) -> Result<()> {
    let id = world.id(who).await?;
    apart(world, id, Mode::Cut);
    tokio::time::sleep(long).await;
    world.fleet.hops().heal();
    Ok(())
}

/// From everybody, clients too.
pub async fn isolate(world: &mut World, who: Who, long: Duration) -> Result<()> {
    let id = world.id(who).await?;
    world.fleet.hops().set_around(&format!("n{id}"), Mode::Cut);
    tokio::time::sleep(long).await;
    world.fleet.hops().heal();
    Ok(())
}

/// What other nodes say does not arrive; what it says does.
pub async fn hears_nobody(world: &mut World, who: Who, long: Duration) -> Result<()> {
    let id = world.id(who).await?;
    for other in world.others(id) {
        world.fleet.hops().silence(other, id);
    }
    tokio::time::sleep(long).await;
    world.fleet.hops().heal();
    Ok(())
}

/// What it says does not arrive at other nodes; what they say does.
pub async fn reaches_nobody(world: &mut World, who: Who, long: Duration) -> Result<()> {
    let id = world.id(who).await?;
    for other in world.others(id) {
        world.fleet.hops().silence(id, other);
    }
    tokio::time::sleep(long).await;
    world.fleet.hops().heal();
    Ok(())
}

/// The leader and one follower reach each other only through a third: neither hears of the other, both hear the third.
pub async fn bridge(world: &mut World, long: Duration) -> Result<()> {
    let leader = world.id(Who::Leader).await?;
    let bridge = world.id(Who::Follower).await?;
    let ends: Vec<u64> = world.others(bridge);
    for one in &ends {
        for other in ends.iter().filter(|other| one < *other) {
            world.fleet.hops().set_between(*one, *other, Mode::Cut);
        }
    }
    debug_assert!(ends.contains(&leader));
    tokio::time::sleep(long).await;
    world.fleet.hops().heal();
    Ok(())
}

/// Its links to other nodes are cut and mended ten times a second.
pub async fn flap(world: &mut World, who: Who, long: Duration) -> Result<()> {
    let id = world.id(who).await?;
    let end = Instant::now() + long;
    while Instant::now() < end {
        for mode in [Mode::Cut, Mode::Pass] {
            apart(world, id, mode);
            tokio::time::sleep(FLAP_EVERY).await;
        }
    }
    world.fleet.hops().heal();
    Ok(())
}

fn apart(world: &World, id: u64, mode: Mode) {
    for other in world.others(id) {
        world.fleet.hops().set_between(id, other, mode);
    }
}
