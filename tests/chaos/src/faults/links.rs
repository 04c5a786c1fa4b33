//! Links that are there and are bad: slow, losing packets, hanging, or dead without a word.
//!
//! A stream of TCP cannot lose a byte and go on. A wire that loses packets shows itself as chunks that come late,
//! with all that is behind them, and now and then as a broken connection: that is what is done here, on any machine.
//! `packets` loses the packets themselves, where the kernel is ours.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::Rng;
use reeve_local::Mode;

use crate::world::{Who, World};

const SLOW: Duration = Duration::from_millis(40);
/// One chunk in so many of a hundred is held up, as long as TCP waits before it sends again.
const STUTTER: Mode = Mode::Stutter {
    percent: 5,
    pause: Duration::from_millis(200),
};
const BREAK_EVERY: Duration = Duration::from_millis(400);

pub async fn slow(world: &World, long: Duration) {
    set_everywhere(world, Mode::Delay(SLOW));
    tokio::time::sleep(long).await;
    world.fleet.hops().heal();
}

/// Chunks are held up on every link, and from time to time one node's connections break.
pub async fn stutter(world: &mut World, long: Duration) {
    let end = Instant::now() + long;
    while Instant::now() < end {
        set_everywhere(world, STUTTER);
        tokio::time::sleep(BREAK_EVERY).await;
        for node in world.fleet.nodes() {
            if world.chance.random_ratio(1, 5) {
                world
                    .fleet
                    .hops()
                    .set_around(&format!("n{}", node.id()), Mode::Cut);
            }
        }
        // The connections see it before the next word.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.fleet.hops().heal();
}

/// The connections that a node has are dead, and neither end is told; whoever dials anew gets through.
pub async fn half_open(world: &mut World, who: Who, long: Duration) -> Result<()> {
    let id = world.id(who).await?;
    world.fleet.hops().strand_around(&format!("n{id}"));
    tokio::time::sleep(long).await;
    Ok(())
}

/// Nothing moves on a node's links, and nothing is refused.
pub async fn freeze(world: &mut World, who: Who, long: Duration) -> Result<()> {
    let id = world.id(who).await?;
    world.fleet.hops().set_around(&format!("n{id}"), Mode::Freeze);
    tokio::time::sleep(long).await;
    world.fleet.hops().heal();
    Ok(())
}

fn set_everywhere(world: &World, mode: Mode) {
    for node in world.fleet.nodes() {
        world.fleet.hops().set_around(&format!("n{}", node.id()), mode);
    }
}
