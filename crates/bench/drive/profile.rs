//! What the nodes do while they are busy: one load after the other, and nobody else on the machine.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use reeve_bench::profile::{Profile, Stacks, draw, markdown};
use reeve_bench::summary::Settings;
use reeve_cli::bench::tally::Tally;
use reeve_cli::bench::{resolve, write};

use crate::perf::{FREQUENCY, Perf};
use crate::plan::{CONNECTIONS, NODES, Plan, READING};
use crate::registry::Registry;
use crate::say;

/// In the order in which they are put: a column of the table, and the end of a file's name.
const LOADS: [(What, &str, &str); 3] = [
    (What::Write, "write", "write"),
    (
        What::Resolve(resolve::Level::Bounded),
        "resolve, bounded",
        "resolve-bounded",
    ),
    (
        What::Resolve(resolve::Level::Linearizable),
        "resolve, linearizable",
        "resolve-linearizable",
    ),
];

const ATTEMPTS_MAX: usize = 3;

#[derive(Clone, Copy)]
enum What {
    Write,
    Resolve(resolve::Level),
}

/// Writes flamegraphs and the table into this folder; where perf cannot record, that is said, and all else goes on.
pub async fn run(plan: &Plan, program: &Path, to: &Path, call_graph: &str) -> Result<()> {
    let perf = match Perf::find(call_graph).await {
        Ok(perf) => perf,
        Err(why) => {
            say(&format!("PROFILES ARE LEFT OUT: {why:#}"));
            return Ok(());
        }
    };
    std::fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    let registry = Registry::start(program.to_owned(), plan.tenants).await?;
    let mut profiles = Vec::new();
    for (what, load, file) in LOADS {
        say(&format!("profile of {load}, {READING} in flight"));
        let profile = Profile {
            load,
            stacks: recorded(&perf, plan, &registry, what, file).await?,
        };
        keep(&profile, plan, to, file)?;
        profiles.push(profile);
    }
    registry.shutdown().await?;
    let page = page(&profiles, plan, call_graph);
    std::fs::write(to.join("profile.md"), page).with_context(|| format!("writing into {}", to.display()))?;
    say(&format!("profile.md and flamegraphs are in {}", to.display()));
    Ok(())
}

/// perf gives up now and then on a busy machine, without a word; the load is put anew then.
async fn recorded(perf: &Perf, plan: &Plan, registry: &Registry, what: What, file: &str) -> Result<Stacks> {
    for attempt in 1..ATTEMPTS_MAX {
        match once(perf, plan, registry, what, file, attempt).await {
            Ok(stacks) => return Ok(stacks),
            Err(why) => say(&format!("profile of {file}: {why:#}; once more")),
        }
    }
    once(perf, plan, registry, what, file, ATTEMPTS_MAX).await
}

/// The nodes' stacks, from when the load is warm until it ends.
async fn once(
    perf: &Perf,
    plan: &Plan,
    registry: &Registry,
    what: What,
    file: &str,
    attempt: usize,
) -> Result<Stacks> {
    let (warm_up, span) = plan.profiling();
    let pids = registry.pids();
    let recording = async {
        tokio::time::sleep(warm_up).await;
        perf.stacks(&pids, span, file).await
    };
    let (tally, script) = tokio::join!(loaded(plan, registry, what, attempt), recording);
    let (tally, script) = (tally?, script?);
    ensure!(
        tally.count() > 0,
        "{file}: no call succeeded: {:?}",
        tally.errors()
    );
    tokio::task::spawn_blocking(move || Stacks::of_perf(&script)).await?
}

/// What one principal has changed is remembered, and bounded: each attempt has its own.
async fn loaded(plan: &Plan, registry: &Registry, what: What, attempt: usize) -> Result<Tally> {
    Ok(match what {
        What::Write => {
            let writer = registry.target_as(&format!("profiled-{attempt}")).await?;
            let channels = writer.channels(CONNECTIONS)?;
            write::measure(&channels, registry.changes.clone(), &plan.profiled_writing()).await
        }
        What::Resolve(level) => {
            let channels = registry.target().await?.channels(CONNECTIONS)?;
            resolve::measure(
                &channels,
                registry.claims.clone(),
                level,
                &plan.profiled_reading(),
            )
            .await
        }
    })
}

fn keep(profile: &Profile, plan: &Plan, to: &Path, file: &str) -> Result<()> {
    let at = || format!("writing the profile of {} into {}", profile.load, to.display());
    let title = format!("{} nodes under {}, {READING} in flight", NODES, profile.load);
    let svg = draw(&profile.stacks, &title, &circumstances(plan))?;
    std::fs::write(to.join(format!("flame-{file}.svg")), svg).with_context(at)?;
    std::fs::write(to.join(format!("stacks-{file}.txt")), profile.stacks.folded()).with_context(at)
}

fn circumstances(plan: &Plan) -> String {
    let Settings {
        commit,
        cores,
        quick,
        tenants,
        ..
    } = plan.settings();
    let quick = if quick { "SMOKE TEST, WORTH NOTHING; " } else { "" };
    format!("{quick}commit {commit}, {cores} cores, {tenants} tenants, {CONNECTIONS} connections")
}

/// How docs/benchmarks.md shows it.
fn page(profiles: &[Profile], plan: &Plan, call_graph: &str) -> String {
    let samples: Vec<_> = profiles.iter().map(|p| p.stacks.count().to_string()).collect();
    let mut text = format!(
        "{}; {READING} in flight; `perf record -F {FREQUENCY} --call-graph {call_graph}`, {} samples.\n\n{}",
        circumstances(plan),
        samples.join(" / "),
        markdown(profiles),
    );
    for (_, load, file) in LOADS {
        text += &format!(
            "\n[![Flamegraph of {load}](benchmarks/flame-{file}.svg)](benchmarks/flame-{file}.svg)\n"
        );
    }
    text
}
