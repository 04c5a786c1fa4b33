//! A State that begins anew in a new cluster: what a restore changes, so that nobody sees a number go back.
//!
//! Whatever happened behind the copy is unknown here, so every number leaps over it: revisions, epochs, placement
//! numbers, node ids. Who comes back by itself is decided here, too: principals stay, nodes and open tokens do not.
//!
//! ```text
//! snapshot's State + agents' records ─► judge ─► verdicts ─► leap ─► merge: one revision for each verdict
//! ```

mod bounds;
mod clash;
mod heard;
mod judge;
mod merge;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use clash::{Clash, Dispute};
pub use judge::{Fate, Verdict};

use serde::{Deserialize, Serialize};

use crate::access;
use crate::apply::Applied;
use crate::audit::{self, Shown};
use crate::command::Answer;
use crate::digest::{self, Hash};
use crate::event::Event;
use crate::ids::{Epoch, NodeId, PlacementNumber, Revision, Stamp, TenantId};
use crate::operation;
use crate::policy::{Role, Scope};
use crate::record::{Said, Statement};
use crate::refusal::Refusal;
use crate::secret::Sealed;
use crate::state::{Node, State};
use crate::tenant::Tenant;

/// Revisions that were never given: a restore leapt over them. Both ends are among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leap {
    pub from: Revision,
    pub to: Revision,
}

/// The least that numbers leap.
pub const LEAP_MIN: u64 = 1_000_000;
/// Node ids leap a thousandth of what revisions do: ids stay readable, and nodes do not join by the second.
const REVISIONS_PER_NODE: u64 = 1_000;

/// An order to begin anew. Ids and chance were chosen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// Of the new cluster; its name, and so every identity in it, stays.
    pub cluster_id: String,
    pub api_address: String,
    pub peer_address: String,
    /// Who is admin afterwards, whatever it was before.
    pub admin: String,
    pub salt: [u8; 16],
    /// Where the State came from, for the audit record.
    pub reason: String,
    /// What agents were told, as they kept it; each was verified before.
    pub heard: Vec<Statement>,
    /// For the audit records of tenants that come back, one for each that was told of.
    pub audit_keys: BTreeMap<TenantId, Sealed>,
    /// Salts of their records are drawn from it.
    pub seed: [u8; 16],
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The one node on the roll; its id was never used before.
    pub node: NodeId,
    /// The restore's own revision and record.
    pub applied: Applied,
    /// What agents' records changed, each at a revision of its own.
    pub verdicts: Vec<(Verdict, Applied)>,
    /// Tenants of the snapshot that no record speaks of, and no agent that should know them has told anything.
    pub unsaid: u64,
}

