//! ClusterService: the registry's own nodes.

use reeve_domain::access::{Expect, NodeAddresses};
use reeve_domain::command::Witness;
use reeve_domain::{Command, NodeId, Refusal, Versions};
use reeve_proto::convert::{self, BadField};
use reeve_proto::error::{self, Reason};
use reeve_proto::v1;
use reeve_proto::v1::cluster_service_server::ClusterService;
use tonic::{Request, Response, Status};

use crate::consensus::{NodeRole, NodeStatus, Stays, may_leave};
use crate::edge::desk::Desk;
use crate::edge::join::{self, Shown};
use crate::edge::read::{self, Level};
use crate::edge::{certificate, parse, snapshot, status, vitals};
use crate::policy::{self, Intent, LEADER_TRANSFER};

pub(super) struct Cluster {
    pub desk: Desk,
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    /// Answers from this node's memory unless more is asked: it is what one looks at when the rest is silent.
    async fn get_cluster(
        &self,
        request: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Stale)?;
        let reading = self.desk.read(&call, level).await?;
        policy::standing(&reading.state, &call.caller, call.action())?;
        let (told, state_hash) = match wire.with_state_hash {
            true => self
                .desk
                .hash(&reading.state)
                .await
                .map(|(of, hash)| (of, hex::encode(hash)))?,
            false => (reading.state.published(), String::new()),
        };
        let group = self.desk.rooms.consensus.status();
        let (state, mut freshness) = (&told.state, reading.freshness);
        freshness.revision = state.revision.0;
        Ok(Response::new(v1::GetClusterResponse {
            cluster: state.cluster.name.clone(),
            cluster_id: state.cluster.id.clone(),
            cluster_version: state.cluster.version,
            leader_id: group.leader.unwrap_or(0),
            term: group.term,
            applied_index: told.applied_index,
            nodes: group.nodes.iter().map(node).collect(),
            freshness: Some(freshness),
            state_hash,
            tenants: state.tenants.len() as u64,
            root_ca_pem: state.cluster.root_ca_pem.clone(),
            vitals: Some(vitals::of(&self.desk.rooms, &group)),
        }))
    }

    async fn join_node(
        &self,
        request: Request<v1::JoinNodeRequest>,
    ) -> Result<Response<v1::JoinNodeResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        parse::csr("csr_pem", &wire.csr_pem)?;
        let api = parse::address("api_address", wire.api_address)?;
        let peer = parse::address("peer_address", wire.peer_address)?;
        let asked = [wire.csr_pem.as_bytes(), api.as_bytes(), peer.as_bytes()];
        let shown = Shown::parse(&wire.token_id, &wire.token_secret, &asked, Expect::Node)?;
        let addresses = NodeAddresses {
            api: api.clone(),
            peer: peer.clone(),
            known: Versions {
                min: wire.version_min,
                max: wire.version_max,
            },
        };
        let joined = join::redeem(&self.desk, &call, shown.at(addresses)).await?;
        let principal = &joined.redeemed.principal;
        let chain = certificate::node(&self.desk, &call, principal, &wire.csr_pem, [&api, &peer]).await?;
        let Some(node_id) = joined.redeemed.node else {
            return Err(status::odd_answer("a node's token"));
        };
        Ok(Response::new(v1::JoinNodeResponse {
            node_id: node_id.0,
            cluster: joined.state.cluster.name.clone(),
            cluster_id: joined.state.cluster.id.clone(),
            certificate_chain_pem: chain,
            nodes: self
                .desk
                .rooms
                .consensus
                .status()
                .nodes
                .iter()
                .map(node)
                .collect(),
        }))
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let node = node_id("node_id", wire.node_id)?;
        let (state, consensus) = (self.desk.state(), &self.desk.rooms.consensus);
        let permit = policy::decide(&state, &call.caller, call.action(), None)?;
        let whole = format!("{}/{node}", state.cluster.name);
        parse::confirmed(&wire.confirm, &whole, "the cluster and the node")?;
        // Who answers and who has room is known to the leader alone.
        if !consensus.is_leader() {
            let removed = self.desk.at_leader(&call, &wire, |_| false).await?;
            // Who asks this node next finds it gone.
            self.desk.read(&call, Level::Linearizable).await?;
            return Ok(Response::new(removed));
        }
        // Until the answer is there: two that are each dispensable may not leave together.
        let turn = self.desk.turn_to_leave(&call).await?;
        // A request that comes again finds the node gone, and is answered as it was the first time.
        if self.desk.state().nodes.contains_key(&node) {
            may_leave(&consensus.voters_now(), node.0, wire.force).map_err(stays)?;
        }
        let intent = Intent::new(Command::RemoveNode { node }).once(key);
        self.desk.propose_in_turn(&call, permit, intent, &turn).await?;
        Ok(Response::new(v1::RemoveNodeResponse {}))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let consensus = &self.desk.rooms.consensus;
        let state = self.desk.state();
        let permit = policy::decide(&state, &call.caller, call.action(), None)?;
        if !consensus.is_leader() {
            // From now on it is known who leads: another leader afterwards is what was asked for.
            self.desk.read(&call, Level::Linearizable).await?;
            let is_heir = |leader: u64| [0, leader].contains(&wire.to_node_id);
            let handed = self.desk.at_leader(&call, &wire, is_heir).await?;
            return Ok(Response::new(handed));
        }
        if wire.to_node_id == consensus.node_id() {
            return Ok(Response::new(v1::TransferLeaderResponse {}));
        }
        let heir = match wire.to_node_id {
            0 => consensus.heir().ok_or_else(no_heir)?,
            id => voter(&consensus.status().nodes, id)?,
        };
        let witness = Witness {
            action: LEADER_TRANSFER.to_owned(),
            resource: format!("node/{heir}"),
            tenant: None,
            detail: format!("from node {}", self.desk.node_id()),
        };
        self.desk
            .propose(&call, permit, Intent::new(Command::Witness(witness)))
            .await?;
        let handed = consensus.transfer_leader(heir).await;
        handed.map_err(|error| status::internal("handing leadership over", &error))?;
        Ok(Response::new(v1::TransferLeaderResponse {}))
    }

    type SaveSnapshotStream = snapshot::Stream;

    async fn save_snapshot(
        &self,
        request: Request<v1::SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        let (call, _) = self.desk.admit(request)?;
        Ok(Response::new(snapshot::stream(&self.desk, &call).await?))
    }

    async fn renew_node(
        &self,
        request: Request<v1::RenewNodeRequest>,
    ) -> Result<Response<v1::RenewNodeResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        parse::csr("csr_pem", &wire.csr_pem)?;
        let state = self.desk.state();
        policy::standing(&state, &call.caller, call.action())?;
        let Some(id) = call.caller.node() else {
            return Err(error::status(
                Reason::PermissionDenied,
                "only a node renews here",
                &[],
            ));
        };
        let known = state.nodes.get(&NodeId(id));
        let known = known.ok_or_else(|| error::refusal(&Refusal::NodeNotFound(id)))?;
        let who = call.caller.id();
        let hosts = [known.api.as_str(), known.peer.as_str()];
        let chain = certificate::node(&self.desk, &call, who, &wire.csr_pem, hosts).await?;
        Ok(Response::new(v1::RenewNodeResponse {
            certificate_chain_pem: chain,
        }))
    }
}

