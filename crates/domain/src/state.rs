//! Everything the registry knows. A clone costs nothing.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::access::{JoinToken, Principal};
use crate::alert::Alert;
use crate::audit::Head;
use crate::credential::Holding;
use crate::digest::{self, Hash};
use crate::group::{Group, Region};
use crate::ids::{AlertId, FindingId, NodeId, OperationId, Revision, Stamp, TenantId, TokenId};
use crate::isolation::Finding;
use crate::operation::{self, Limits, Operation, Priority};
use crate::refusal::Refusal;
use crate::request::Requests;
use crate::restore::Leap;
use crate::secret::Sealed;
use crate::tenant::{Class, Status, Tenant};
use crate::words::{Claim, Name};

/// The registry's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub revision: Revision,
    /// The highest stamp applied.
    pub clock: Stamp,
    pub cluster: Cluster,
    pub policy_rev: u64,
    pub nodes: OrdMap<NodeId, Node>,
    pub next_node: NodeId,
    pub regions: OrdMap<Name, Region>,
    pub groups: OrdMap<Name, Group>,
    /// Shared, as operations are: a map copies its neighbours with each change.
    pub tenants: OrdMap<TenantId, Arc<Tenant>>,
    /// Ids that were used and never will be again.
    pub tombstones: OrdMap<TenantId, Stamp>,
    pub claims: OrdMap<Claim, TenantId>,
    /// Which databases a group holds.
    pub placed: OrdMap<Name, OrdSet<TenantId>>,
    pub operations: OrdMap<OperationId, Arc<Operation>>,
    /// Operations that are begun and have not ended.
    pub open: OrdSet<OperationId>,
    /// Operations whose turn has not come, in its order. Left out while there is none, as before there were turns.
    #[serde(default, skip_serializing_if = "OrdSet::is_empty")]
    pub queued: OrdSet<(Priority, Revision, OperationId)>,
    /// Ended operations by when they ended; the oldest leave for the archive.
    pub ended: OrdSet<(Stamp, OperationId)>,
    pub principals: OrdMap<String, Principal>,
    pub tokens: OrdMap<TokenId, JoinToken>,
    pub requests: Requests,
    /// Last record of each audit shard.
    pub heads: OrdMap<Arc<str>, Head>,
    /// Revisions that never were. Left out while there are none: every State before the first restore is as it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaps: Vec<Leap>,
    /// What audits found, open and lately closed. Left out while there is none, as before there were any.
    #[serde(default, skip_serializing_if = "OrdMap::is_empty")]
    pub findings: OrdMap<FindingId, Finding>,
    /// Who was given a tenant's password. Left out while there is nobody, as before it was written down.
    #[serde(default, skip_serializing_if = "OrdMap::is_empty")]
    pub holders: OrdMap<TenantId, Vec<Holding>>,
    /// What somebody should know of, now and lately. Left out while there is nothing, as before there were alerts.
    #[serde(default, skip_serializing_if = "OrdMap::is_empty")]
    pub alerts: OrdMap<AlertId, Alert>,
    /// The webhook knows of every turn of an alert up to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts_told: Option<Revision>,
}

/// The cluster itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub name: String,
    pub id: String,
    /// Commands above this version are not proposed.
    pub version: u32,
    pub root_ca_pem: String,
    pub issuing_chain_pem: String,
    pub issuing_key: Option<Sealed>,
    pub audit_key: Option<Sealed>,
    /// Since when it is written down who was given a password. Left out where it always was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holders_since: Option<Stamp>,
    /// How many operations may be at work at once, where it is not as by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

impl Cluster {
    /// How many operations may be at work at once.
    pub fn operation_limits(&self) -> Limits {
        self.limits.unwrap_or_default()
    }
}

/// A registry node on the roll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub id: NodeId,
    pub api: String,
    pub peer: String,
    pub joined: Stamp,
}

/// Ended operations that stay in State.
pub const ENDED_MAX: usize = 1_000;

/// What a command touched; events and the audit record follow from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// False: the command was said before, or was true already. No revision, no record.
    pub happened: bool,
    pub resource: String,
    pub tenant: Option<TenantId>,
    pub operation: Option<OperationId>,
    pub group: Option<Name>,
}

impl Change {
    /// Nothing changed.
    pub fn none() -> Change {
        Change::default()
    }

    /// Something by this name changed.
    pub fn of(resource: String) -> Change {
        Change {
            happened: true,
            resource,
            ..Change::default()
        }
    }

    /// A tenant changed.
    pub fn tenant(id: &TenantId) -> Change {
        Change {
            tenant: Some(id.clone()),
            ..Change::of(format!("tenant/{id}"))
        }
    }

    /// A group changed.
    pub fn group(name: &Name) -> Change {
        Change {
            group: Some(name.clone()),
            ..Change::of(format!("group/{name}"))
        }
    }

    /// An operation changed with it.
    pub fn with_operation(mut self, id: &OperationId) -> Change {
        self.operation = Some(id.clone());
        self
    }

    /// A group changed with it.
    pub fn with_group(mut self, name: &Name) -> Change {
        self.group = Some(name.clone());
        self
    }
}

impl State {
    /// The same on every node that has applied the same log.
    pub fn hash(&self) -> Hash {
        digest::of(self)
    }

    /// A tenant by its id.
    pub fn tenant(&self, id: &TenantId) -> Result<&Tenant, Refusal> {
        self.tenants
            .get(id)
            .map(Arc::as_ref)
            .ok_or_else(|| Refusal::TenantNotFound(id.to_string()))
    }

