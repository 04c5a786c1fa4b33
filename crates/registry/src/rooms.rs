//! The handles that every door works with: cheap to clone, all of one node.

use std::sync::Arc;

use reeve_domain::NodeId;
use reeve_domain::health::Terms;
use reeve_proto::identity::Credentials;

use crate::archive::Archive;
use crate::authority::Authority;
use crate::consensus::Consensus;
use crate::hub::Hub;
use crate::pilot::{SightingsBoard, VitalsBoard};
use crate::telemetry::Metrics;

/// The rooms of one node.
#[derive(Clone)]
pub struct Rooms {
    /// Proposals, reads, leadership.
    pub consensus: Consensus,
    /// What changed, in order.
    pub hub: Hub,
    /// What has left State: audit records, ended operations, old events.
    pub archive: Archive,
    /// Seals secrets and signs certificates.
    pub authority: Authority,
    pub metrics: Arc<Metrics>,
    /// Who was heard lately.
    pub sightings: SightingsBoard,
    /// How databases fare.
    pub vitals: VitalsBoard,
    /// How old what is trusted may be.
    pub terms: Terms,
    /// Signs what this node says to agents, with its own key.
    pub signer: Credentials,
    pub node_id: NodeId,
    /// The cluster's name, which is the trust domain.
    pub cluster: String,
}
