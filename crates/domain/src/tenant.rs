//! Tenants: customers whose data lives in a database of their own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::credential::{Credential, Slot};
use crate::digest::Memo;
use crate::group;
use crate::health::Unready;
use crate::ids::{OperationId, PlacementNumber, Revision, Stamp, TenantId};
use crate::isolation;
use crate::operation::{self, Kind, Opening, Turn};
use crate::refusal::Refusal;
use crate::restore::Dispute;
use crate::secret::Sealed;
use crate::state::{Change, State};
use crate::words::{Cidr, Claim, Name, Slug};

/// One tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    pub id: TenantId,
    pub slug: Slug,
    pub display_name: String,
    pub status: Status,
    pub access_mode: AccessMode,
    /// Where its data may be; the first one is home.
    pub regions: Vec<Name>,
    pub class: Class,
    /// The slug's claim among them.
    pub claims: Vec<Claim>,
    pub placement: Placement,
    pub schema: Schema,
    pub allowlist: Vec<Cidr>,
    pub connections_max: u32,
    pub settings: BTreeMap<String, Setting>,
    pub labels: BTreeMap<String, String>,
    pub credential: Credential,
    /// Encrypts personal fields of its audit records; destroying it erases them.
    pub audit_key: Sealed,
    pub legal_hold: bool,
    pub created: Stamp,
    pub updated: Stamp,
    pub modified: Revision,
    /// The operation that holds it.
    pub operation: Option<OperationId>,
    /// A restore found what does not fit: nobody is sent to it until a person has decided. Left out while there is
    /// none: every State before is as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispute: Option<Dispute>,
    /// Its services would not come in. Left out while they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unready: Option<Unready>,
    /// What its last change showed as, which is what the next one was before.
    #[serde(skip)]
    pub(crate) digest: Memo,
}

/// Where a tenant stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    Provisioning,
    Active,
    Suspended,
    Deleting,
    Failed,
}

impl Status {
    /// The word operators read.
    pub fn word(self) -> &'static str {
        match self {
            Status::Provisioning => "provisioning",
            Status::Active => "active",
            Status::Suspended => "suspended",
            Status::Deleting => "deleting",
            Status::Failed => "failed",
        }
    }
}

/// What its services may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessMode {
    ReadWrite,
    ReadOnly,
    Fenced,
}

/// Beside others, or alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    Shared,
    Dedicated,
}

impl Class {
    /// The word operators read.
    pub fn word(self) -> &'static str {
        match self {
            Class::Shared => "shared",
            Class::Dedicated => "dedicated",
        }
    }
}

/// Where its database is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    pub group: Name,
    pub number: PlacementNumber,
}

/// Which migrations it should have, and has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    pub channel: Name,
    /// 0: the newest that the agent holds.
    pub target: u32,
    pub applied: u32,
    pub checksum: String,
}

/// A typed value of a tenant's own settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setting {
    Bool(bool),
    Int(i64),
    Text(String),
}

impl Tenant {
    /// The login role in use.
    pub fn role(&self) -> String {
        format!("{}_{}", self.id, self.credential.active.letter())
    }

    /// Changes with every modification.
    pub fn etag(&self) -> String {
        format!("{}.{}", self.id, self.modified)
    }

    pub(crate) fn check_etag(&self, etag: &str) -> Result<(), Refusal> {
        if !etag.is_empty() && etag != self.etag() {
            return Err(Refusal::EtagMismatch(self.etag()));
        }
        Ok(())
    }

    /// When the credential in force was published.
    pub fn credential_published(&self) -> Stamp {
        self.credential.rotated.unwrap_or(self.created)
    }

