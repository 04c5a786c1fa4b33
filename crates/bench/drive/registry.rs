//! Ours: three nodes as `cluster init` makes them, and tenants whose databases are only on the roll.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use reeve_bench::summary::Settings;
use reeve_cli::bench::target::Target;
use reeve_cli::bench::{resolve, write};
use reeve_client::v1::{ResolveRequest, Role, Tenant};
use reeve_client::{Credentials, reason, v1};
use reeve_local::{Binaries, Fleet, Node, hand, tenants, until};
use tokio::task::JoinSet;
use toml::Table;

pub const REGION: &str = "vn";
/// Agents that share the steps of onboarding; each reports one after the other.
const HANDS: usize = 4;
const CREATING: usize = 32;
const QUEUE_PAUSE: Duration = Duration::from_millis(100);
const ONBOARD_PATIENCE: Duration = Duration::from_secs(600);

pub struct Registry {
    fleet: Fleet,
    pub tenants: Vec<Tenant>,
    pub claims: Arc<[v1::Claim]>,
    pub changes: Arc<[v1::UpdateTenantRequest]>,
    _hands: JoinSet<()>,
}

impl Registry {
    pub async fn start(program: PathBuf, count: usize) -> Result<Registry> {
        let fleet = fleet(&program, "bench").await?;
        let hands = hand::region(&fleet, REGION, HANDS).await?;
        onboard(&fleet, count).await?;
        let target = Target::new(fleet.addresses(), fleet.admin().clone())?;
        let tenants = target.tenants().await?;
        ensure!(
            tenants.len() == count,
            "{} of {count} tenants are there",
            tenants.len()
        );
        Ok(Registry {
            claims: resolve::claims(&tenants),
            changes: write::changes(tenants.clone()),
            tenants,
            fleet,
            _hands: hands,
        })
    }

    /// Where calls go: the leader last, so that a single connection leads to a follower.
    pub async fn doors(&self) -> Result<Vec<String>> {
        let leader = self.fleet.leader().await?.address().to_owned();
        let mut doors = self.fleet.addresses();
        doors.sort_by_key(|door| *door == leader);
        Ok(doors)
    }

    /// The cluster as its admin calls it.
    pub async fn target(&self) -> Result<Target> {
        Ok(Target::new(self.doors().await?, self.fleet.admin().clone())?)
    }

    /// The cluster as somebody new calls it: what one has changed is remembered, and bounded.
    pub async fn target_as(&self, name: &str) -> Result<Target> {
        let credentials: Credentials = self.fleet.enroll(Role::Operator, name, &[]).await?;
        Ok(Target::new(self.doors().await?, credentials)?)
    }

    /// Its processes.
    pub fn pids(&self) -> Vec<i32> {
        self.fleet.nodes().iter().filter_map(|node| node.pid()).collect()
    }

    /// The node that leads.
    pub async fn leader(&self) -> Result<&Node> {
        self.fleet.leader().await
    }

    pub async fn wait_whole(&self) -> Result<()> {
        self.fleet.wait_whole().await
    }

    /// What one resolve brings, in bytes.
    pub async fn resolved(&self) -> Result<Vec<u8>> {
        let asked = ResolveRequest {
            claim: self.claims.first().cloned(),
            ..Default::default()
        };
        let answer = self.fleet.api().resolver().resolve(asked).await?.into_inner();
        Ok(answer.encode_to_vec())
    }

    /// What one change sends, in bytes.
    pub fn changed(&self) -> Vec<u8> {
        write::nth(&self.changes, 0).encode_to_vec()
    }

    pub async fn shutdown(self) -> Result<()> {
        self.fleet.shutdown().await
    }
}

/// Three nodes and nobody in them.
pub async fn fleet(program: &Path, cluster: &str) -> Result<Fleet> {
    ensure!(
        program.is_file(),
        "there is no {}; build it first",
        program.display()
    );
    let no_agents: [&str; 0] = [];
    let binaries = Binaries {
        registry: program.to_owned(),
        // No agent with a PostgreSQL is started.
        agent: PathBuf::new(),
    };
    let fleet = Fleet::builder()
        .cluster(cluster)
        .regions(no_agents)
        .node_settings(settings())
        .binaries(binaries)
        .direct();
    fleet.start().await.context("starting the registry")
}

/// Room for what a row says of failures.
pub fn failed(settings: Settings, ours: u64, peer: u64) -> Settings {
    Settings {
        failed: [ours, peer],
        ..settings
    }
}

fn settings() -> Table {
    let mut bench = Table::new();
    bench.insert("empty".into(), true.into());
    let mut settings = Table::new();
    settings.insert("bench".into(), bench.into());
    settings
}

async fn onboard(fleet: &Fleet, count: usize) -> Result<()> {
    // Hands that only say so bear more at once than an instance does.
    let limits = v1::SetOperationLimitsRequest {
        request_id: reeve_client::request_id(),
        limits: Some(v1::OperationLimits {
            per_server: 64,
            per_region: 1_000,
        }),
        instead_of: None,
    };
    fleet.api().operations().set_operation_limits(limits).await?;
    let create = |number| {
        let slug = format!("clinic-{number}");
        let order = tenants::order(&slug, &format!("{slug}.example"), REGION, "ehr");
        async move {
            loop {
                let asked = fleet.api().tenants().create_tenant(order.clone()).await;
                match asked {
                    Ok(_) => return Ok(()),
                    // As many wait for their turn as may.
                    Err(refused) if reason(&refused) == Some(v1::ErrorReason::QueueFull) => {
                        tokio::time::sleep(QUEUE_PAUSE).await;
                    }
                    Err(refused) => return Err(anyhow::Error::from(refused).context(slug)),
                }
            }
        }
    };
    stream::iter((0..count).map(create))
        .buffer_unordered(CREATING)
        .try_collect::<()>()
        .await?;
    let target = Target::new(fleet.addresses(), fleet.admin().clone())?;
    until("every tenant to be active", ONBOARD_PATIENCE, async || {
        let active = target.tenants().await?.len();
        ensure!(active == count, "{active} of {count} are active");
        Ok(Some(()))
    })
    .await
}
