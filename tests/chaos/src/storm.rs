//! Clients play on registers while one fault comes after the other; afterwards all is healed and judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::Rng;
use reeve_local::until;

use crate::broken::Broken;
use crate::faults::{Fault, strike};
use crate::invariants::{nodes_agree, revisions_name_one_change, views_say_their_age};
use crate::linear::register::Register;
use crate::linear::{Verdict, check};
use crate::registers::{Glance, Registers, Seen};
use crate::world::World;

const REGISTERS: usize = 3;
const CLIENTS: usize = 12;
/// How long a fault lasts: longer than an election, and shorter than a client's patience.
const HURT_MS: std::ops::Range<u64> = 300..1_800;
const BETWEEN: Duration = Duration::from_millis(700);
/// Fewer answers would show little. A slow machine gets the time that it takes.
const HEARD_MIN: usize = 200;
const PATIENCE: Duration = Duration::from_secs(120);

/// What the clients of a play saw.
pub struct Played {
    pub seen: Vec<Seen>,
    pub glances: Vec<Glance>,
}

impl Played {
    /// How many operations were answered.
    pub fn heard(&self) -> usize {
        self.seen.iter().filter(|event| event.said().is_some()).count()
    }

    /// Fails when no order explains what was seen, or an answer says of itself what is not so: a promise is broken.
    /// A history that nobody can judge breaks none, and fails as well.
    pub fn judge(&self) -> Result<()> {
        match check::<Register>(&self.seen) {
            Verdict::Linearizable => {}
            Verdict::Not(found) => return Err(Broken(found.to_string()).into()),
            Verdict::Undecided { key } => bail!("{key}: too much is unknown to decide"),
        }
        revisions_name_one_change::judge(&self.seen)
            .and_then(|()| views_say_their_age::judge(&self.seen, &self.glances))
            .map_err(Broken::found)
    }
}

/// The registers that are played on.
pub async fn registers(world: &World) -> Result<Registers> {
    Registers::make(&world.fleet, REGISTERS).await
}

/// Plays while the faults come one after the other.
pub async fn play(
    world: &mut World,
    registers: &mut Registers,
    faults: &[Fault],
    seed: u64,
) -> Result<Played> {
    play_while(world, registers, seed, async |world, registers| {
        for fault in faults {
            let long = Duration::from_millis(world.chance.random_range(HURT_MS));
            let began = registers.elapsed();
            let is_struck = strike(world, *fault, long)
                .await
                .with_context(|| format!("{fault:?}"))?;
            let skipped = if is_struck {
                ""
            } else {
                ", which this world has not got"
            };
            println!("{began:9.3?} to {:9.3?}  {fault:?}{skipped}", registers.elapsed());
            registers.meet(&world.fleet);
            tokio::time::sleep(BETWEEN).await;
        }
        Ok(())
    })
    .await
}

/// Plays while a story is told; then everybody must serve again and come to the same.
pub async fn play_while(
    world: &mut World,
    registers: &mut Registers,
    seed: u64,
    story: impl AsyncFnOnce(&mut World, &Registers) -> Result<()>,
) -> Result<Played> {
    let played = tell(world, registers, seed, story).await;
    // Whoever was stopped for its State is missed by all the rest: that is then the cause.
    played.map_err(|error| match nodes_agree::strayed(&world.fleet) {
        Some(found) => found.context(format!("{error:#}")),
        None => error,
    })
}

async fn tell(
    world: &mut World,
    registers: &mut Registers,
    seed: u64,
    story: impl AsyncFnOnce(&mut World, &Registers) -> Result<()>,
) -> Result<Played> {
    registers.begin(&world.fleet).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut players = registers.play(CLIENTS, seed, &stop);
    tokio::time::sleep(BETWEEN).await;
    story(world, registers).await?;
    world.fleet.wait_whole().await.context("after all was healed")?;
    registers.meet(&world.fleet);
    // Whoever plays now must be served by every node that there is.
    tokio::time::sleep(BETWEEN).await;
    until("enough answers", PATIENCE, async || {
        Ok((registers.heard() >= HEARD_MIN).then_some(()))
    })
    .await?;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = players.join_next().await {
        ended?;
    }
    nodes_agree::hold(&world.fleet).await?;
    Ok(Played {
        seen: registers.end(&world.fleet).await?,
        glances: registers.glances(),
    })
}
