//! `reeve-agent`: runs beside one PostgreSQL instance.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use reeve_agent::config::{self, LogFormat, Logs};
use reeve_agent::{agent, records};
use rustix::process::{Resource, Rlimit, setrlimit};
use tracing_subscriber::EnvFilter;

/// The agent beside one PostgreSQL instance.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  reeve-agent --config agent.toml join --token-file token\n  reeve-agent --config agent.toml\n  reeve-agent --config agent.toml records export vn-1.records\n  reeve-agent --config agent.toml config print --provenance"
)]
struct Cli {
    /// Settings in TOML.
    #[arg(long, env = "REEVE_AGENT_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// One setting on top of all others, for example --set postgres.port=5433.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run until told to stop (the default).
    Run,
    /// Get the first certificates with a join token.
    Join {
        /// The file that holds the token; tokens never belong on a command line.
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
    },
    /// The registry's records of what is hosted here.
    Records {
        #[command(subcommand)]
        verb: RecordsVerb,
    },
    /// Look at the settings.
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
}

#[derive(Subcommand)]
enum RecordsVerb {
    /// Write all of them to one file, for `reeve cluster snapshot restore --records`; no registry is asked.
    Export {
        /// Its name ends in .records
        file: PathBuf,
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

/// A process that dies leaves no copy of its memory behind, nor does its PostgreSQL: passwords and patients are in it.
fn leave_no_core() -> std::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    leave_no_core().context("limiting core files")?;
    let layered = config::load(&cli.config, &cli.set)?;
    if let Some(Verb::Config {
        verb: ConfigVerb::Print { provenance },
    }) = cli.verb
    {
        print!("{}", layered.print(provenance));
        return Ok(());
    }
    start_logs(&layered.config.logs)?;
    if let Some(Verb::Records {
        verb: RecordsVerb::Export { file },
    }) = &cli.verb
    {
        let count = records::export(&layered.config.data_dir, &layered.config.name, file)?;
        println!("{count} records in {}", file.display());
        return Ok(());
    }
    // Only the first call counts, and there is only one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    match cli.verb {
        Some(Verb::Join { token_file }) => runtime.block_on(agent::join(&layered.config, &token_file)),
        _ => runtime.block_on(agent::run(layered.config)),
    }
}

fn start_logs(logs: &Logs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&logs.filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match logs.format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.with_ansi(false).init(),
    }
    Ok(())
}
