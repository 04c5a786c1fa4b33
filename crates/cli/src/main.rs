//! `reeve`: the command line.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    // A second installation is refused and changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    start_logs();
    reeve_cli::app::run(std::env::args_os()).await
}

/// Logs are for those who ask for them with REEVE_LOG.
fn start_logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("REEVE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // It fails only when logging has been started before.
    let _ = logs.try_init();
}
