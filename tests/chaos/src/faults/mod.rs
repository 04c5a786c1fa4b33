//! What is done to a fleet: one file per blow, each with the recovery that follows it.

pub mod agent_killed;
pub mod disk;
pub mod follower_frozen;
pub mod leader_killed;
pub mod registry;
