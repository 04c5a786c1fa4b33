//! A running fleet and the handles to its parts.

mod builder;
mod grow;
mod recipe;
mod start;
mod supervise;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::join_all;
use reeve_client::v1::read_level::Level;
use reeve_client::v1::{CreateJoinTokenRequest, GetClusterRequest, GetClusterResponse, ReadLevel, Role};
use reeve_client::{Api, Credentials, JoinToken, KeyRequest, join};
use tokio::task::JoinHandle;
use tonic::Request;

pub use self::builder::{Builder, Restart};
use crate::agent::Agent;
use crate::hop::Hops;
use crate::init::IdentityFiles;
use crate::ledger::Ledger;
use crate::node::Node;
use crate::plan::Plan;
use crate::postgres::Postgres;
use crate::ready::until;

const LEADER_PATIENCE: Duration = Duration::from_secs(60);
/// The longest that a registry honours: on a slow machine a leader may have to be found first.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// Registry nodes, agents and PostgreSQL instances that live as long as this value.
pub struct Fleet {
    dir: PathBuf,
    plan: Plan,
    hops: Hops,
    nodes: Vec<Arc<Node>>,
    agents: Vec<Arc<Agent>>,
    admin: Credentials,
    api: Api,
    supervisor: Option<JoinHandle<()>>,
    ledger: Arc<Ledger>,
    recipe: recipe::Recipe,
}

impl Fleet {
    /// Begins a fleet of three nodes and one region in a temporary folder.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Where everything lives: configuration, identities, data, logs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn cluster(&self) -> &str {
        &self.plan.cluster
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// All links.
    pub fn hops(&self) -> &Hops {
        &self.hops
    }

    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// A node by its number, from 1.
    pub fn node(&self, id: u64) -> Result<&Node> {
        let found = self.nodes.iter().find(|node| node.id() == id);
        found
            .map(Arc::as_ref)
            .with_context(|| format!("there is no node {id}"))
    }

    pub fn agents(&self) -> &[Arc<Agent>] {
        &self.agents
    }

    pub fn agent(&self, name: &str) -> Result<&Agent> {
        let found = self.agents.iter().find(|agent| agent.name() == name);
        found
            .map(Arc::as_ref)
            .with_context(|| format!("there is no agent {name}"))
    }

    /// The PostgreSQL beside an agent.
    pub fn postgres(&self, name: &str) -> Result<&Postgres> {
        Ok(self.agent(name)?.postgres())
    }