    /// Refuses while something is done to it; what only waits for its turn is no hindrance.
    fn check_free(&self, is_begun: bool) -> Result<(), Refusal> {
        match self.operation.as_ref().filter(|_| is_begun) {
            Some(operation) => Err(Refusal::OperationInProgress {
                tenant: self.id.clone(),
                operation: operation.clone(),
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn wrong_state(&self, next: &str) -> Refusal {
        Refusal::WrongState {
            tenant: self.slug.to_string(),
            state: self.status.word().to_owned(),
            next: next.to_owned(),
        }
    }
}

/// An order to bring a tenant in. Ids and secrets were made before it was proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    pub id: TenantId,
    pub operation: OperationId,
    pub slug: Slug,
    pub display_name: String,
    pub regions: Vec<Name>,
    pub class: Class,
    /// Beside the slug.
    pub claims: Vec<Claim>,
    pub channel: Name,
    pub target: u32,
    pub allowlist: Vec<Cidr>,
    pub connections_max: u32,
    pub settings: BTreeMap<String, Setting>,
    pub labels: BTreeMap<String, String>,
    pub credential_a: Sealed,
    pub credential_b: Sealed,
    pub audit_key: Sealed,
    #[serde(default, skip_serializing_if = "Turn::is_plain")]
    pub turn: Turn,
}

/// Most claims one tenant may hold.
pub const CLAIMS_MAX: usize = 64;
/// Most address ranges one tenant may list.
pub const ALLOWLIST_MAX: usize = 256;
/// Most labels, and most settings.
pub const LABELS_MAX: usize = 64;

/// Reserves the claims, places the database and opens the onboarding operation, all in one change.
pub fn create(state: &mut State, at: Stamp, actor: &str, order: Create) -> Result<Change, Refusal> {
    check(state, &order)?;
    let Some(home) = order.regions.first().cloned() else {
        return Err(Refusal::field("region_policy.home", "is required"));
    };
    let group = group::place(state, &home, order.class)?.name.clone();

    let mut claims = vec![Claim::Slug(order.slug.clone())];
    claims.extend(order.claims);
    claims.sort();
    claims.dedup();
    for claim in &claims {
        if state.claims.contains_key(claim) {
            return Err(Refusal::ClaimTaken(claim.clone()));
        }
        state.claims.insert(claim.clone(), order.id.clone());
    }

    let tenant = Tenant {
        id: order.id.clone(),
        slug: order.slug,
        display_name: order.display_name,
        status: Status::Provisioning,
        access_mode: AccessMode::ReadWrite,
        regions: order.regions,
        class: order.class,
        claims,
        placement: Placement {
            group: group.clone(),
            number: PlacementNumber(1),
        },
        schema: Schema {
            channel: order.channel,
            target: order.target,
            applied: 0,
            checksum: String::new(),
        },
        allowlist: order.allowlist,
        connections_max: order.connections_max,
        settings: order.settings,
        labels: order.labels,
        credential: Credential {
            version: 1,
            active: Slot::A,
            a: order.credential_a,
            b: order.credential_b,
            rotated: None,
        },
        audit_key: order.audit_key,
        legal_hold: false,
        created: at,
        updated: at,
        modified: state.revision.next(),
        operation: Some(order.operation.clone()),
        dispute: None,
        unready: None,
        digest: Memo::default(),
    };
    state.add_tenant(tenant);
    let opening = Opening {
        id: order.operation,
        kind: Kind::Onboard,
        tenant: order.id,
        wanted: None,
        priority: order.turn.priority,
    };
    operation::open(state, at, actor, opening)
}

fn check(state: &State, order: &Create) -> Result<(), Refusal> {
    if state.tenants.contains_key(&order.id) || state.tombstones.contains_key(&order.id) {
        return Err(Refusal::AlreadyExists(format!("tenant {}", order.id)));
    }
    if state.operations.contains_key(&order.operation) {
        return Err(Refusal::AlreadyExists(format!("operation {}", order.operation)));
    }
    for region in &order.regions {
        if !state.regions.contains_key(region) {
            return Err(Refusal::RegionUnknown(region.clone()));
        }
    }
    let bounds = [
        ("claims", order.claims.len(), CLAIMS_MAX - 1),
        ("allowlist_cidrs", order.allowlist.len(), ALLOWLIST_MAX),
        ("labels", order.labels.len(), LABELS_MAX),
        ("settings", order.settings.len(), LABELS_MAX),
        ("display_name", order.display_name.len(), 200),
    ];
    for (field, got, max) in bounds {
        if got > max {
            return Err(Refusal::field(
                field,
                format!("has {got}; at most {max} are allowed"),
            ));
        }
    }
    if !(1..=1000).contains(&order.connections_max) {
        return Err(Refusal::field("limits.connections", "must be 1 to 1000"));
    }
    Ok(())
}

/// An order to change what has no effect outside the roll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    pub tenant: TenantId,
    pub etag: String,
    pub display_name: Option<String>,
    pub labels: Option<BTreeMap<String, String>>,
    pub settings: Option<BTreeMap<String, Setting>>,
}

/// Changes what the order names, and nothing else.
pub fn update(state: &mut State, at: Stamp, order: Update) -> Result<Change, Refusal> {
    for (field, len) in [
        ("labels", order.labels.as_ref().map_or(0, BTreeMap::len)),
        ("settings", order.settings.as_ref().map_or(0, BTreeMap::len)),
    ] {
        if len > LABELS_MAX {
            return Err(Refusal::field(
                field,
                format!("has {len}; at most {LABELS_MAX} are allowed"),
            ));
        }
    }
    state.edit_tenant(&order.tenant, at, |tenant| {
        tenant.check_etag(&order.etag)?;
        if let Some(name) = order.display_name {
            tenant.display_name = name;
        }
        if let Some(labels) = order.labels {
            tenant.labels = labels;
        }
        if let Some(settings) = order.settings {
            tenant.settings = settings;
        }
        Ok(())
    })
}

/// Stops resolving an active tenant.
pub fn suspend(state: &mut State, at: Stamp, id: &TenantId, etag: &str) -> Result<Change, Refusal> {
    let is_begun = operation::is_begun(state, id);
    state.edit_tenant(id, at, |tenant| {
        tenant.check_etag(etag)?;
        tenant.check_free(is_begun)?;
        if tenant.status != Status::Active {
            return Err(tenant.wrong_state("only an active tenant can be suspended"));
        }
        tenant.status = Status::Suspended;
        Ok(())
    })
}

/// Resolves a suspended tenant again. A dispute ends with it, and the tenant takes back the claims that it lost.
pub fn resume(state: &mut State, at: Stamp, id: &TenantId, etag: &str) -> Result<Change, Refusal> {
    let lost = state
        .tenant(id)?
        .dispute
        .clone()
        .map_or_else(Vec::new, |d| d.claims);
    if let Some(taken) = lost.iter().find(|claim| state.claims.contains_key(*claim)) {
        return Err(Refusal::ClaimTaken(taken.clone()));
    }
    let barred = isolation::bar(state, id).map(|finding| Refusal::NotIsolated {
        tenant: id.clone(),
        finding: finding.id.clone(),
        what: format!("{}: {}", finding.rule, finding.subject),
    });
    let is_begun = operation::is_begun(state, id);
    let change = state.edit_tenant(id, at, |tenant| {
        tenant.check_etag(etag)?;
        tenant.check_free(is_begun)?;
        let is_disputed = tenant.dispute.take().is_some();
        if tenant.status != Status::Suspended && !(is_disputed && tenant.status == Status::Active) {
            return Err(tenant.wrong_state("only a suspended tenant can be resumed"));
        }
        if let Some(refusal) = barred {
            return Err(refusal);
        }
        tenant.status = Status::Active;
        tenant.claims.extend(lost.iter().cloned());
        tenant.claims.sort();
        Ok(())
    })?;
    for claim in lost {
        state.claims.insert(claim, id.clone());
    }
    Ok(change)
}

/// An order to take a tenant out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    pub tenant: TenantId,
    pub operation: OperationId,
    pub etag: String,
    /// The slug, typed again.
    pub confirm: String,
    #[serde(default, skip_serializing_if = "Turn::is_plain")]
    pub turn: Turn,
}

/// Stops resolving the tenant and opens the offboarding operation.
pub fn delete(state: &mut State, at: Stamp, actor: &str, order: Delete) -> Result<Change, Refusal> {
    if state.operations.contains_key(&order.operation) {
        return Err(Refusal::AlreadyExists(format!("operation {}", order.operation)));
    }
    let tenant = state.tenant(&order.tenant)?;
    tenant.check_etag(&order.etag)?;
    let is_free = operation::is_free(state, tenant, order.turn)?;
    if order.confirm != tenant.slug.as_str() {
        return Err(Refusal::ConfirmationMissing(tenant.slug.to_string()));
    }
    if is_free {
        state.edit_tenant(&order.tenant, at, |tenant| {
            hold_to_delete(tenant, &order.operation)
        })?;
    }
    let opening = Opening {
        id: order.operation,
        kind: Kind::Offboard,
        tenant: order.tenant,
        wanted: None,
        priority: order.turn.priority,
    };
    operation::open(state, at, actor, opening)
}

/// It has its tenant now, if that may go. It is served until its turn comes.
pub(crate) fn hold_to_delete(tenant: &mut Tenant, operation: &OperationId) -> Result<(), Refusal> {
    if tenant.legal_hold {
        return Err(tenant.wrong_state("it is under a legal hold; lift that first"));
    }
    tenant.operation = Some(operation.clone());
    Ok(())
}
