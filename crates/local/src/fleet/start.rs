//! The way up: first node, then everybody else at once, each by a token of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use reeve_client::v1::read_level::Level;
use reeve_client::v1::{GetClusterRequest, ListGroupsRequest, ReadLevel, Role, member, node};

use super::recipe::{Recipe, dial, doors, peers};
use super::{Builder, Fleet};
use crate::agent::Agent;
use crate::config::AgentConfig;
use crate::init::{InitOptions, Region, cluster_init};
use crate::ledger::Ledger;
use crate::node::Node;
use crate::plan::{AgentPlan, Plan, local};
use crate::ready::until;
use crate::{Binaries, os};

pub(super) const ADMIN: &str = "admin";
/// Far beyond what any stage needs on a loaded machine; a program that dies is noticed at once.
const PATIENCE: Duration = Duration::from_secs(60);

impl Builder {
    /// Makes the cluster, and what the other nodes must be given by hand.
    pub(super) fn found(&self, recipe: &Recipe, plan: &Plan, dir: &Path) -> Result<()> {
        let first = plan.nodes.first().context("a fleet without nodes")?;
        let region = |name: &String| Region {
            name: name.clone(),
            display_name: name.to_uppercase(),
        };
        cluster_init(&InitOptions {
            cluster: plan.cluster.clone(),
            dir: dir.to_owned(),
            admin: ADMIN.to_owned(),
            regions: self.regions.iter().map(region).collect(),
            listen: doors(first),
            advertise: dial(first),
            peers: peers(first),
            settings: recipe.settings.clone(),
        })?;
        for node in plan.nodes.iter().skip(1) {
            recipe.write_config(plan, node, dir)?;
        }
        Ok(())
    }

    pub(super) fn make_agents(
        &self,
        plan: &Plan,
        dir: &Path,
        binaries: &Binaries,
        ledger: &Arc<Ledger>,
    ) -> Result<Vec<Arc<Agent>>> {
        let make = |agent: &AgentPlan| {
            let config = self.agent_config(agent, dir);
            let log = dir.join(format!("agent-{}.log", agent.name));
            let made = Agent::new(&agent.region, &config, &binaries.agent, log, ledger.clone())?;
            for (key, value) in &self.agent_env {
                made.process().set_env(key, value);
            }
            Ok(Arc::new(made))
        };
        plan.agents.iter().map(make).collect()
    }

    fn agent_config(&self, agent: &AgentPlan, dir: &Path) -> AgentConfig {
        AgentConfig {
            name: agent.name.clone(),
            dir: dir.join(&agent.name),
            nodes: agent.node_hops.values().map(|port| local(*port)).collect(),
            port: agent.postgres,
            advertise_port: agent.client_hop,
            run_as: os::is_root().then(|| os::POSTGRES_USER.to_owned()),
            schemas: self.schemas.clone(),
            http: local(agent.http),
            settings: self.agent_settings.clone(),
        }
    }
}

impl Fleet {
    /// Brings a new fleet up.
    pub(super) async fn begin(&self, builder: &Builder) -> Result<()> {
        let begun = Instant::now();
        let first = self.node(1)?;
        first.start()?;
        self.wait_leader(first).await?;
        (builder.on_stage)("first node leads", begun.elapsed());
        self.plan.save(&self.dir)?;
        let agents = try_join_all(self.agents.iter().map(|agent| self.admit_agent(agent)));
        tokio::try_join!(self.admit_nodes(), agents)?;
        self.rise(builder, begun).await
    }

    /// Brings a fleet up that was there before.
    pub(super) async fn come_back(&self, builder: &Builder) -> Result<()> {
        let begun = Instant::now();
        for node in &self.nodes {
            node.start()?;
        }
        for agent in &self.agents {
            agent.start()?;
        }
        self.rise(builder, begun).await
    }

    /// One after the other, so that their numbers are those of the plan.
    async fn admit_nodes(&self) -> Result<()> {
        for node in self.nodes.iter().skip(1) {
            let token = self.token(Role::Node, "", "", &[]).await?;
            node.join(&token).await?;
            node.start()?;
        }
        Ok(())
    }

