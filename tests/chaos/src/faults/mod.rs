//! What is done to a fleet: one file for each kind of blow, each with the recovery that follows it.
//!
//! A story strikes with what it needs; `strike` does any of them for a while, for plays that draw them at random.

pub mod agent_killed;
pub mod certificates;
pub mod clock;
pub mod disk;
pub mod disk_stall;
pub mod follower_frozen;
pub mod handles;
pub mod kill;
pub mod leader_killed;
pub mod links;
pub mod membership;
pub mod memory;
pub mod packets;
pub mod partition;
pub mod pause;
pub mod read_only;
pub mod restart;
pub mod slow;

use std::time::Duration;

use anyhow::Result;

use crate::world::Who::{self, Follower, Leader};
use crate::world::World;

/// One fault of a registry. Each is mended before `strike` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill(kill::Crowd),
    /// Everybody, and whoever led comes back with the one that knows the least.
    RiseWithoutWitness,
    Pause(Who),
    /// From the other nodes, both ways; clients still reach it.
    Cut(Who),
    /// From everybody.
    Isolate(Who),
    HearsNobody(Who),
    ReachesNobody(Who),
    Bridge,
    Flap(Who),
    SlowEverybody,
    StutterEverybody,
    /// Some packets of every link, by the kernel.
    LosePackets,
    /// Every packet to a node and from it, and the node with them.
    LoseHost(Who),
    HalfOpen(Who),
    Freeze(Who),
    FillDisk(Who),
    StallDisk(Who),
    NoHandles(Who),
    Clock(Who, clock::Jump),
    /// One node's clock is wrong, and everybody else's is right.
    ClockAlone(Who, clock::Jump),
    /// A node gets a tenth of the time that it wants.
    Slow(Who),
    Replace(Who),
    RollingRestart,
    RotateCertificates,
}

/// What keeps its promises on any fleet; the others need clocks, disks, root or much time.
pub const PLAIN: [Fault; 16] = [
    Fault::Kill(kill::Crowd::Leader),
    Fault::Kill(kill::Crowd::Follower),
    Fault::Kill(kill::Crowd::Majority),
    Fault::Kill(kill::Crowd::All),
    Fault::Pause(Leader),
    Fault::Pause(Follower),
    Fault::Cut(Leader),
    Fault::Isolate(Leader),
    Fault::HearsNobody(Leader),
    Fault::ReachesNobody(Leader),
    Fault::Bridge,
    Fault::Flap(Leader),
    Fault::SlowEverybody,
    Fault::StutterEverybody,
    Fault::HalfOpen(Leader),
    Fault::Freeze(Follower),
];

/// The rest, for a world that has what they need.
pub const FURTHER: [Fault; 29] = [
    Fault::Slow(Leader),
    Fault::Slow(Follower),
    Fault::ClockAlone(Leader, clock::Jump::Ahead),
    Fault::ClockAlone(Leader, clock::Jump::Back),
    Fault::ClockAlone(Follower, clock::Jump::Ahead),
    Fault::ClockAlone(Follower, clock::Jump::Back),
    Fault::LosePackets,
    Fault::LoseHost(Leader),
    Fault::LoseHost(Follower),
    Fault::RiseWithoutWitness,
    Fault::Cut(Follower),
    Fault::HearsNobody(Follower),
    Fault::ReachesNobody(Follower),
    Fault::Flap(Follower),
    Fault::HalfOpen(Follower),
    Fault::FillDisk(Leader),
    Fault::FillDisk(Follower),
    Fault::StallDisk(Leader),
    Fault::StallDisk(Follower),
    Fault::NoHandles(Leader),
    Fault::NoHandles(Follower),
    Fault::Clock(Leader, clock::Jump::Ahead),
    Fault::Clock(Leader, clock::Jump::Back),
    Fault::Clock(Follower, clock::Jump::Ahead),
    Fault::Clock(Follower, clock::Jump::Back),
    Fault::Replace(Follower),
    Fault::Replace(Leader),
    Fault::RollingRestart,
    Fault::RotateCertificates,
];

/// Does it for so long, or for as long as it takes. False when this world lacks what it needs.
pub async fn strike(world: &mut World, fault: Fault, long: Duration) -> Result<bool> {
    match fault {
        Fault::Kill(crowd) => kill::strike(world, crowd, long).await?,
        Fault::RiseWithoutWitness => kill::all_to_rise_without_a_witness(world, long).await?,
        Fault::Pause(who) => pause::strike(world, who, long).await?,
        Fault::Cut(who) => partition::cut(world, who, long).await?,
        Fault::Isolate(who) => partition::isolate(world, who, long).await?,
        Fault::HearsNobody(who) => partition::hears_nobody(world, who, long).await?,
        Fault::ReachesNobody(who) => partition::reaches_nobody(world, who, long).await?,
        Fault::Bridge => partition::bridge(world, long).await?,
        Fault::Flap(who) => partition::flap(world, who, long).await?,
        Fault::SlowEverybody => links::slow(world, long).await,
        Fault::StutterEverybody => links::stutter(world, long).await,
        Fault::LosePackets => return packets::some(world, long).await,
        Fault::LoseHost(who) => return packets::host(world, who, long).await,
        Fault::HalfOpen(who) => links::half_open(world, who, long).await?,
        Fault::Freeze(who) => links::freeze(world, who, long).await?,
        Fault::FillDisk(who) => return disk::strike(world, who, long).await,
        Fault::StallDisk(who) => disk_stall::strike(world, who, long).await?,
        Fault::NoHandles(who) => handles::strike(world, who, long).await?,
        Fault::Slow(who) => slow::strike(world, who, long).await?,
        Fault::ClockAlone(who, jump) => return clock::alone(world, who, jump, long).await,
        Fault::Clock(who, jump) => return clock::strike(world, who, jump, long).await,
        Fault::Replace(who) => return membership::replace(world, who).await,
        Fault::RollingRestart => restart::rolling(&world.fleet).await?,
        Fault::RotateCertificates => certificates::rotate(&world.fleet).await?,
    }
    Ok(true)
}
