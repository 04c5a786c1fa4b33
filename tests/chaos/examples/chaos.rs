//! Faults at random for as long as is asked; a round that fails says how to play it again.
//!
//!     make chaos MINUTES=60 SEED=1

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reeve_chaos::faults::{FURTHER, Fault, PLAIN};
use reeve_chaos::history::History;
use reeve_chaos::invariants::{audit_chain_whole, stamps_go_forward};
use reeve_chaos::linear::history;
use reeve_chaos::storm::{play, registers};
use reeve_chaos::world::{World, registry};

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
    let draw = |_| every().choose(&mut chance).copied();
    let faults: Vec<Fault> = (0..FAULTS_A_ROUND).filter_map(draw).collect();
    println!("seed {seed}: {faults:?}");
    let mut world = World::with_clocks(registry(), seed).await?;
    if rustix::process::geteuid().is_root() && faults.iter().any(|fault| matches!(fault, Fault::FillDisk(_)))
    {
        world.shrink_disks().await?;
    }
    let mut registers = registers(&world).await?;
    let played = play(&mut world, &mut registers, &faults, seed).await?;
    println!(
        "seed {seed}: {} operations, {} of them answered",
        played.seen.len(),
        played.heard()
    );
    // Kept whatever comes of it: a history that was judged wrongly must be there to be judged again.
    let kept = Path::new("target").join(format!("chaos-{seed}.jsonl"));
    std::fs::create_dir_all("target")?;
    std::fs::write(&kept, history::to_lines(&played.seen)?)?;
    let records = audit_chain_whole::observe(&world.fleet).await?;
    let judged = played
        .judge()
        .and_then(|()| stamps_go_forward::judge(&records).map(drop))
        .and_then(|()| audit_chain_whole::judge(&History::default(), &records));
    judged.with_context(|| format!("its history is kept in {}", kept.display()))?;
    world.shutdown().await
}

fn every() -> Vec<Fault> {
    PLAIN.into_iter().chain(FURTHER).collect()
}
