//! How a registry node is made: its configuration file, its program and what that is started with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use reeve_client::Credentials;
use toml::Table;

use crate::config::{Dial, Doors, NodeConfig};
use crate::ledger::Ledger;
use crate::node::{Node, Parts};
use crate::plan::{NodePlan, Plan, local};

/// What all nodes of a fleet are made of, kept for those that are added later.
pub(super) struct Recipe {
    pub(super) program: PathBuf,
    pub(super) settings: Table,
    /// Variables: for one node, or for all.
    pub(super) env: Vec<(Option<u64>, String, String)>,
}

impl Recipe {
    pub(super) fn make_all(
        &self,
        plan: &Plan,
        dir: &Path,
        admin: &Credentials,
        ledger: &Arc<Ledger>,
    ) -> Result<Vec<Arc<Node>>> {
        let nodes = plan.nodes.iter();
        nodes.map(|node| self.make(node, dir, admin, ledger)).collect()
    }

    pub(super) fn make(
        &self,
        node: &NodePlan,
        dir: &Path,
        admin: &Credentials,
        ledger: &Arc<Ledger>,
    ) -> Result<Arc<Node>> {
        let parts = Parts {
            id: node.id,
            program: &self.program,
            config: config_path(dir, node),
            dir,
            address: node.address(),
            http: local(node.http),
            admin,
            ledger: ledger.clone(),
            env: self.env_of(node.id),
        };
        Ok(Arc::new(Node::new(parts)?))
    }

    /// The file of a node that joins the others.
    pub(super) fn write_config(&self, plan: &Plan, node: &NodePlan, dir: &Path) -> Result<()> {
        let own = dir.join(format!("n{}", node.id));
        let others = plan.nodes.iter().filter(|other| other.id != node.id);
        let config = NodeConfig {
            cluster: plan.cluster.clone(),
            node_id: node.id,
            data_dir: own.join("data"),
            dir: own,
            listen: doors(node),
            advertise: dial(node),
            provider_key: dir.join("root.key"),
            peers: peers(node),
            seeds: others.map(NodePlan::address).collect(),
            settings: self.settings.clone(),
        };
        config.write(&config_path(dir, node)).map(drop)
    }

    fn env_of(&self, node: u64) -> Vec<(String, String)> {
        let meant = self
            .env
            .iter()
            .filter(|(who, ..)| who.is_none_or(|who| who == node));
        meant
            .map(|(_, key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

fn config_path(dir: &Path, node: &NodePlan) -> PathBuf {
    dir.join(format!("n{}/registry.toml", node.id))
}

pub(super) fn doors(node: &NodePlan) -> Doors {
    Doors {
        api: local(node.api),
        peer: local(node.peer),
        http: local(node.http),
    }
}

pub(super) fn dial(node: &NodePlan) -> Dial {
    Dial {
        api: node.address(),
        peer: local(node.peer),
    }
}

pub(super) fn peers(node: &NodePlan) -> Vec<(u64, String)> {
    node.peer_hops
        .iter()
        .map(|(id, port)| (*id, local(*port)))
        .collect()
}
