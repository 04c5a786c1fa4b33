//! `reeve`: the command line for people.

use std::process::ExitCode;

use clap::Parser;
use reeve_cli::args::{Cli, Verb};
use reeve_cli::connect::Connection;
use reeve_cli::{audit, cluster, context, demo, dev, exit, group, op, resolve, tenant};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Only the first call counts, and there is only one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    start_logs();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { global, verb } = cli;
    let connect = || Connection::open(&global);
    match verb {
        Verb::Cluster { verb } => cluster::run(verb, &global).await,
        Verb::Tenant { verb } => tenant::run(verb, &connect()?).await,
        Verb::Resolve(args) => resolve::run(args, &connect()?).await,
        Verb::Op { verb } => op::run(verb, &connect()?).await,
        Verb::Group { verb } => group::run(verb, &connect()?).await,
        Verb::Audit { verb } => audit::run(verb, &global).await,
        Verb::Context { verb } => context::run(verb),
        Verb::Dev(args) => dev::run(args).await.map(|()| ExitCode::SUCCESS),
        Verb::Demo(args) => demo::run(args).await.map(|()| ExitCode::SUCCESS),
        Verb::Version => {
            println!("reeve {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn start_logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("REEVE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // It fails only when logging has been started before.
    let _ = logs.try_init();
}