fn node(status: &NodeStatus) -> v1::Node {
    let role = match status.role {
        NodeRole::Leader => v1::node::Role::Leader,
        NodeRole::Follower => v1::node::Role::Follower,
        NodeRole::Learner => v1::node::Role::Learner,
        NodeRole::Joining => v1::node::Role::Joining,
    };
    v1::Node {
        id: status.id,
        api_address: status.api.clone(),
        peer_address: status.peer.clone(),
        role: role as i32,
        matched_index: status.matched_index.unwrap_or(0),
        last_heard: status.heard.map(convert::time::duration),
    }
}

fn node_id(field: &str, id: u64) -> Result<NodeId, BadField> {
    match id {
        0 => Err(BadField::new(field, "is required")),
        id => Ok(NodeId(id)),
    }
}

fn voter(nodes: &[NodeStatus], id: u64) -> Result<u64, Status> {
    let Some(node) = nodes.iter().find(|node| node.id == id) else {
        return Err(error::refusal(&Refusal::NodeNotFound(id)));
    };
    match node.role {
        NodeRole::Leader | NodeRole::Follower => Ok(id),
        NodeRole::Learner | NodeRole::Joining => {
            let message = format!("node {id} has no vote yet; wait until it has caught up");
            Err(error::status(Reason::WrongState, message, &[]))
        }
    }
}

fn stays(why: Stays) -> Status {
    let reason = match why {
        Stays::LastVoter(_) => Reason::WrongState,
        Stays::NoQuorum { .. } | Stays::AnotherLeaves { .. } => Reason::QuorumAtRisk,
    };
    error::status(reason, why.to_string(), &[])
}

fn no_heir() -> Status {
    let message = "no other node has a vote; add one first";
    error::status(Reason::WrongState, message, &[])
}
