//! What can be done to a registry that keeps its quorum, or gets it back soon.

use std::time::Duration;

use anyhow::Result;
use reeve_local::{Fleet, Mode};

/// One fault. Each is mended before it returns.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    KillLeader,
    KillAll,
    PauseLeader,
    CutLeader,
    FreezeFollower,
    SlowEverybody,
}

pub const ALL: [Fault; 6] = [
    Fault::KillLeader,
    Fault::KillAll,
    Fault::PauseLeader,
    Fault::CutLeader,
    Fault::FreezeFollower,
    Fault::SlowEverybody,
];

/// Does it for so long.
pub async fn hurt(fleet: &Fleet, fault: Fault, long: Duration) -> Result<()> {
    let leader = fleet.leader().await?;
    let follower = fleet.nodes().iter().find(|node| node.id() != leader.id());
    let around = |id: u64, mode| fleet.hops().set_around(&format!("n{id}"), mode);
    match fault {
        Fault::KillLeader => {
            leader.kill9()?;
            tokio::time::sleep(long).await;
            leader.start()?;
        }
        Fault::KillAll => {
            for node in fleet.nodes() {
                node.kill9()?;
            }
            for node in fleet.nodes() {
                node.start()?;
            }
        }
        Fault::PauseLeader => {
            leader.pause();
            tokio::time::sleep(long).await;
            leader.resume();
        }
        Fault::CutLeader => {
            around(leader.id(), Mode::Cut);
            tokio::time::sleep(long).await;
        }
        Fault::FreezeFollower => {
            around(follower.map_or(1, |node| node.id()), Mode::Freeze);
            tokio::time::sleep(long).await;
        }
        Fault::SlowEverybody => {
            for node in fleet.nodes() {
                around(node.id(), Mode::Delay(Duration::from_millis(40)));
            }
            tokio::time::sleep(long).await;
        }
    }
    fleet.hops().heal();
    Ok(())
}