    async fn admit_agent(&self, agent: &Agent) -> Result<()> {
        let token = self.token(Role::Agent, agent.name(), agent.region(), &[]).await?;
        agent.join(&token).await?;
        agent.start()
    }

    async fn wait_leader(&self, node: &Node) -> Result<()> {
        until("the first node to lead", PATIENCE, async || {
            self.ensure_alive()?;
            let cluster = node
                .api()
                .cluster()
                .get_cluster(GetClusterRequest::default())
                .await?
                .into_inner();
            Ok((cluster.leader_id == node.id()).then_some(()))
        })
        .await?;
        self.ensure_alive()
    }

    /// Waits until every node votes and every agent serves: the fleet as it was after its start.
    pub async fn wait_whole(&self) -> Result<()> {
        tokio::try_join!(self.wait_nodes(), self.wait_agents()).map(drop)
    }

    async fn rise(&self, builder: &Builder, begun: Instant) -> Result<()> {
        let nodes = async {
            self.wait_nodes().await?;
            (builder.on_stage)(&format!("{} nodes vote", self.nodes.len()), begun.elapsed());
            Ok(())
        };
        let agents = async {
            self.wait_agents().await?;
            (builder.on_stage)(&format!("{} agents serve", self.agents.len()), begun.elapsed());
            Ok(())
        };
        tokio::try_join!(nodes, agents).map(drop)
    }

    pub(super) async fn wait_nodes(&self) -> Result<()> {
        try_join_all(self.nodes.iter().map(|node| self.wait_votes(node)))
            .await
            .map(drop)
    }

    /// Until this node itself knows a leader and counts everybody among the voters.
    async fn wait_votes(&self, node: &Node) -> Result<()> {
        until(
            &format!("node {} among the voters", node.id()),
            PATIENCE,
            async || {
                if let Err(dead) = self.ensure_alive() {
                    return Ok(Some(Err(dead)));
                }
                let level = ReadLevel {
                    level: Some(Level::Stale(Default::default())),
                };
                let asked = GetClusterRequest {
                    read: Some(level),
                    ..Default::default()
                };
                let cluster = node.api().cluster().get_cluster(asked).await?.into_inner();
                let votes = |n: &&reeve_client::v1::Node| {
                    matches!(n.role(), node::Role::Leader | node::Role::Follower)
                };
                let voters = cluster.nodes.iter().filter(votes).count();
                Ok((cluster.leader_id != 0 && voters == self.nodes.len()).then_some(Ok(())))
            },
        )
        .await?
    }

    /// Until the leader has heard of every agent that its PostgreSQL answers.
    async fn wait_agents(&self) -> Result<()> {
        until("every agent to serve", PATIENCE, async || {
            if let Err(dead) = self.ensure_alive() {
                return Ok(Some(Err(dead)));
            }
            let leader = self.leader_now().await?.context("nobody leads")?;
            let api = self.node(leader)?.api();
            let groups = api
                .groups()
                .list_groups(ListGroupsRequest::default())
                .await?
                .into_inner()
                .groups;
            let members: Vec<_> = groups.iter().flat_map(|group| &group.members).collect();
            let missing: Vec<&str> = (self.agents.iter())
                .filter(|agent| {
                    let own = members.iter().find(|member| member.name == agent.name());
                    own.is_none_or(|m| m.state() != member::State::Ready || m.last_seen.is_none())
                })
                .map(|agent| agent.name())
                .collect();
            ensure!(missing.is_empty(), "missing: {}", missing.join(", "));
            Ok(Some(Ok(())))
        })
        .await?
    }

    /// A program that died is told at once, with the end of its log.
    fn ensure_alive(&self) -> Result<()> {
        self.nodes
            .iter()
            .try_for_each(|node| node.process().ensure_running())?;
        self.agents
            .iter()
            .try_for_each(|agent| agent.process().ensure_running())
    }
}
