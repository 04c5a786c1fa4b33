//! `make bench`: a registry and an etcd of three nodes each, on this machine, measured in turns.
//!
//! ```text
//! Registry (ours) ─┐                 ┌─► rounds: empty · resolve · write      etcd, ours, etcd, ours, …
//! Etcd (the peer) ─┴─► both stay up ─┼─► watch
//!                                    └─► kills: the leader, over and over ─┬─► Summary ─► draw (SVG)
//! scale: many tenants, in a registry of their own ───────────────────────────┘
//! profile: perf on the nodes, in a registry of their own ─► flamegraphs, where the time goes
//! ```

mod draw;
mod etcd;
mod kills;
mod perf;
mod plan;
mod profile;
mod registry;
mod rounds;
mod scale;
mod watchers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use reeve_bench::summary::{KEYS, Row, Summary};

use self::etcd::Etcd;
use self::plan::Plan;
use self::registry::Registry;

/// Set a registry beside an etcd of this machine; print ratios, draw plots and flamegraphs.
#[derive(Debug, Parser)]
#[command(
    after_help = "A whole run leaves summary.json, summary.md, rounds.json, the plots, and what perf saw (flame-*.svg, profile.md) in the summary's folder. A part leaves the same of its rows in part-PART below it, and `profile` its own beside the summary.\n\nExamples:\n  scripts/bench.sh --part rounds --rounds 8\n  scripts/bench.sh --part profile\n  reeve-bench --plot summary.json --to plots"
)]
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
    #[arg(long, value_name = "DIR", required_unless_present = "plot")]
    bin_dir: Option<PathBuf>,
    /// Which state of the sources this is
    #[arg(long, default_value = "unknown", value_name = "TEXT")]
    commit: String,
    /// Where the summary goes, and beside it the rest
    #[arg(long, value_name = "FILE", required_unless_present = "plot")]
    out: Option<PathBuf>,
    /// How perf walks a stack: `fp` is cheaper, and needs nodes built with frame pointers
    #[arg(long, default_value = "dwarf,65528", value_name = "MODE")]
    call_graph: String,
    /// Measure nothing; draw this summary, with the rounds.json beside it
    #[arg(long, value_name = "SUMMARY", requires = "to")]
    plot: Option<PathBuf>,
    /// Where the plots of --plot go
    #[arg(long, value_name = "DIR", requires = "plot")]
    to: Option<PathBuf>,
}

/// What is measured after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Resolves and writes, closed and by the clock
    Rounds,
    /// Watchers
    Watch,
    /// Kills of the leader
    Kills,
    /// Many tenants, without an etcd beside them
    Scale,
    /// Flamegraphs, and where the nodes' time goes; needs perf
    Profile,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Part::Rounds => "rounds",
            Part::Watch => "watch",
            Part::Kills => "kills",
            Part::Scale => "scale",
            Part::Profile => "profile",
        }
    }
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
    if let (Some(summary), Some(to)) = (&args.plot, &args.to) {
        return draw::run(summary, to);
    }
    let bin_dir = args.bin_dir.as_ref().context("--bin-dir is missing")?;
    let out = args.out.as_ref().context("--out is missing")?;
    let plan = Plan::of(args, etcd::version(&args.etcd)?);
    let program = bin_dir.join("reeve-registry");
    let wanted = |part| args.part.is_none_or(|only| only == part);

    let mut rows = Vec::new();
    if [Part::Rounds, Part::Watch, Part::Kills].into_iter().any(wanted) {
        rows.extend(beside_etcd(args, &plan, program.clone()).await?);
    }
    if wanted(Part::Scale) {
        rows.extend(scale::run(&plan, &program).await?);
    }
    match args.part {
        None => keep(&Summary::of(in_order(rows))?, out)?,
        Some(Part::Profile) => {}
        Some(part) => keep(&Summary::of_part(in_order(rows)), &aside(out, part))?,
    }
    if wanted(Part::Profile) {
        let to = out.parent().unwrap_or(Path::new("."));
        let profiled = profile::run(&plan, &program, to, &args.call_graph).await;
        match (args.part, profiled) {
            // What was measured before is whole without it.
            (None, Err(why)) => say(&format!("PROFILES ARE LEFT OUT: {why:#}")),
            (_, profiled) => return profiled,
        }
    }
    Ok(())
}

/// A part never stands where a whole run does.
fn aside(out: &Path, part: Part) -> PathBuf {
    let dir = out.parent().unwrap_or(Path::new("."));
    let file = out.file_name().unwrap_or("summary.json".as_ref());
    dir.join(format!("part-{}", part.word())).join(file)
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

/// Prints it, and leaves it in a folder with its rounds and its plots.
fn keep(summary: &Summary, out: &Path) -> Result<()> {
    let at = || format!("writing {}", out.display());
    let dir = out.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).with_context(at)?;
    std::fs::write(out.with_extension("md"), summary.markdown()).with_context(at)?;
    let rounds = serde_json::to_string_pretty(&summary.rounds())?;
    std::fs::write(out.with_file_name(draw::ROUNDS), rounds).with_context(at)?;
    std::fs::write(out, serde_json::to_string_pretty(summary)?).with_context(at)?;
    println!("{}\n\n{}", summary.table(), out.display());
    draw::run(out, dir)
}

/// Progress goes beside the results.
fn say(what: &str) {
    eprintln!("bench: {what}");
}
