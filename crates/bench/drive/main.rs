//! `make bench`: a registry and an etcd of three nodes each, on this machine, measured in turns.
//!
//! ```text
//! Registry (ours) ─┐                 ┌─► rounds: empty · resolve · write      etcd, ours, etcd, ours, …
//! Etcd (the peer) ─┴─► both stay up ─┼─► watch
//!                                    └─► kills: the leader, over and over ─┬─► Summary
//! scale: many tenants, in a registry of their own ───────────────────────────┘
//! ```

mod etcd;
mod kills;
mod plan;
mod registry;
mod rounds;
mod scale;
mod watchers;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use reeve_bench::summary::{KEYS, Row, Summary, table};

use self::etcd::Etcd;
use self::plan::Plan;
use self::registry::Registry;

/// Set a registry beside an etcd of this machine, and print ratios.
#[derive(Debug, Parser)]
pub struct Args {
    /// Short rounds and few kills: a smoke test, whose numbers are worth nothing
    #[arg(long)]
    quick: bool,
    /// Rounds; each measures everything once
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Kills of each leader
    #[arg(long, value_name = "N")]
    kills: Option<usize>,
    /// Measure one part only, and print its rows
    #[arg(long, value_name = "PART")]
    part: Option<Part>,
    /// Tenants of ours, and keys of the peer's
    #[arg(long, value_name = "N")]
    tenants: Option<usize>,
    /// Tenants of the part `scale`
    #[arg(long, value_name = "N")]
    scale: Option<usize>,
    /// etcd's server
    #[arg(long, default_value = "etcd", value_name = "FILE")]
    etcd: PathBuf,
    /// Folder with `reeve-registry`
    #[arg(long, value_name = "DIR")]
    bin_dir: PathBuf,
    /// Which state of the sources this is
    #[arg(long, default_value = "unknown", value_name = "TEXT")]
    commit: String,
    /// Where the summary goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What is measured after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Rounds,
    Watch,
    Kills,
    Scale,
}

#[tokio::main]
async fn main() -> ExitCode {
    // A second installation is refused and changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let args = Args::parse();
    let ended = tokio::select! {
        ended = run(&args) => ended,
        asked = reeve_cli::dev::asked_to_end() => asked.and_then(|()| bail!("interrupted")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    let version = etcd::version(&args.etcd)?;
    let plan = Plan::of(args, version);
    let program = args.bin_dir.join("reeve-registry");
    let wanted = |part| args.part.is_none_or(|only| only == part);
    let mut rows = Vec::new();
    if args.part != Some(Part::Scale) {
        rows.extend(beside_etcd(args, &plan, program.clone()).await?);
    }
    if wanted(Part::Scale) {
        rows.extend(scale::run(&plan, &program).await?);
    }
    if args.part.is_some() {
        println!("{}", table(&rows));
        return Ok(());
    }
    let summary = Summary::of(in_order(rows))?;
    write(&summary, &args.out)?;
    println!("{}\n\n{}", summary.table(), args.out.display());
    Ok(())
}

async fn beside_etcd(args: &Args, plan: &Plan, program: PathBuf) -> Result<Vec<(&'static str, Row)>> {
    let registry = Registry::start(program, plan.tenants).await?;
    say(&format!(
        "a registry of {} nodes, {} tenants",
        plan::NODES,
        plan.tenants
    ));
    let etcd = Etcd::start(&args.etcd, &registry).await?;
    say(&format!("an etcd {} of {} nodes", plan.etcd_version, plan::NODES));

    let wanted = |part| args.part.is_none_or(|only| only == part);
    let mut rows = Vec::new();
    if wanted(Part::Rounds) {
        rows.extend(rounds::run(plan, &registry, &etcd).await?);
    }
    if wanted(Part::Watch) {
        rows.extend(watchers::run(plan, &registry, &etcd).await?);
    }
    if wanted(Part::Kills) {
        rows.extend(kills::run(plan, &registry, &etcd).await?);
    }
    registry.shutdown().await?;
    Ok(rows)
}

fn in_order(mut rows: Vec<(&'static str, Row)>) -> Vec<(&'static str, Row)> {
    rows.sort_by_key(|(key, _)| KEYS.iter().position(|known| known == key));
    rows
}

fn write(summary: &Summary, out: &PathBuf) -> Result<()> {
    let at = || format!("writing {}", out.display());
    if let Some(dir) = out.parent() {
        std::fs::create_dir_all(dir).with_context(at)?;
    }
    std::fs::write(out.with_extension("md"), summary.markdown()).with_context(at)?;
    std::fs::write(out, serde_json::to_string_pretty(summary)?).with_context(at)
}

/// Progress goes beside the results.
fn say(what: &str) {
    eprintln!("bench: {what}");
}
