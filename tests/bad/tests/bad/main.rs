//! Bad input, at every door of a real fleet: it is refused with a reason, a field and a next step, and changes nothing.

mod certificates;
mod generated;
mod headers;
mod program;
mod special;

use std::future::Future;
use std::time::Instant;

use anyhow::{Result, ensure};
use reeve_bad::still::{self, Listed, Seen};
use reeve_bad::world::World;

/// What was asked, and all that was not as it must be.
#[derive(Default)]
pub struct Tally {
    pub rows: usize,
    pub faults: Vec<String>,
}

impl Tally {
    /// Notes one row.
    pub fn note(&mut self, name: &str, faults: Vec<String>, seen: &str) {
        self.rows += 1;
        self.faults.extend(
            faults
                .into_iter()
                .map(|fault| format!("{name}\n    {fault}\n    {seen}")),
        );
    }
}

/// Notes one row, and whatever it changed.
pub async fn note(
    watch: &mut Watch,
    tally: &mut Tally,
    name: &str,
    mut faults: Vec<String>,
    seen: &str,
) -> Result<()> {
    faults.extend(watch.changes().await?);
    tally.note(name, faults, seen);
    Ok(())
}

/// Looks at the fleet after each row.
pub struct Watch {
    api: reeve_client::Api,
    before: Seen,
    listed: Listed,
}

impl Watch {
    async fn begin(world: &World) -> Result<Watch> {
        let api = world.api()?;
        let before = still::look(&api).await?;
        let listed = still::list(&api).await?;
        Ok(Watch { api, before, listed })
    }

    /// What was prepared meanwhile is no fault.
    pub async fn forget(&mut self) -> Result<()> {
        self.before = still::look(&self.api).await?;
        Ok(())
    }

    /// What changed, in all that can be listed, since that was done last.
    pub async fn listed(&mut self) -> Result<Vec<String>> {
        let after = still::list(&self.api).await?;
        let held = still::hold_listed(&self.listed, &after);
        self.listed = after;
        Ok(held.err().map(|error| format!("{error:#}")).into_iter().collect())
    }

    /// What changed since the last look.
    pub async fn changes(&mut self) -> Result<Vec<String>> {
        let after = still::look(&self.api).await?;
        let held = still::hold(&self.api, &self.before, &after).await;
        self.before = after;
        Ok(held.err().map(|error| format!("{error:#}")).into_iter().collect())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_bad_is_refused_by_name_and_changes_nothing() -> Result<()> {
    let world = World::start().await?;
    let mut tally = Tally::default();
    let mut watch = Watch::begin(&world).await?;
    part("fields", generated::play(&world, &mut watch, &mut tally)).await?;
    part("stories", special::play(&world, &mut watch, &mut tally)).await?;
    part("certificates", certificates::play(&world, &mut watch, &mut tally)).await?;
    part("headers", headers::play(&world, &mut watch, &mut tally)).await?;
    part("program", program::play(&world, &mut watch, &mut tally)).await?;
    for (path, log) in world.logs()? {
        let odd = log.lines().find(|line| line.contains("panicked at"));
        tally
            .faults
            .extend(odd.map(|line| format!("{}: {line}", path.display())));
    }
    eprintln!("{} rows", tally.rows);
    ensure!(
        tally.faults.is_empty(),
        "{} of {} rows:\n{}",
        tally.faults.len(),
        tally.rows,
        tally.faults.join("\n")
    );
    Ok(())
}

async fn part(name: &str, plays: impl Future<Output = Result<()>>) -> Result<()> {
    let began = Instant::now();
    plays.await?;
    eprintln!("{name}: {:.1} s", began.elapsed().as_secs_f32());
    Ok(())
}
