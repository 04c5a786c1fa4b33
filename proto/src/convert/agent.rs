//! What agents are told and tell.

use std::collections::BTreeSet;
use std::time::Duration;

use reeve_domain::group::{Endpoint, Facts};
use reeve_domain::ids::Epoch;
use reeve_domain::operation::{Direction, Outcome, Report, Wanted};
use reeve_domain::plan::operations::Order;
use reeve_domain::words::Name;
use reeve_domain::{OperationId, Tenant};

use crate::convert::{BadField, endpoint, line, time};
use crate::v1;

/// Addresses of one PostgreSQL.
const ENDPOINTS_MAX: usize = 16;
const HOST_BYTES_MAX: usize = 253;
const NETWORK_BYTES_MAX: usize = 63;
/// The longest word about a PostgreSQL.
const FACT_BYTES_MAX: usize = 64;

/// Names one try at one step.
pub fn key(operation: &OperationId, step: u32, attempt: u32, direction: Direction) -> v1::StepKey {
    let direction = match direction {
        Direction::Forward => v1::step_key::Direction::Forward,
        Direction::Undo => v1::step_key::Direction::Undo,
    };
    v1::StepKey {
        operation_id: operation.to_string(),
        step,
        attempt,
        direction: direction as i32,
    }
}

/// An order as the wire writes it.
pub fn order(from: &Order, tenant: &Tenant) -> v1::StepOrder {
    v1::StepOrder {
        key: Some(key(&from.operation, from.step, from.attempt, from.direction)),
        name: from.goal.word().to_owned(),
        group: from.group.to_string(),
        epoch: from.epoch.0,
        timeout: Some(time::duration(Duration::from_millis(from.timeout_ms))),
        tenant: Some(wanted_spec(tenant, from.wanted.as_ref())),
        not_before: Some(time::timestamp(from.not_before)),
    }
}

/// What an agent must know of a tenant as it is to be.
fn wanted_spec(tenant: &Tenant, wanted: Option<&Wanted>) -> v1::TenantSpec {
    let mut spec = spec(tenant);
    if let Some(Wanted::Allowlist(list)) = wanted {
        spec.allowlist_cidrs = list.iter().map(ToString::to_string).collect();
    }
    spec
}

/// What an agent must know of a tenant.
pub fn spec(tenant: &Tenant) -> v1::TenantSpec {
    v1::TenantSpec {
        tenant_id: tenant.id.to_string(),
        connection_limit: tenant.connections_max,
        allowlist_cidrs: tenant.allowlist.iter().map(ToString::to_string).collect(),
        schema_channel: tenant.schema.channel.to_string(),
        schema_version: tenant.schema.target,
        active_slot: tenant.credential.active.letter().to_owned(),
        credential_version: tenant.credential.version,
    }
}

/// Reads a report of one agent.
pub fn report(agent: &Name, wire: v1::StepReport) -> Result<Report, BadField> {
    let key = wire
        .key
        .as_ref()
        .ok_or_else(|| BadField::new("key", "is required"))?;
    let operation =
        OperationId::parse(&key.operation_id).map_err(|e| BadField::new("key.operation_id", e))?;
    let direction = match key.direction() {
        v1::step_key::Direction::Forward => Direction::Forward,
        v1::step_key::Direction::Undo => Direction::Undo,
        v1::step_key::Direction::Unspecified => return Err(BadField::new("key.direction", "is required")),
    };
    let outcome = match wire.outcome() {
        v1::step_report::Outcome::Done => Outcome::Done,
        v1::step_report::Outcome::AlreadyTrue => Outcome::AlreadyTrue,
        v1::step_report::Outcome::Retry => Outcome::Retry,
        v1::step_report::Outcome::Failed => Outcome::Failed,
        v1::step_report::Outcome::Unspecified => return Err(BadField::new("outcome", "is required")),
    };
    Ok(Report {
        agent: agent.clone(),
        operation,
        step: key.step,
        attempt: key.attempt,
        direction,
        epoch: Epoch(wire.epoch),
        outcome,
        proof: wire.proof,
        error: wire.error,
        code: wire.code,
        schema_version: wire.schema_version,
        schema_checksum: wire.schema_checksum,
    })
}

/// Facts as the wire writes them.
pub fn facts(from: &Facts) -> v1::MemberFacts {
    v1::MemberFacts {
        endpoints: from.endpoints.iter().map(endpoint).collect(),
        postgres_version: from.postgres_version.clone(),
        postgres_up: from.postgres_up,
        system_identifier: from.system_identifier.clone(),
    }
}

/// Reads facts.
pub fn facts_from_wire(wire: &v1::MemberFacts) -> Result<Facts, BadField> {
    let got = wire.endpoints.len();
    if got > ENDPOINTS_MAX {
        let why = format!("has {got}; at most {ENDPOINTS_MAX} are allowed");
        return Err(BadField::new("facts.endpoints", why));
    }
    let read = wire.endpoints.iter().enumerate();
    let endpoints = read.map(|(i, from)| endpoint_from_wire(&format!("facts.endpoints[{i}]"), from));
    let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
    let mut networks = BTreeSet::new();
    if let Some(i) = endpoints.iter().position(|e| !networks.insert(&e.network)) {
        return Err(BadField::new(
            format!("facts.endpoints[{i}].network"),
            "has an endpoint already",
        ));
    }
    line("facts.postgres_version", &wire.postgres_version, FACT_BYTES_MAX)?;
    line("facts.system_identifier", &wire.system_identifier, FACT_BYTES_MAX)?;
    Ok(Facts {
        endpoints,
        postgres_version: wire.postgres_version.clone(),
        postgres_up: wire.postgres_up,
        system_identifier: wire.system_identifier.clone(),
    })
}

/// Services dial what is said here, and it is written into their files.
fn endpoint_from_wire(field: &str, wire: &v1::Endpoint) -> Result<Endpoint, BadField> {
    let bad = |name: &str, why: &str| BadField::new(format!("{field}.{name}"), why);
    let port = u16::try_from(wire.port).ok().filter(|port| *port != 0);
    let is_host = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
    if !(1..=HOST_BYTES_MAX).contains(&wire.host.len()) || !wire.host.bytes().all(is_host) {
        return Err(bad("host", "is a DNS name or an address"));
    }
    if !(1..=NETWORK_BYTES_MAX).contains(&wire.network.len())
        || !wire.network.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(bad("network", "has 1 to 63 visible ASCII characters"));
    }
    Ok(Endpoint {
        network: wire.network.clone(),
        host: wire.host.clone(),
        port: port.ok_or_else(|| bad("port", "must be 1 to 65535"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_one_endpoint() {
        let place = |network: &str| v1::Endpoint {
            network: network.to_owned(),
            host: "db.example".to_owned(),
            port: 5432,
        };
        let read = |networks: &[&str]| {
            let endpoints = networks.iter().map(|network| place(network)).collect();
            facts_from_wire(&v1::MemberFacts {
                endpoints,
                ..Default::default()
            })
        };
        assert_eq!(read(&["default", "vpn"]).unwrap().endpoints[1].network, "vpn");
        let refused = read(&["default", "vpn", "vpn"]).unwrap_err();
        assert_eq!(refused.field, "facts.endpoints[2].network");
    }
}
