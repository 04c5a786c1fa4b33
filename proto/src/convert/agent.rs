//! What agents are told and tell.

use std::time::Duration;

use reeve_domain::group::{Endpoint, Facts};
use reeve_domain::ids::Epoch;
use reeve_domain::operation::{Direction, Outcome, Report, Wanted};
use reeve_domain::plan::operations::Order;
use reeve_domain::words::Name;
use reeve_domain::{OperationId, Tenant};

use crate::convert::{BadField, endpoint, time};
use crate::v1;

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
    let mut endpoints = Vec::new();
    for (i, from) in wire.endpoints.iter().enumerate() {
        let port = u16::try_from(from.port).ok().filter(|p| *p != 0);
        let port =
            port.ok_or_else(|| BadField::new(format!("facts.endpoints[{i}].port"), "must be 1 to 65535"))?;
        if from.host.is_empty() || from.host.len() > 253 || from.network.is_empty() || from.network.len() > 63
        {
            return Err(BadField::new(
                format!("facts.endpoints[{i}]"),
                "needs a host and a network name",
            ));
        }
        endpoints.push(Endpoint {
            network: from.network.clone(),
            host: from.host.clone(),
            port,
        });
    }
    for (field, text) in [
        ("postgres_version", &wire.postgres_version),
        ("system_identifier", &wire.system_identifier),
    ] {
        if text.len() > 64 {
            return Err(BadField::new(
                format!("facts.{field}"),
                "at most 64 bytes are allowed",
            ));
        }
    }
    Ok(Facts {
        endpoints,
        postgres_version: wire.postgres_version.clone(),
        postgres_up: wire.postgres_up,
        system_identifier: wire.system_identifier.clone(),
    })
}
