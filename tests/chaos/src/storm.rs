//! Clients play on registers while one fault comes after the other; afterwards the history is judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reeve_local::{Builder, Fleet};

use crate::faults::registry::{Fault, hurt};
use crate::linear::register::Register;
use crate::linear::{Verdict, check};
use crate::registers::{Registers, Seen};

const REGISTERS: usize = 3;
const CLIENTS: usize = 12;
/// How long a fault lasts: longer than an election, and shorter than a client's patience.
const HURT_MS: std::ops::Range<u64> = 300..1_800;
const BETWEEN: Duration = Duration::from_millis(700);

/// A registry without agents.
pub fn registry() -> Builder {
    let no_regions: [&str; 0] = [];
    // They compare their States all the while: a node that is stopped for it makes the play fail.
    let settings = toml::toml! {
        [raft]
        compare_ms = 200
    };
    Fleet::builder().regions(no_regions).node_settings(settings)
}

/// The registers that are played on.
pub async fn registers(fleet: &Fleet) -> Result<Registers> {
    Registers::make(fleet, REGISTERS).await
}

/// Plays while the faults come one after the other; what the clients saw.
pub async fn play(
    fleet: &Fleet,
    registers: &mut Registers,
    faults: &[Fault],
    seed: u64,
) -> Result<Vec<Seen>> {
    registers.begin(fleet).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut players = registers.play(fleet, CLIENTS, seed, &stop);
    let mut chance = StdRng::seed_from_u64(seed);
    tokio::time::sleep(BETWEEN).await;
    for fault in faults {
        let long = Duration::from_millis(chance.random_range(HURT_MS));
        let began = registers.elapsed();
        hurt(fleet, *fault, long).await?;
        println!("{began:9.3?} to {:9.3?}  {fault:?}", registers.elapsed());
        tokio::time::sleep(BETWEEN).await;
    }
    fleet.wait_whole().await?;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = players.join_next().await {
        ended?;
    }
    registers.end(fleet).await
}

/// Fails when no order explains what was seen.
pub fn judge(seen: &[Seen]) -> Result<()> {
    match check::<Register>(seen) {
        Verdict::Linearizable => Ok(()),
        Verdict::Not(found) => bail!("{found}"),
        Verdict::Undecided { key } => bail!("{key}: too much is unknown to decide"),
    }
}
