//! Which database a claim leads to, and why.

use serde::{Deserialize, Serialize};

use crate::group::{Endpoint, Group, MemberStatus};
use crate::health::Unready;
use crate::ids::{Epoch, PlacementNumber, Revision, TenantId};
use crate::refusal::Refusal;
use crate::state::State;
use crate::tenant::{AccessMode, Status, Tenant};
use crate::words::{Claim, Name, Slug};

/// Everything a service needs to connect, without a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolution {
    pub tenant: TenantId,
    pub slug: Slug,
    pub status: Status,
    pub region: Name,
    pub group: Name,
    pub epoch: Epoch,
    pub number: PlacementNumber,
    pub role: String,
    pub credential_version: u64,
    /// Where to write, by network. Empty: nowhere now.
    pub write: Vec<Endpoint>,
    pub schema_version: u32,
    pub claims: Vec<Claim>,
    pub modified: Revision,
    /// Who goes there would not come in, as its agent has tried. Left out while they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unready: Option<Unready>,
}

impl Resolution {
    /// Whether a service may connect now.
    pub fn serves(&self) -> bool {
        self.status == Status::Active && !self.write.is_empty()
    }

    /// The place to write as one network sees it.
    pub fn endpoint(&self, network: &str) -> Option<&Endpoint> {
        let wanted = if network.is_empty() { "default" } else { network };
        self.write.iter().find(|e| e.network == wanted)
    }
}

/// Looks a claim up.
pub fn by_claim(state: &State, claim: &Claim) -> Result<Resolution, Refusal> {
    let id = state
        .claims
        .get(claim)
        .ok_or_else(|| Refusal::TenantNotFound(claim.to_string()))?;
    let tenant = state.tenant(id)?;
    Ok(of(state, tenant))
}

/// A tenant's resolution. A fenced group, and one whose group is not known, names no host.
pub fn of(state: &State, tenant: &Tenant) -> Resolution {
    let group = state.groups.get(&tenant.placement.group);
    let write = match group {
        Some(group) if tenant.access_mode != AccessMode::Fenced && tenant.dispute.is_none() => {
            places_to_write(group)
        }
        _ => Vec::new(),
    };
    Resolution {
        tenant: tenant.id.clone(),
        slug: tenant.slug.clone(),
        status: tenant.status,
        region: group.map_or_else(|| tenant.placement.group.clone(), |g| g.region.clone()),
        group: tenant.placement.group.clone(),
        epoch: group.map(|g| g.epoch).unwrap_or_default(),
        number: tenant.placement.number,
        role: tenant.role(),
        credential_version: tenant.credential.version,
        write,
        schema_version: tenant.schema.applied,
        claims: tenant.claims.clone(),
        modified: group.map_or(tenant.modified, |g| g.modified.max(tenant.modified)),
        unready: tenant.unready.clone(),
    }
}

fn places_to_write(group: &Group) -> Vec<Endpoint> {
    if group.fenced {
        return Vec::new();
    }
    group
        .primary_member()
        .filter(|member| member.status != MemberStatus::Joining)
        .map(|member| member.facts.endpoints.clone())
        .unwrap_or_default()
}

/// The reasoning behind an answer, one line per rule.
pub fn explain(state: &State, claim: &Claim) -> Vec<String> {
    let Some(id) = state.claims.get(claim) else {
        return vec![format!("{claim}: no tenant holds it")];
    };
    let Some(tenant) = state.tenants.get(id) else {
        return vec![format!("{claim}: held by {id}, which is gone")];
    };
    let mut lines = vec![
        format!("{claim}: held by tenant {} ({id})", tenant.slug),
        format!("tenant is {}", tenant.status.word()),
    ];
    let unready = tenant.unready.iter();
    lines.extend(unready.map(|unready| format!("NOT READY: {}: {}", unready.cause.word(), unready.detail)));
    let clashes = tenant.dispute.iter().flat_map(|dispute| &dispute.clashes);
    lines.extend(clashes.map(|clash| format!("FENCED: {clash}")));
    let Some(group) = state.groups.get(&tenant.placement.group) else {
        return lines;
    };
    lines.push(format!(
        "placement {} in group {} of region {}, epoch {}{}",
        tenant.placement.number,
        group.name,
        group.region,
        group.epoch,
        if group.fenced { ", FENCED" } else { "" }
    ));
    let is_closed = tenant.dispute.is_some();
    for endpoint in places_to_write(group).into_iter().filter(|_| !is_closed) {
        lines.push(format!(
            "write {}:{}/{} as {} over network {}, verify-full, credential v{}",
            endpoint.host,
            endpoint.port,
            tenant.id,
            tenant.role(),
            endpoint.network,
            tenant.credential.version
        ));
    }
    lines
}
