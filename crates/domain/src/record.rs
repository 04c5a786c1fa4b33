//! What the registry says to an agent of what it hosts: signed, kept there word for word, and told back when the
//! registry is lost.
//!
//! Deliberately absent: display names, labels, and the key of a tenant's audit records, which must stay destroyable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::credential::Credential;
use crate::group::{Group, Region};
use crate::ids::{Revision, Stamp, TenantId};
use crate::state::State;
use crate::tenant::{AccessMode, Class, Placement, Schema, Setting, Status, Tenant};
use crate::words::{Cidr, Claim, Name, Slug};

/// The layout that is written today.
pub const FORMAT: u32 = 1;

/// No number that was ever said is larger: a registry that counts a million a second is there after 140 years.
pub const NUMBER_MAX: u64 = 1 << 52;

/// A number that no registry gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its {what} is {number}, and no registry comes beyond {NUMBER_MAX}: it was forged, or its registry was broken"
)]
pub struct Absurd {
    pub what: &'static str,
    pub number: u64,
}

/// One thing that the registry said to one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    pub format: u32,
    pub cluster: String,
    pub cluster_id: String,
    /// To whom it was said.
    pub agent: Name,
    /// Of what it says; of two on one subject the newer holds.
    pub revision: Revision,
    /// When it was said.
    pub at: Stamp,
    pub said: Said,
}

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// The agent's own group.
    Group(Box<Hosting>),
    /// A tenant is placed on the agent's group.
    Hosts(Box<Hosted>),
    /// It is not any more, and never will be again under this id.
    Gone(TenantId),
}

/// A group and its region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hosting {
    pub group: Group,
    pub region: Region,
}

/// What is needed to resolve a tenant again. Its database carries its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hosted {
    pub id: TenantId,
    pub slug: Slug,
    pub status: Status,
    pub access_mode: AccessMode,
    pub regions: Vec<Name>,
    pub class: Class,
    pub claims: Vec<Claim>,
    pub placement: Placement,
    pub schema: Schema,
    pub allowlist: Vec<Cidr>,
    pub connections_max: u32,
    pub settings: BTreeMap<String, Setting>,
    pub credential: Credential,
    pub legal_hold: bool,
    pub created: Stamp,
}

/// Whom a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    Group(Name),
    Tenant(TenantId),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Group(name) => write!(f, "group/{name}"),
            Subject::Tenant(id) => write!(f, "tenant/{id}"),
        }
    }
}

impl Statement {
    /// Whether its numbers can be: one from beyond would leave no room for all that comes after it.
    pub fn check(&self) -> Result<(), Absurd> {
        let own = [("revision", self.revision.0), ("time", self.at.0)];
        let said = match &self.said {
            Said::Group(hosting) => [
                ("epoch", hosting.group.epoch.0),
                ("group's revision", hosting.group.modified.0),
                ("", 0),
            ],
            Said::Hosts(hosted) => [
                ("placement number", hosted.placement.number.0),
                ("credential's version", hosted.credential.version),
                ("time of creation", hosted.created.0),
            ],
            Said::Gone(_) => [("", 0); 3],
        };
        let absurd = own
            .into_iter()
            .chain(said)
            .find(|(_, number)| *number > NUMBER_MAX);
        absurd.map_or(Ok(()), |(what, number)| Err(Absurd { what, number }))
    }
}

impl Said {
    /// Whom it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Said::Group(hosting) => Subject::Group(hosting.group.name.clone()),
            Said::Hosts(hosted) => Subject::Tenant(hosted.id.clone()),
            Said::Gone(id) => Subject::Tenant(id.clone()),
        }
    }
}

impl Hosted {
    /// What an agent needs to hear of a tenant.
    pub fn of(tenant: &Tenant) -> Hosted {
        let tenant = tenant.clone();
        Hosted {
            id: tenant.id,
            slug: tenant.slug,
            status: tenant.status,
            access_mode: tenant.access_mode,
            regions: tenant.regions,
            class: tenant.class,
            claims: tenant.claims,
            placement: tenant.placement,
            schema: tenant.schema,
            allowlist: tenant.allowlist,
            connections_max: tenant.connections_max,
            settings: tenant.settings,
            credential: tenant.credential,
            legal_hold: tenant.legal_hold,
            created: tenant.created,
        }
    }
}

/// Whether a host hears the same of both. Each field of a tenant is named, so that a new one cannot be forgotten.
pub fn says_the_same(one: &Tenant, other: &Tenant) -> bool {
    let Tenant {
        id,
        slug,
        display_name: _,
        status,
        access_mode,
        regions,
        class,
        claims,
        placement,
        schema,
        allowlist,
        connections_max,
        settings,
        labels: _,
        credential,
        audit_key: _,
        legal_hold,
        created,
        updated: _,
        modified: _,
        operation: _,
        dispute: _,
        // It is tried again there.
        unready: _,
        digest: _,
    } = one;
    (id, slug, status, access_mode) == (&other.id, &other.slug, &other.status, &other.access_mode)
        && (regions, class, claims) == (&other.regions, &other.class, &other.claims)
        && (placement, schema, allowlist) == (&other.placement, &other.schema, &other.allowlist)
        && (connections_max, settings) == (&other.connections_max, &other.settings)
        && (credential, legal_hold, created) == (&other.credential, &other.legal_hold, &other.created)
}

/// What a tenant's host is to hear of it; nothing while this State does not know it: it may be behind.
pub fn of_tenant(state: &State, group: &Name, id: &TenantId) -> Option<(Revision, Said)> {
    match state.tenants.get(id) {
        Some(tenant) if &tenant.placement.group == group => {
            Some((tenant.modified, Said::Hosts(Box::new(Hosted::of(tenant)))))
        }
        Some(_) => None,
        None if state.tombstones.contains_key(id) => Some((state.revision, Said::Gone(id.clone()))),
        None => None,
    }
}

/// What an agent is to hear of its own group.
pub fn of_group(state: &State, group: &Group) -> Option<(Revision, Said)> {
    let region = state.regions.get(&group.region)?.clone();
    let group = group.clone();
    Some((group.modified, Said::Group(Box::new(Hosting { group, region }))))
}

/// Makes a statement of it.
pub fn state_to(state: &State, agent: &Name, at: Stamp, (revision, said): (Revision, Said)) -> Statement {
    Statement {
        format: FORMAT,
        cluster: state.cluster.name.clone(),
        cluster_id: state.cluster.id.clone(),
        agent: agent.clone(),
        revision,
        at,
        said,
    }
}
