//! How old credentials are, and who holds them.

use reeve_domain::credential::{self, Holding};
use reeve_domain::{State, Tenant};

use crate::convert::time;
use crate::v1;

/// A tenant's credential as the wire writes it.
pub fn credential(state: &State, tenant: &Tenant, with_clients: bool) -> v1::Credential {
    let version = tenant.credential.version;
    let holders = state
        .holders
        .get(&tenant.id)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let clients = holders.iter().filter(|_| with_clients).map(client);
    v1::Credential {
        tenant_id: tenant.id.to_string(),
        tenant_slug: tenant.slug.to_string(),
        version,
        role: tenant.role(),
        publish_time: Some(time::timestamp(tenant.credential_published())),
        operation: rotating(state, tenant).unwrap_or_default(),
        client_count: holders.len() as u32,
        behind_count: credential::behind(state, &tenant.id, version).count() as u32,
        clients: clients.collect(),
    }
}

fn rotating(state: &State, tenant: &Tenant) -> Option<String> {
    let operation = state.operations.get(tenant.operation.as_ref()?)?;
    let rotates = operation.kind == reeve_domain::operation::Kind::Rotate;
    rotates.then(|| operation.id.to_string())
}

fn client(from: &Holding) -> v1::credential::Client {
    v1::credential::Client {
        principal: from.principal.clone(),
        instance: from.instance.clone(),
        oldest_version: from.oldest,
        newest_version: from.newest,
        read_time: Some(time::timestamp(from.read)),
    }
}
