//! Faults at random for as long as is asked; a round that fails says how to play it again.
//!
//!     make chaos MINUTES=60 SEED=1

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reeve_chaos::faults::registry::{ALL, Fault};
use reeve_chaos::linear::history;
use reeve_chaos::storm::{judge, play, registers, registry};

const FAULTS_A_ROUND: usize = 10;

fn number(name: &str) -> Result<Option<u64>> {
    let Some(text) = std::env::var(name).ok().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let number = text.parse();
    number
        .map(Some)
        .with_context(|| format!("{name}: {text:?} is no number"))
}

#[tokio::main]
async fn main() -> Result<()> {
    let minutes = number("MINUTES")?.unwrap_or(10);
    let first = number("SEED")?.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let mut seed = first;
    loop {
        round(seed)
            .await
            .with_context(|| format!("play it again with: make chaos MINUTES=0 SEED={seed}"))?;
        seed += 1;
        if Instant::now() >= end {
            println!(
                "chaos: ok, {} rounds, seeds {first} to {}",
                seed - first,
                seed - 1
            );
            return Ok(());
        }
    }
}

async fn round(seed: u64) -> Result<()> {
    let mut chance = StdRng::seed_from_u64(seed);
    let draw = |_| *ALL.choose(&mut chance).unwrap_or(&Fault::KillLeader);
    let faults: Vec<Fault> = (0..FAULTS_A_ROUND).map(draw).collect();
    println!("seed {seed}: {faults:?}");
    let fleet = registry().start().await?;
    let seen = play(&fleet, &mut registers(&fleet).await?, &faults, seed).await?;
    let heard = seen.iter().filter(|event| event.said().is_some()).count();
    println!("seed {seed}: {} operations, {heard} of them answered", seen.len());
    if let Err(found) = judge(&seen) {
        let kept = Path::new("target").join(format!("chaos-{seed}.jsonl"));
        std::fs::create_dir_all("target")?;
        std::fs::write(&kept, history::to_lines(&seen)?)?;
        return Err(found.context(format!("its history is kept in {}", kept.display())));
    }
    fleet.shutdown().await
}