    /// The API of every node, through hops.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address().to_owned()).collect()
    }

    /// An admin's calls to whichever node serves.
    pub fn api(&self) -> &Api {
        &self.api
    }

    pub fn admin(&self) -> &Credentials {
        &self.admin
    }

    /// The admin's identity on disk, for the command line.
    pub fn admin_files(&self) -> IdentityFiles {
        IdentityFiles::admin(&self.dir)
    }

    /// The node that leads, once a majority of those that run agrees on one that runs.
    pub async fn leader(&self) -> Result<&Node> {
        match until("a leader", LEADER_PATIENCE, async || self.leader_now().await).await {
            Ok(id) => self.node(id),
            Err(error) => Err(error.context(self.standing().await)),
        }
    }

    /// How each node sees the group, for whoever waited in vain.
    async fn standing(&self) -> String {
        let lines = self.nodes.iter().map(async |node| match node.is_running() {
            false => format!("node {} does not run", node.id()),
            true => match cluster(node).await {
                None => format!("node {} does not answer", node.id()),
                Some(seen) => {
                    let nodes = seen.nodes.iter().map(|one| (one.id, one.role()));
                    format!(
                        "node {}: term {}, leader {}, applied {}, nodes and roles {:?}",
                        node.id(),
                        seen.term,
                        seen.leader_id,
                        seen.applied_index,
                        nodes.collect::<Vec<_>>()
                    )
                }
            },
        });
        join_all(lines).await.join("; ")
    }

    async fn leader_now(&self) -> Result<Option<u64>> {
        let running: Vec<_> = self.nodes.iter().filter(|node| node.is_running()).collect();
        let views = join_all(running.iter().map(|node| view(node))).await;
        let newest = views.into_iter().flatten().max();
        let leader = newest
            .map(|(_, leader)| leader)
            .filter(|id| running.iter().any(|node| node.id() == *id));
        Ok(leader)
    }

    /// A join token; scopes are ids or slugs of tenants.
    pub async fn token(&self, role: Role, name: &str, region: &str, scope: &[&str]) -> Result<JoinToken> {
        let order = CreateJoinTokenRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            role: role.into(),
            name: name.to_owned(),
            region: region.to_owned(),
            tenants: scope.iter().map(|tenant| (*tenant).to_owned()).collect(),
            ..Default::default()
        };
        let mut order = Request::new(order);
        order.set_timeout(WRITE_PATIENCE);
        let answer = self.api.access().create_join_token(order).await;
        let answer = answer
            .with_context(|| format!("a join token for {name:?}"))?
            .into_inner();
        Ok(JoinToken::parse(&answer.token)?)
    }

    /// A new identity of this role, enrolled as on a real machine. An empty scope means the whole fleet.
    pub async fn enroll(&self, role: Role, name: &str, scope: &[&str]) -> Result<Credentials> {
        let token = self.token(role, name, "", scope).await?;
        let key = KeyRequest::generate()?;
        let enrolled = join::enroll(&self.addresses(), &token, &key).await?;
        Ok(enrolled.identity.credentials)
    }

    /// What a service uses: resolves, watches, opens pools; only for the tenants in its scope, if any is named.
    pub async fn service_client(&self, name: &str, scope: &[&str]) -> Result<reeve_client::Fleet> {
        let credentials = self.enroll(Role::Service, name, scope).await?;
        Ok(reeve_client::Fleet::builder()
            .nodes(self.addresses())
            .credentials(credentials)
            .build()?)
    }

    /// Lets everybody leave in order; a fleet with a folder of its own can come back from there.
    pub async fn shutdown(mut self) -> Result<()> {
        self.retire();
        for ended in join_all(self.agents.iter().map(|agent| agent.stop())).await {
            ended?;
        }
        for ended in join_all(self.nodes.iter().map(|node| node.stop())).await {
            ended?;
        }
        let instances: Vec<Postgres> = self.agents.iter().map(|agent| agent.postgres().clone()).collect();
        let stopping = instances
            .into_iter()
            .map(|pg| tokio::task::spawn_blocking(move || pg.stop_fast()));
        for stopped in join_all(stopping).await {
            stopped.context("stopping PostgreSQL")?;
        }
        Ok(())
    }

    /// From here on nobody is started again.
    fn retire(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.abort();
        }
        self.nodes.iter().for_each(|node| node.process().retire());
        self.agents.iter().for_each(|agent| agent.process().retire());
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.retire();
        let nodes = self.nodes.iter().map(|node| node.kill9());
        let agents = self.agents.iter().map(|agent| agent.kill9());
        for error in nodes.chain(agents).filter_map(Result::err) {
            tracing::warn!(%error, "a process could not be ended");
        }
        // A test that failed leaves its logs to whoever looks into it; REEVE_KEEP asks for them anyhow.
        let is_kept = std::thread::panicking() || std::env::var_os("REEVE_KEEP").is_some();
        if is_kept {
            eprintln!("what the fleet wrote is kept in {}", self.dir.display());
        }
        self.ledger.close(is_kept);
    }
}

/// A node's own opinion: its term and who leads in it.
async fn view(node: &Node) -> Option<(u64, u64)> {
    let cluster = cluster(node).await?;
    (cluster.leader_id != 0).then_some((cluster.term, cluster.leader_id))
}

/// The group as a node sees it by itself.
async fn cluster(node: &Node) -> Option<GetClusterResponse> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let level = ReadLevel {
        level: Some(Level::Stale(Default::default())),
    };
    let asked = GetClusterRequest {
        read: Some(level),
        ..Default::default()
    };
    let answer = tokio::time::timeout(PATIENCE, node.api().cluster().get_cluster(asked)).await;
    Some(answer.ok()?.ok()?.into_inner())
}
