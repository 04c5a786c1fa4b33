//! `reeve-registry`: one node of the roll.

use std::io;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use reeve_registry::threads::Threads;
use reeve_registry::{backup, config, join, mutant, node, rejoin, release, telemetry};
use rustix::process::{Resource, Rlimit, setrlimit};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One node of the registry.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  reeve-registry --config n1/registry.toml\n  reeve-registry --config n2/registry.toml join --token-file n2.token\n  reeve-registry --config n2/registry.toml rejoin --token-file n2.token\n  reeve-registry --config n1/registry.toml config print --provenance"
)]
struct Cli {
    /// Settings in TOML.
    #[arg(long, env = "REEVE_REGISTRY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting on top of all others, for example --set raft.profile=wan.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run until told to stop (the default).
    Run,
    /// Get the first certificate with a join token.
    Join {
        /// The file that holds the token; tokens never belong on a command line.
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
    },
    /// Come back as a new node: set all data aside, and join with a token. For a node whose data was lost or damaged.
    Rejoin {
        /// The file that holds a new token for a node.
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
    },
    /// Work on snapshot files while no node runs; prints JSON. People use `reeve cluster snapshot` and `recover`.
    Snapshot {
        #[command(subcommand)]
        verb: backup::offline::Verb,
    },
    /// Look at the settings.
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
}

#[derive(Subcommand)]
enum ConfigVerb {
    /// Print all settings.
    Print {
        /// Say where each value came from.
        #[arg(long)]
        provenance: bool,
    },
}

fn offline(verb: backup::offline::Verb) -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let said = runtime.block_on(backup::offline::run(verb))?;
    println!("{said}");
    Ok(())
}

/// A process that dies leaves no copy of its memory behind: passwords and keys are in it.
fn leave_no_core() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}

/// The allocator spreads what it holds; a page of two megabytes for each place that is touched would be mostly empty, and
/// filling all of them with zeroes takes a third of a start.
fn use_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        eprintln!("huge pages cannot be declined, which costs memory and nothing else: {error}");
    }
}

fn main() -> anyhow::Result<()> {
    use_small_pages();
    let cli = Cli::parse();
    leave_no_core().context("limiting core files")?;
    mutant::check(std::env::var("REEVE_MUTANT").ok().as_deref()).map_err(anyhow::Error::msg)?;
    release::check_pretence(std::env::var("REEVE_PRETEND_VERSION").ok().as_deref())
        .map_err(anyhow::Error::msg)?;
    if let Some(Verb::Snapshot { verb }) = cli.verb {
        return offline(verb);
    }
    let file = cli
        .config
        .context("--config FILE is missing; it names the node's settings")?;
    let layered = config::load(&file, std::env::vars(), &cli.set)?;
    if let Some(Verb::Config {
        verb: ConfigVerb::Print { provenance },
    }) = cli.verb
    {
        print!("{}", layered.print(provenance)?);
        return Ok(());
    }
    telemetry::init(&layered.config.logs)?;
    // Only the first call counts, and there is only one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = layered.config;
    let threads = Threads::begin(config.worker_threads(), config.runtime.consensus_thread)?;
    match cli.verb {
        Some(Verb::Join { token_file }) => {
            let joined = threads.run(join::join(&config, &token_file))?;
            println!("joined as node {}", joined.id);
            Ok(())
        }
        Some(Verb::Rejoin { token_file }) => {
            let done = threads.run(rejoin::rejoin(&config, &token_file))?;
            tell_rejoined(&done);
            Ok(())
        }
        _ => {
            let consensus = threads.of_consensus();
            threads.run(node::run(config, consensus))
        }
    }
}

fn tell_rejoined(done: &rejoin::Rejoined) {
    let was = done
        .was
        .map(|was| format!(" (it was node {was})"))
        .unwrap_or_default();
    println!("joined as node {}{was}", done.id);
    println!("what it had before is kept in {}", done.quarantine.display());
    if let Some(was) = done.was.filter(|_| done.is_listed) {
        println!("node {was} is still on the roll; an admin takes it off: reeve cluster remove-node {was}");
    }
    println!("start it as before");
}