/// Makes the State the beginning of a new cluster. Operations go on where they are, and what was answered once is
/// still answered alike.
pub fn restore(state: &mut State, now: Stamp, order: Restore) -> Result<Restored, Refusal> {
    if state.cluster.id.is_empty() {
        return Err(Refusal::Unauthenticated(
            "of a cluster that was not founded".to_owned(),
        ));
    }
    if state.cluster.id == order.cluster_id {
        return Err(Refusal::AlreadyExists(format!("cluster {}", order.cluster_id)));
    }
    let told = order.heard.iter().filter_map(|heard| match &heard.said {
        Said::Hosts(hosted) => Some(&hosted.id),
        Said::Group(_) | Said::Gone(_) => None,
    });
    if let Some(id) = told.into_iter().find(|id| !order.audit_keys.contains_key(*id)) {
        return Err(Refusal::field("audit_keys", format!("lacks one for {id}")));
    }
    let at = now.max(state.clock);
    // Everything that could not be is found here, before anything is changed; below, no sum runs over.
    let leap = bounds::leap(state, at, &order.heard)?;
    let before = state.hash();
    let (gone, drafts) = judge::judge(state, &order.heard);
    let unsaid = judge::unsaid(state, &order.heard);
    let last = state.revision;
    let revision = Revision(last.0 + leap);
    state.leaps.push(Leap {
        from: last.next(),
        to: Revision(revision.0 - 1),
    });
    // `admit` writes the revision after the present one.
    state.revision = Revision(revision.0 - 1);
    state.clock = at;
    state.cluster.id = order.cluster_id;

    operation::end_restored(state, at);
    fence_all(state, leap, revision);
    // A token that was spent behind the copy could be spent again.
    state.tokens = Default::default();
    let node = change_nodes(state, at, leap, order.api_address, order.peer_address);
    access::admit(state, at, &order.admin, Role::Admin, Scope::Fleet);

    state.revision = revision;
    let after = digest::of(&(&state.cluster.id, node, &order.admin));
    let record = record(state, at, order.salt, order.reason, before, after);
    let applied = Applied {
        revision,
        outcome: Ok(Answer::Done),
        events: [Event::Node].into(),
        record: Some(record.into()),
        retired: Vec::new(),
    };
    // Ids that were used and are gone again are never used a second time.
    for id in gone {
        state.tombstones.insert(id, at);
    }
    let drawn = merge::Drawn {
        keys: &order.audit_keys,
        seed: order.seed,
    };
    let verdicts = merge::write(state, at, leap, drafts, &drawn);
    Ok(Restored {
        node,
        applied,
        verdicts,
        unsaid,
    })
}

/// Agents turn orders of older epochs away, and clients compare placement numbers before epochs.
fn fence_all(state: &mut State, leap: u64, revision: Revision) {
    for group in state.groups.clone().values() {
        let mut group = group.clone();
        group.epoch = Epoch(group.epoch.0 + leap);
        group.modified = revision;
        state.groups.insert(group.name.clone(), group);
    }
    for tenant in state.tenants.clone().values() {
        let mut tenant = Tenant::clone(tenant);
        tenant.placement.number = PlacementNumber(tenant.placement.number.0 + leap);
        // Its placement changed: etags of the lost time fit nothing, and its agent is told anew.
        tenant.modified = revision;
        state.tenants.insert(tenant.id.clone(), Arc::new(tenant));
    }
}

fn change_nodes(state: &mut State, at: Stamp, leap: u64, api: String, peer: String) -> NodeId {
    for id in state.nodes.clone().keys() {
        let principal = format!("spiffe://{}/node/{id}", state.cluster.name);
        if let Some(mut known) = state.principals.get(&principal).cloned() {
            known.revoked = true;
            known.rev += 1;
            known.modified = state.revision.next();
            state.principals.insert(principal, known);
        }
    }
    state.nodes = Default::default();
    let id = NodeId(state.next_node.0 + leap / REVISIONS_PER_NODE);
    state.next_node = id.next();
    let node = Node {
        id,
        api,
        peer,
        joined: at,
    };
    state.nodes.insert(id, node);
    let principal = format!("spiffe://{}/node/{id}", state.cluster.name);
    access::admit(state, at, &principal, Role::Node, Scope::Fleet);
    id
}

fn record(
    state: &mut State,
    at: Stamp,
    salt: [u8; 16],
    reason: String,
    before: Hash,
    after: Hash,
) -> audit::Record {
    let shard = "fleet".to_owned();
    let mut head = state.heads.get(shard.as_str()).copied().unwrap_or_default();
    let shown = Shown {
        version: 0,
        shard: shard.clone(),
        sequence: 0,
        stamp: at,
        revision: state.revision,
        actor: "founder".to_owned(),
        certificate: None,
        action: "cluster.restore".to_owned(),
        resource: "cluster".to_owned(),
        outcome: "done".to_owned(),
        reason,
        request_id: String::new(),
        trace_id: String::new(),
        before: digest::of_bytes(&[&salt, &before]),
        after: digest::of_bytes(&[&salt, &after]),
        salt,
        personal: Vec::new(),
        previous: [0; 32],
    };
    let record = audit::append(&mut head, shown);
    state.heads.insert(shard.into(), head);
    record
}
