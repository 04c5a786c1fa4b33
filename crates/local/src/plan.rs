//! Who listens where: drawn once, and kept with a fleet that shall come back at the same addresses.

use std::collections::{BTreeMap, VecDeque};
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
const PORTS_PATIENCE: Duration = Duration::from_secs(30);

/// All ports of a fleet, by party.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) cluster: String,
    pub(crate) nodes: Vec<NodePlan>,
    /// Nodes that may be added: the others know already where they would reach them.
    #[serde(default)]
    pub(crate) spares: VecDeque<NodePlan>,
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
    pub(crate) fn draw(cluster: &str, nodes: u64, spares: u64, regions: &[String]) -> Result<Plan> {
        let all = nodes + spares;
        ensure!(
            nodes > 0 && all <= NODES_MAX,
            "{nodes} nodes and {spares} to be added: between 1 and {NODES_MAX} are possible"
        );
        let per_node = usize::try_from(4 + all - 1)?;
        let per_agent = usize::try_from(3 + nodes)?;
        let count = usize::try_from(all)? * per_node + regions.len() * per_agent;
        let mut free = ports::free(count)?.into_iter();
        let mut next = || free.next().context("ports ran out");
        let mut plan = Plan {
            cluster: cluster.to_owned(),
            nodes: Vec::new(),
            spares: VecDeque::new(),
            agents: Vec::new(),
        };
        for id in 1..=all {
            let others = (1..=all).filter(|other| *other != id);
            let node = NodePlan {
                id,
                api: next()?,
                peer: next()?,
                http: next()?,
                client_hop: next()?,
                peer_hops: others.map(|other| Ok((other, next()?))).collect::<Result<_>>()?,
            };
            match id <= nodes {
                true => plan.nodes.push(node),
                false => plan.spares.push_back(node),
            }
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
        for node in self.nodes.iter_mut().chain(&mut self.spares) {
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
        let api_of = self.api_ports();
        let mut links: Vec<Link> = self.nodes.iter().flat_map(|node| self.links_from(node)).collect();
        for agent in &self.agents {
            let name = &agent.name;
            links.push((format!("client->pg {name}"), agent.client_hop, agent.postgres));
            for (id, port) in &agent.node_hops {
                let Some(api) = api_of.get(id) else { continue };
                links.push((format!("agent {name}->n{id}"), *port, *api));
            }
        }
        open(&mut hops, links).await?;
        Ok(hops)
    }

    /// Makes a node of the next spare one, with hops to the others and from them.
    pub(crate) async fn take_spare(&mut self, hops: &mut Hops) -> Result<NodePlan> {
        let node = self.spares.pop_front().context(
            "no further node was planned for; ask for more with Builder::spares before the fleet is made",
        )?;
        self.nodes.push(node.clone());
        let towards = self.nodes.iter().filter(|other| other.id != node.id);
        let links = towards.filter_map(|other| link(other, &node));
        let links = links.chain(self.links_from(&node)).collect();
        open(hops, links).await?;
        Ok(node)
    }

    /// Forgets a node that is gone for good.
    pub(crate) fn forget(&mut self, id: u64) {
        self.nodes.retain(|node| node.id != id);
    }

    /// The way to its API, and the ways from it to the others that are there.
    fn links_from(&self, node: &NodePlan) -> Vec<Link> {
        let client = (format!("client->n{}", node.id), node.client_hop, node.api);
        let others = self.nodes.iter().filter(|other| other.id != node.id);
        let peers = others.filter_map(|other| link(node, other));
        [client].into_iter().chain(peers).collect()
    }

    fn ports(&self) -> Vec<u16> {
        let mut ports = Vec::new();
        for node in self.nodes.iter().chain(&self.spares) {
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

/// A hop's name, where it listens and where it leads.
type Link = (String, u16, u16);

fn link(from: &NodePlan, to: &NodePlan) -> Option<Link> {
    let port = from.peer_hops.get(&to.id)?;
    Some((format!("n{}->n{}", from.id, to.id), *port, to.peer))
}

async fn open(hops: &mut Hops, links: Vec<Link>) -> Result<()> {
    for (name, port, target) in links.into_iter().filter(|(_, port, target)| port != target) {
        hops.add(Hop::open(&name, port, target).await?);
    }
    Ok(())
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
        let plan = Plan::draw("dev", 3, 0, &["vn".to_owned(), "eu".to_owned()]).unwrap();
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
        let plan = Plan::draw("dev", 3, 0, &["vn".to_owned()]).unwrap().direct();
        assert_eq!(plan.nodes[1].address(), local(plan.nodes[1].api));
        assert_eq!(plan.agents[0].node_hops[&3], plan.nodes[2].api);
        assert_eq!(plan.open_hops().await.unwrap().names().count(), 0);
    }

    #[tokio::test]
    async fn a_spare_node_gets_hops_both_ways_and_one_that_is_gone_loses_them() {
        let mut plan = Plan::draw("dev", 2, 1, &[]).unwrap();
        let mut hops = plan.open_hops().await.unwrap();
        assert_eq!(hops.names().count(), 4);
        let node = plan.take_spare(&mut hops).await.unwrap();
        assert_eq!(node.id, 3);
        for name in ["n1->n3", "n3->n1", "n2->n3", "n3->n2", "client->n3"] {
            assert!(hops.get(name).is_ok(), "{name}");
        }
        assert!(plan.take_spare(&mut hops).await.is_err(), "no more were planned");
        plan.forget(1);
        hops.drop_around("n1");
        assert_eq!(hops.names().count(), 4);
    }

    #[test]
    fn a_plan_comes_back_as_it_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Plan::load(dir.path()).unwrap().is_none());
        let plan = Plan::draw("dev", 1, 0, &["vn".to_owned()]).unwrap();
        plan.save(dir.path()).unwrap();
        assert_eq!(Plan::load(dir.path()).unwrap().unwrap().ports(), plan.ports());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Plan::draw("dev", 0, 2, &["vn".to_owned()]).is_err());
        assert!(Plan::draw("dev", 99, 0, &["vn".to_owned()]).is_err());
    }
}
