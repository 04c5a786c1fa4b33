//! The agent as a whole: joins when it must, starts PostgreSQL, keeps the link, stops in order.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use reeve_client::Api;
use reeve_proto::identity::record::Judge;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::config::Config;
use crate::disk;
use crate::fence::Fence;
use crate::host::{self, Host};
use crate::http;
use crate::identity::IdentityFiles;
use crate::journal::Journal;
use crate::link::Link;
use crate::names::Names;
use crate::perform::Performer;
use crate::records::{Keeper, Store};
use crate::rounds::{self, Hosted};
use crate::senses::health::Checker;
use crate::senses::isolation::Auditor;

const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// Joins with a token and says what came of it.
pub async fn join(config: &Config, token_file: &Path) -> anyhow::Result<()> {
    let token = std::fs::read_to_string(token_file)
        .with_context(|| format!("cannot read the join token in {}", token_file.display()))?;
    let files = IdentityFiles::of(&config.data_dir);
    if files.are_there() {
        bail!(
            "this agent has joined already; its identity is in {}",
            config.data_dir.join("identity").display()
        );
    }
    let joined = files
        .join(&config.registry.nodes, &token, &Names::of(config).wanted())
        .await?;
    println!("joined as {joined}");
    Ok(())
}

/// Runs until it is told to stop. PostgreSQL stops with it; after a SIGKILL the next life adopts it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let files = IdentityFiles::of(&config.data_dir);
    if !files.are_there() {
        bail!("this agent has no identity yet; run `reeve-agent --config … join --token-file …` first");
    }
    sweep(&config.data_dir).context("data_dir")?;
    files.finish()?;
    let credentials = files.credentials()?;
    let spiffe = credentials.spiffe();
    let name = match spiffe.kind() {
        reeve_proto::identity::Kind::Agent(name) => name,
        other => bail!("the certificate is of {other:?}, not of an agent"),
    };
    if *name != config.name {
        bail!(
            "name: the certificate is of agent {name}, the configuration says {}",
            config.name
        );
    }
    let host = Host::start(settings(&config, &files))
        .await
        .context("PostgreSQL did not start")?;
    info!(port = config.postgres.port, "PostgreSQL is up");

    let api = Api::connect(&config.registry.nodes, &credentials)?;
    let performer = Performer::new(
        host.clone(),
        Journal::open(&config.data_dir).context("the journal cannot be opened")?,
        Fence::open(&config.data_dir).context("the fence cannot be opened")?,
        config.schemas.clone(),
        Arc::new(api.clone()),
        config.allowed(),
    );
    let names = Names::of(&config);
    names.read(&files.postgres_pem()?);
    let judge = Judge::new(spiffe.cluster(), &files.root_pem()?).context("root.crt")?;
    let store = Store::open(&config.data_dir, &config.name, judge).context("the records cannot be opened")?;
    let keeper = Keeper::start(store).context("the records' thread cannot be started")?;
    let performer = Arc::new(performer);
    let hosted = Hosted {
        records: keeper.clone(),
        performer: performer.clone(),
    };
    let hosted = Arc::new(hosted);
    let auditor = Auditor::new(host.clone(), config.audit_plan(), hosted.clone());
    let checker = Checker::new(
        host.clone(),
        config.health_plan(),
        hosted.clone(),
        Arc::new(api.clone()),
    );
    let link = Link::new(
        api.clone(),
        performer.clone(),
        names.clone(),
        keeper,
        auditor.clone(),
        checker.clone(),
    );

    let http = http::serve(
        config.http.listen,
        host.clone(),
        link.clone(),
        auditor.clone(),
        config.health.tenant_metrics.then(|| checker.clone()),
    );
    tokio::spawn(async move {
        if let Err(error) = http.await {
            warn!(%error, "the door for probes and metrics is closed");
        }
    });
    tokio::spawn(files.keep_fresh(api, credentials, host.clone(), names));
    tokio::spawn(watch(host.clone()));
    tokio::spawn(rounds::run(auditor, performer, hosted));
    tokio::spawn(checker.run());
    tokio::spawn(link.run());

    wait_for_stop().await?;
    info!("stopping PostgreSQL");
    host.stop().await.context("PostgreSQL did not stop")?;
    Ok(())
}

/// Removes what was being written when the last life was cut off.
fn sweep(data_dir: &Path) -> io::Result<()> {
    for folder in ["", "identity", "doors", "journal", "records"] {
        match disk::sweep(&data_dir.join(folder)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Starts PostgreSQL again when it has died.
async fn watch(host: Host) {
    let mut beat = tokio::time::interval(WATCH_PERIOD);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        if let Err(error) = host.ensure_running().await {
            warn!(%error, "PostgreSQL is down and did not start");
        }
    }
}

async fn wait_for_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn settings(config: &Config, files: &IdentityFiles) -> host::Settings {
    let postgres = config.postgres.clone();
    host::Settings {
        bin_dir: postgres.bin_dir,
        data_dir: postgres.data_dir,
        socket_dir: postgres.socket_dir,
        listen: postgres.listen,
        port: postgres.port,
        run_as: postgres.run_as,
        state_dir: config.data_dir.join("doors"),
        tls: files.tls(),
        default_cidrs: config.default_cidrs(),
    }
}
