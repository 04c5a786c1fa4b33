//! The fleet under test: small, quick, and everything in it can be hurt.

use std::path::{Path, PathBuf};

use anyhow::Result;
use reeve_local::{Builder, Fleet, Restart};

/// The schema channel of every tenant here.
pub const CHANNEL: &str = "notes";
pub const REGIONS: [&str; 2] = ["vn", "eu"];

/// The folder of that channel.
pub fn schema() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schema")
}

/// Three nodes, two regions, agents that a service manager would start again.
pub fn builder() -> Builder {
    // The first test of the process sets it up; the others find it so.
    let filter = std::env::var("REEVE_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_test_writer()
        .try_init()
        .ok();
    Fleet::builder()
        .cluster("chaos")
        .regions(REGIONS)
        .schema(CHANNEL, schema())
        .restart(Restart::Agents)
}

/// Starts it.
pub async fn start() -> Result<Fleet> {
    builder().start().await
}
