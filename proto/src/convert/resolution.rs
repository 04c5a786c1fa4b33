//! Resolutions.

use reeve_domain::Resolution;
use reeve_domain::tenant::Status;

use crate::convert::{claim, endpoint, not_ready};
use crate::v1;

/// A tenant's state as the wire writes it.
pub fn state(status: Status) -> v1::tenant::State {
    match status {
        Status::Provisioning => v1::tenant::State::Provisioning,
        Status::Active => v1::tenant::State::Active,
        Status::Suspended => v1::tenant::State::Suspended,
        Status::Deleting => v1::tenant::State::Deleting,
        Status::Failed => v1::tenant::State::Failed,
    }
}

/// A resolution as one network sees it. `server_ca_pem` is the root that signs database servers.
pub fn resolution(from: &Resolution, network: &str, server_ca_pem: &str) -> v1::Resolution {
    v1::Resolution {
        tenant_id: from.tenant.to_string(),
        slug: from.slug.to_string(),
        state: state(from.status) as i32,
        region: from.region.to_string(),
        group: from.group.to_string(),
        epoch: from.epoch.0,
        placement_number: from.number.0,
        database: from.tenant.to_string(),
        role: from.role.clone(),
        credential_version: from.credential_version,
        write: from.endpoint(network).map(endpoint),
        read: Vec::new(),
        server_ca_pem: server_ca_pem.to_owned(),
        schema_version: from.schema_version,
        claims: from.claims.iter().map(claim).collect(),
        mod_revision: from.modified.0,
        not_ready: from.unready.as_ref().map(not_ready),
    }
}
