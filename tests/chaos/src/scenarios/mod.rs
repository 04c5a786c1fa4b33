//! Stories: each hurts a registry in one way, on purpose and in its order, and says what must hold meanwhile.
//! `tests/scenarios.rs` plays every one of them.

pub mod bridge;
pub mod certificates_rotate;
pub mod clock_alone;
pub mod clock_jumps;
pub mod disk_stall;
pub mod flapping;
pub mod full_stop_and_power_cut;
pub mod half_open;
pub mod host_lost;
pub mod hot_key;
pub mod kill_majority_then_all;
pub mod lossy;
pub mod membership_change_with_leader_killed_between_steps;
pub mod no_file_handles;
pub mod one_way;
pub mod out_of_memory;
pub mod read_only_disk;
pub mod remove_leader;
pub mod replace_all_nodes_one_by_one;
pub mod rolling_restart;
pub mod second_process;
pub mod slow_node;
pub mod snapshot_taken_in_slowly;

use anyhow::Result;

use crate::faults::Fault;
use crate::storm::{play, registers};
use crate::world::{World, registry};

/// Clients play on registers while these faults come; what they were told must be as from one copy.
async fn as_one_copy(seed: u64, faults: &[Fault]) -> Result<()> {
    let mut world = World::start(registry(), seed).await?;
    on(&mut world, seed, faults).await?;
    world.shutdown().await
}

async fn on(world: &mut World, seed: u64, faults: &[Fault]) -> Result<()> {
    let mut registers = registers(world).await?;
    let played = play(world, &mut registers, faults, seed).await?;
    let heard = played.heard();
    println!("{heard} of {} operations were answered", played.seen.len());
    played.judge()
}
