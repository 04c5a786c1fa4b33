//! Who listens where: drawn once, and kept with a fleet that shall come back at the same addresses.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};

use crate::hop::{Hop, Hops};
use crate::ready::until;
use crate::{os, ports};

const FILE: &str = "fleet.json";
/// More than a machine would hold; a mistyped number is refused before it forks.
const NODES_MAX: u64 = 7;
const PORTS_PATIENCE: Duration = Duration::from_secs(5);

/// All ports of a fleet, by party.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) cluster: String,
    pub(crate) nodes: Vec<NodePlan>,
    pub(crate) agents: Vec<AgentPlan>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodePlan {
    pub(crate) id: u64,
    pub(crate) api: u16,
    pub(crate) peer: u16,
    pub(crate) http: u16,
    /// The hop from clients to its API.
    pub(crate) client_hop: u16,
    /// The hops from it to the other nodes.
    pub(crate) peer_hops: BTreeMap<u64, u16>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AgentPlan {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) http: u16,
    pub(crate) postgres: u16,
    /// The hop from clients to its PostgreSQL.
    pub(crate) client_hop: u16,
    /// The hops from it to the nodes.
    pub(crate) node_hops: BTreeMap<u64, u16>,
}

impl Plan {
    /// Draws free ports for a new fleet: one agent with one PostgreSQL in each region.
    pub(crate) fn draw(cluster: &str, nodes: u64, regions: &[String]) -> Result<Plan> {
        ensure!(
            (1..=NODES_MAX).contains(&nodes),
            "{nodes} nodes: between 1 and {NODES_MAX} are possible"
        );
        let per_node = usize::try_from(4 + nodes - 1)?;
        let per_agent = usize::try_from(3 + nodes)?;
        let count = usize::try_from(nodes)? * per_node + regions.len() * per_agent;
        let mut free = ports::free(count)?.into_iter();
        let mut next = || free.next().context("ports ran out");
        let mut plan = Plan {
            cluster: cluster.to_owned(),
            nodes: Vec::new(),
            agents: Vec::new(),
        };
        for id in 1..=nodes {
            let others = (1..=nodes).filter(|other| *other != id);
            plan.nodes.push(NodePlan {
                id,
                api: next()?,
                peer: next()?,
                http: next()?,
                client_hop: next()?,
                peer_hops: others.map(|other| Ok((other, next()?))).collect::<Result<_>>()?,
            });
        }
        for region in regions {
            plan.agents.push(AgentPlan {
                name: format!("{region}-1"),
                region: region.clone(),
                http: next()?,
                postgres: next()?,
                client_hop: next()?,
                node_hops: (1..=nodes).map(|id| Ok((id, next()?))).collect::<Result<_>>()?,
            });
        }
        Ok(plan)
    }

    /// Takes the hops out: everybody is reached where it listens.
    pub(crate) fn direct(mut self) -> Plan {
        let api_of = self.api_ports();
        for node in &mut self.nodes {
            node.client_hop = node.api;
            node.peer_hops.clear();
        }
        for agent in &mut self.agents {
            agent.client_hop = agent.postgres;
            agent.node_hops = api_of.clone();
        }
        self
    }

    fn api_ports(&self) -> BTreeMap<u64, u16> {
        self.nodes.iter().map(|node| (node.id, node.api)).collect()
    }

    /// The plan kept in a folder; none when there is no fleet yet.
    pub(crate) fn load(dir: &Path) -> Result<Option<Plan>> {
        let path = dir.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let plan = serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        Ok(Some(plan))
    }

    /// Waits until everybody could listen: a fleet that just ended takes a moment to let go.
    pub(crate) async fn wait_ports(&self) -> Result<()> {
        until("the ports this fleet was made with", PORTS_PATIENCE, async || {
            let taken = self.ports().into_iter().find(|port| !ports::is_free(*port));
            taken.map_or(Ok(Some(())), |port| Err(anyhow!("port {port} is in use")))
        })
        .await
    }

    /// Keeps it; from now on the folder holds a fleet.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        os::write(&dir.join(FILE), &serde_json::to_string_pretty(self)?)
    }

    /// Opens a hop for every link that has one.
    pub(crate) async fn open_hops(&self) -> Result<Hops> {
        let mut hops = Hops::default();
        let peer_of: BTreeMap<u64, u16> = self.nodes.iter().map(|node| (node.id, node.peer)).collect();
        let api_of = self.api_ports();
        let mut links = Vec::new();
        for node in &self.nodes {
            links.push((format!("client->n{}", node.id), node.client_hop, node.api));
            for (other, port) in &node.peer_hops {
                links.push((format!("n{}->n{other}", node.id), *port, peer_of[other]));
            }
        }
        for agent in &self.agents {
            let name = &agent.name;
            links.push((format!("client->pg {name}"), agent.client_hop, agent.postgres));
            for (id, port) in &agent.node_hops {
                links.push((format!("agent {name}->n{id}"), *port, api_of[id]));
            }
        }
        for (name, port, target) in links.into_iter().filter(|(_, port, target)| port != target) {
            hops.add(Hop::open(&name, port, target).await?);
        }
        Ok(hops)
    }

    fn ports(&self) -> Vec<u16> {
        let mut ports = Vec::new();
        for node in &self.nodes {
            ports.extend([node.api, node.peer, node.http, node.client_hop]);
            ports.extend(node.peer_hops.values());
        }
        for agent in &self.agents {
            ports.extend([agent.http, agent.postgres, agent.client_hop]);
            ports.extend(agent.node_hops.values());
        }
        ports
    }
}

impl NodePlan {
    /// Its API as everybody else reaches it.
    pub(crate) fn address(&self) -> String {
        local(self.client_hop)
    }
}

/// An address on the loopback.
pub(crate) fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_link_has_a_hop_and_every_port_is_its_own() {
        let plan = Plan::draw("dev", 3, &["vn".to_owned(), "eu".to_owned()]).unwrap();
        let mut ports = plan.ports();
        let count = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), count);
        let hops = plan.open_hops().await.unwrap();
        for name in [
            "n1->n2",
            "n3->n1",
            "client->n2",
            "agent vn-1->n3",
            "client->pg eu-1",
        ] {
            assert!(hops.get(name).is_ok(), "{name}");
        }
        assert_eq!(hops.names().count(), 6 + 3 + 6 + 2);
    }

    #[tokio::test]
    async fn a_direct_plan_has_no_hop_and_dials_the_doors_themselves() {
        let plan = Plan::draw("dev", 3, &["vn".to_owned()]).unwrap().direct();
        assert_eq!(plan.nodes[1].address(), local(plan.nodes[1].api));
        assert_eq!(plan.agents[0].node_hops[&3], plan.nodes[2].api);
        assert_eq!(plan.open_hops().await.unwrap().names().count(), 0);
    }

    #[test]
    fn a_plan_comes_back_as_it_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Plan::load(dir.path()).unwrap().is_none());
        let plan = Plan::draw("dev", 1, &["vn".to_owned()]).unwrap();
        plan.save(dir.path()).unwrap();
        assert_eq!(Plan::load(dir.path()).unwrap().unwrap().ports(), plan.ports());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Plan::draw("dev", 0, &["vn".to_owned()]).is_err());
        assert!(Plan::draw("dev", 99, &["vn".to_owned()]).is_err());
    }
}