    /// A tenant by its id or slug.
    pub fn find_tenant(&self, text: &str) -> Result<&Tenant, Refusal> {
        let by_id = TenantId::parse(text).ok().and_then(|id| self.tenants.get(&id));
        let by_slug = || {
            let slug = crate::words::Slug::parse(text).ok()?;
            self.tenants.get(self.claims.get(&Claim::Slug(slug))?)
        };
        by_id
            .or_else(by_slug)
            .map(Arc::as_ref)
            .ok_or_else(|| Refusal::TenantNotFound(text.to_owned()))
    }

    /// A group by its name.
    pub fn group(&self, name: &Name) -> Result<&Group, Refusal> {
        self.groups
            .get(name)
            .ok_or_else(|| Refusal::GroupNotFound(name.to_string()))
    }

    /// The group that an agent serves.
    pub fn group_of_agent(&self, agent: &Name) -> Option<&Group> {
        self.groups
            .values()
            .find(|g| g.members.iter().any(|m| &m.name == agent))
    }

    /// How many databases a group holds.
    pub fn databases_in(&self, group: &Name) -> usize {
        self.placed.get(group).map_or(0, OrdSet::len)
    }

    /// Whether a group is some tenant's own. Such a tenant is alone there, so a group that holds more is nobody's:
    /// placing asks this of every group, and must not go through all tenants for it.
    pub fn has_dedicated(&self, group: &Name) -> bool {
        let only = self.placed.get(group).filter(|held| held.len() == 1);
        only.and_then(|held| self.tenants.get(held.get_min()?))
            .is_some_and(|tenant| tenant.class == Class::Dedicated)
    }

    /// The operation that holds a tenant.
    pub fn holder(&self, tenant: &TenantId) -> Option<&Operation> {
        let held = self.tenants.get(tenant)?.operation.as_ref()?;
        self.operations.get(held).map(Arc::as_ref)
    }

    /// Operations that have not ended; those whose turn has not come are the last.
    pub fn open_operations(&self) -> impl Iterator<Item = &Operation> {
        self.begun_operations().chain(self.queued_operations())
    }

    /// Operations that are begun and have not ended.
    pub fn begun_operations(&self) -> impl Iterator<Item = &Operation> {
        self.open
            .iter()
            .filter_map(|id| self.operations.get(id).map(Arc::as_ref))
    }

    /// Operations whose turn has not come, the next one first.
    pub fn queued_operations(&self) -> impl Iterator<Item = &Operation> {
        let known = |id| self.operations.get(id).map(Arc::as_ref);
        self.queued.iter().filter_map(move |(_, _, id)| known(id))
    }

    /// Writes an operation down, among the open ones or the ended ones.
    pub(crate) fn store_operation(&mut self, operation: Operation) {
        let place = |operation: &Operation| {
            let entered = operation.entered.unwrap_or_default();
            (operation.priority, entered, operation.id.clone())
        };
        if let Some(former) = self.operations.get(&operation.id) {
            self.queued.remove(&place(former));
        }
        self.open.remove(&operation.id);
        match operation.ended {
            Some(ended) => {
                self.ended.insert((ended, operation.id.clone()));
            }
            None if operation.status == operation::Status::Queued => {
                self.queued.insert(place(&operation));
            }
            None => {
                self.open.insert(operation.id.clone());
            }
        }
        self.operations.insert(operation.id.clone(), Arc::new(operation));
    }

    pub(crate) fn add_tenant(&mut self, tenant: Tenant) {
        let mut placed = self
            .placed
            .get(&tenant.placement.group)
            .cloned()
            .unwrap_or_default();
        placed.insert(tenant.id.clone());
        self.placed.insert(tenant.placement.group.clone(), placed);
        self.tenants.insert(tenant.id.clone(), Arc::new(tenant));
    }

    /// Removes a tenant whose absence was proved, and only then frees its claims.
    pub(crate) fn remove_tenant(&mut self, id: &TenantId, at: Stamp) {
        let Some(tenant) = self.tenants.remove(id) else {
            return;
        };
        for claim in &tenant.claims {
            self.claims.remove(claim);
        }
        if let Some(mut placed) = self.placed.get(&tenant.placement.group).cloned() {
            placed.remove(id);
            self.placed.insert(tenant.placement.group.clone(), placed);
        }
        self.holders.remove(id);
        self.tombstones.insert(id.clone(), at);
    }

    pub(crate) fn edit_tenant(
        &mut self,
        id: &TenantId,
        at: Stamp,
        edit: impl FnOnce(&mut Tenant) -> Result<(), Refusal>,
    ) -> Result<Change, Refusal> {
        let mut tenant = self.tenant(id)?.clone();
        edit(&mut tenant)?;
        tenant.updated = at;
        tenant.modified = self.revision.next();
        self.tenants.insert(id.clone(), Arc::new(tenant));
        Ok(Change::tenant(id))
    }

    pub(crate) fn set_status(&mut self, id: &TenantId, at: Stamp, status: Status) -> Result<(), Refusal> {
        self.edit_tenant(id, at, |tenant| {
            tenant.status = status;
            Ok(())
        })
        .map(drop)
    }

    pub(crate) fn set_schema(
        &mut self,
        id: &TenantId,
        at: Stamp,
        version: u32,
        checksum: &str,
    ) -> Result<(), Refusal> {
        if checksum.len() > 128 {
            return Err(Refusal::field(
                "schema_checksum",
                "at most 128 characters are allowed",
            ));
        }
        self.edit_tenant(id, at, |tenant| {
            tenant.schema.applied = version;
            tenant.schema.checksum = checksum.to_owned();
            Ok(())
        })
        .map(drop)
    }

    /// The tenant's operation is over.
    pub(crate) fn free_tenant(&mut self, id: &TenantId, at: Stamp) {
        // A tenant that left with its operation has nothing to free.
        let _ = self.edit_tenant(id, at, |tenant| {
            tenant.operation = None;
            Ok(())
        });
    }
}
