//! A folder that begins with a State: the first and only member of a group that nobody else was ever in.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use openraft::BasicNode;
use openraft::Membership;
use openraft::storage::RaftLogStorage;
use reeve_domain::State;

use super::Fatal;
use super::folder::{self, Folder};
use super::log::LogStore;
use super::snapshot::SnapshotStore;
use super::types::{SnapshotMeta, StoredMembership, Vote, log_id};
use crate::vault::Sealer;

/// The new group's first term, in which the node made itself its leader, and its only entry: the State.
const TERM: u64 = 1;
const INDEX: u64 = 1;

/// Plants a State in a node's folder. The node starts from it as from any snapshot of its own.
pub async fn plant(
    data_dir: &Path,
    cluster: &str,
    node_id: u64,
    peer_address: &str,
    sealer: Sealer,
    state: &State,
) -> io::Result<()> {
    folder::make(data_dir, cluster, node_id)?;
    let _alone = Folder::take(data_dir, cluster, node_id)?;
    let at = log_id(TERM, node_id, INDEX);
    let alone = BTreeMap::from([(node_id, BasicNode::new(peer_address))]);
    let membership = Membership::new(vec![[node_id].into()], alone).map_err(io::Error::other)?;
    let meta = SnapshotMeta {
        last_log_id: Some(at),
        last_membership: StoredMembership::new(Some(at), membership),
    };
    let snapshots = SnapshotStore::open(data_dir.join("snapshots"), cluster, sealer.clone())?;
    snapshots.write(&meta, state, || Ok(()))?;
    // Failing is told by the results: nobody is served from here.
    let mut log = LogStore::open(data_dir, sealer, Fatal::new(|_| {}))?;
    log.purge(at).await?;
    // The vote's flush takes the purge along.
    let vote = Vote {
        leader_id: openraft::impls::leader_id_adv::LeaderId { term: TERM, node_id },
        committed: true,
    };
    log.save_vote(&vote).await
}
