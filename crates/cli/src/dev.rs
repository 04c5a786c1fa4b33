//! `reeve dev`: a whole fleet on this machine, until Ctrl-C.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use reeve_local::{Fleet, Restart, examples_dir};
use tokio::signal::unix::{SignalKind, signal};

use crate::context;
use crate::demo::hospitals::{self, Hospital};
use crate::demo::live::Live;

/// The context that `reeve` uses from another terminal.
const CONTEXT: &str = "dev";

/// Options of the fleet.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Registry nodes
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub nodes: u64,
    /// Regions; each gets an agent with a PostgreSQL
    #[arg(long, value_delimiter = ',', default_value = "vn,eu", value_name = "NAMES")]
    pub regions: Vec<String>,
    /// Hospitals to onboard at the start
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub tenants: usize,
    /// Keep everything there; another start with the same folder goes on where this one ended
    #[arg(long, value_name = "DIR")]
    pub persist: Option<PathBuf>,
    /// Folder with the example schemas `ehr` and `ehr-broken`
    #[arg(long, value_name = "DIR")]
    pub examples: Option<PathBuf>,
}

/// Starts the fleet, waits for Ctrl-C, and takes everything away again.
pub async fn run(args: Args) -> Result<()> {
    let end = asked_to_end();
    tokio::pin!(end);
    let fleet = tokio::select! {
        started = start(&args) => started?,
        asked = &mut end => return asked,
    };
    let served = tokio::select! {
        settled = settle(&fleet, &args) => match settled {
            Ok(()) => end.await,
            failed => failed,
        },
        asked = &mut end => asked,
    };
    say!("\nstopping…");
    fleet.shutdown().await.context("stopping the fleet")?;
    match &args.persist {
        Some(dir) => say!("kept in {}", dir.display()),
        None => {
            context::forget(CONTEXT)?;
            say!("gone");
        }
    }
    served
}

/// Returns when a person or a service manager wants the end.
pub async fn asked_to_end() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

async fn start(args: &Args) -> Result<Fleet> {
    let examples = args.examples.clone().map_or_else(examples_dir, Ok)?;
    let mut builder = Fleet::builder()
        .nodes(args.nodes)
        .regions(args.regions.clone())
        .schema("ehr", examples.join("ehr"))
        .schema("ehr-broken", examples.join("ehr-broken"))
        .restart(Restart::Everybody)
        .on_stage(|stage, took| say!("  ✓ {stage:<24} {:>5.1} s", took.as_secs_f64()));
    if let Some(dir) = &args.persist {
        builder = builder.dir(dir);
    }
    builder.start().await.context("starting the fleet")
}

async fn settle(fleet: &Fleet, args: &Args) -> Result<()> {
    let mut wanted = hospitals::draw(args.tenants, &args.regions);
    let present = known(fleet).await?;
    wanted.retain(|hospital| !present.contains(&hospital.slug));
    if !wanted.is_empty() {
        let begun = Instant::now();
        hospitals::onboard_all(fleet.api(), &mut wanted, "ehr", &Live::new()).await?;
        say!(
            "  ✓ {:<24} {:>5.1} s",
            format!("{} tenants onboarded", wanted.len()),
            begun.elapsed().as_secs_f64()
        );
    }
    let files = fleet.admin_files();
    context::write(CONTEXT, &fleet.addresses(), &files.ca, &files.cert, &files.key)?;
    banner(fleet, &hospitals::draw(args.tenants, &args.regions));
    Ok(())
}

/// Tenants of an earlier run in the same folder.
async fn known(fleet: &Fleet) -> Result<Vec<String>> {
    let asked = reeve_client::v1::ListTenantsRequest {
        page_size: 1000,
        ..Default::default()
    };
    let listed = fleet.api().tenants().list_tenants(asked).await?.into_inner();
    Ok(listed.tenants.into_iter().map(|tenant| tenant.slug).collect())
}

fn banner(fleet: &Fleet, hospitals: &[Hospital]) {
    say!("\n  WARNING: for development only. Every key of this fleet is on this machine.\n");
    say!("  gRPC      {}", fleet.addresses().join("  "));
    for agent in fleet.agents() {
        let postgres = agent.postgres();
        say!(
            "  postgres  {} at 127.0.0.1:{}",
            agent.name(),
            postgres.advertised_port()
        );
    }
    say!("  files     {}", fleet.dir().display());
    say!("\n  Try in another terminal:");
    say!("    reeve cluster status");
    say!("    reeve tenant ls");
    if let Some(hospital) = hospitals.first() {
        say!("    reeve resolve {} --explain", hospital.domain);
    }
    let region = fleet.agents().first().map_or("vn", |agent| agent.region());
    say!("    reeve tenant create my-clinic --domain my-clinic.example --region {region} --channel ehr");
    say!("    reeve op ls");
    say!("    reeve audit tail");
    if let Some(agent) = fleet.agents().first() {
        say!("\n  As the owner of {}'s PostgreSQL:", agent.name());
        say!("    {}", agent.postgres().psql_hint());
    }
    say!("\n  Ctrl-C ends it.");
}
