//! The one place where openraft's types are chosen. No other room names them.

use std::fmt;

use bytes::Bytes;
use openraft::impls::leader_id_adv::LeaderId;
use reeve_domain::{Answer, Refusal, Revision};
use serde::{Deserialize, Serialize};

/// An encoded `reeve_domain::Entry`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload(#[serde(with = "serde_bytes_of")] pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Commands carry sealed secrets and names of hospitals; their size is all a log may say.
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

mod serde_bytes_of {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        serde_bytes::serialize(bytes.as_ref(), to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        serde_bytes::deserialize::<Vec<u8>, D>(from).map(Bytes::from)
    }
}

/// What applying an entry answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// State's revision after it.
    pub revision: Revision,
    pub outcome: Result<Answer, Refusal>,
}

openraft::declare_raft_types!(
    /// Our choice of types.
    pub TypeConfig:
        D = Payload,
        R = Committed,
        NodeId = u64,
        Node = openraft::BasicNode,
        AsyncRuntime = super::ground::Runtime,
);

pub(super) type C = TypeConfig;
pub(super) type Entry = openraft::alias::EntryOf<C>;
pub(super) type LogId = openraft::alias::LogIdOf<C>;
pub(super) type Vote = openraft::alias::VoteOf<C>;
pub(super) type StoredMembership = openraft::alias::StoredMembershipOf<C>;
pub(super) type SnapshotMeta = openraft::alias::SnapshotMetaOf<C>;
pub(super) type Metrics = openraft::RaftMetrics<C>;
pub(super) type Raft = openraft::Raft<C, super::machine::Machine>;

pub(super) fn log_id(term: u64, node: u64, index: u64) -> LogId {
    openraft::LogId::new(LeaderId { term, node_id: node }, index)
}
