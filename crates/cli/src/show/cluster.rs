//! The registry's own nodes.

use reeve_client::v1;
use serde::Serialize;

use super::{Freshness, Show, ago_ms, pairs, plain, table};

#[derive(Debug, Serialize)]
pub struct Cluster {
    pub cluster: String,
    pub cluster_id: String,
    pub leader_id: u64,
    pub term: u64,
    pub applied_index: u64,
    pub tenants: u64,
    pub state_hash: String,
    pub nodes: Vec<Node>,
    pub freshness: Freshness,
}

#[derive(Debug, Serialize)]
pub struct Node {
    pub id: u64,
    pub role: String,
    pub api_address: String,
    pub peer_address: String,
    pub matched_index: u64,
    pub last_heard_ms: Option<u64>,
}

impl From<v1::GetClusterResponse> for Cluster {
    fn from(cluster: v1::GetClusterResponse) -> Cluster {
        Cluster {
            cluster: cluster.cluster,
            cluster_id: cluster.cluster_id,
            leader_id: cluster.leader_id,
            term: cluster.term,
            applied_index: cluster.applied_index,
            tenants: cluster.tenants,
            state_hash: cluster.state_hash,
            nodes: cluster.nodes.into_iter().map(Node::from).collect(),
            freshness: Freshness::of(cluster.freshness),
        }
    }
}

impl From<v1::Node> for Node {
    fn from(node: v1::Node) -> Node {
        Node {
            role: plain(node.role().as_str_name(), "ROLE_"),
            id: node.id,
            api_address: node.api_address,
            peer_address: node.peer_address,
            matched_index: node.matched_index,
            last_heard_ms: node.last_heard.map(ago_ms),
        }
    }
}

impl Show for Cluster {
    fn table(&self) -> String {
        let leader = match self.leader_id {
            0 => "none known".to_owned(),
            id => format!("node {id}, term {}", self.term),
        };
        let about = pairs([
            ("cluster", self.cluster.clone()),
            ("id", self.cluster_id.clone()),
            ("leader", leader),
            (
                "applied",
                format!(
                    "index {}, revision {}",
                    self.applied_index, self.freshness.revision
                ),
            ),
            ("tenants", self.tenants.to_string()),
            ("answered by", format!("node {}", self.freshness.node_id)),
            ("state", self.state_hash.clone()),
        ]);
        let row = |node: &Node| {
            let known = |index: u64| {
                if index == 0 {
                    String::new()
                } else {
                    index.to_string()
                }
            };
            vec![
                node.id.to_string(),
                node.role.clone(),
                node.api_address.clone(),
                node.peer_address.clone(),
                known(node.matched_index),
                node.last_heard_ms
                    .map(|ms| format!("{ms} ms"))
                    .unwrap_or_default(),
            ]
        };
        let nodes = table(
            &["NODE", "ROLE", "API", "PEER", "HOLDS", "HEARD"],
            self.nodes.iter().map(row),
        );
        format!("{about}\n\n{nodes}")
    }
}
