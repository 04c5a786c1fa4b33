//! Findings of isolation audits.

use std::collections::BTreeSet;

use reeve_domain::isolation::{self, Finding, Found, OPEN_MAX, Rule, Scope};
use reeve_domain::plan::Sightings;
use reeve_domain::words::Name;
use reeve_domain::{Stamp, State, TenantId};

use crate::convert::{BadField, time};
use crate::v1;

/// A finding as the wire writes it.
pub fn finding(state: &State, from: &Finding) -> v1::Finding {
    let severity = match from.rule.severity() {
        isolation::Severity::Warning => v1::finding::Severity::Warning,
        isolation::Severity::Critical => v1::finding::Severity::Critical,
    };
    let tenant = from.tenant.as_ref();
    let slug = tenant
        .and_then(|id| state.tenants.get(id))
        .map(|t| t.slug.to_string());
    v1::Finding {
        id: from.id.to_string(),
        rule: from.rule.code().to_owned(),
        severity: severity as i32,
        agent: from.agent.to_string(),
        group: from.group.to_string(),
        tenant_id: tenant.map(ToString::to_string).unwrap_or_default(),
        tenant_slug: slug.unwrap_or_default(),
        subject: from.subject.clone(),
        detail: from.detail.clone(),
        open_time: Some(time::timestamp(from.opened)),
        close_time: from.closed.map(time::timestamp),
        times: from.times,
        mod_revision: from.modified.0,
    }
}

/// When an agent's instance was last looked at, and how many findings are open there.
pub fn audited(state: &State, group: &Name, agent: &Name, sightings: &Sightings, now: Stamp) -> v1::Audited {
    let last = sightings.agents.get(agent).and_then(|sighting| sighting.audited);
    let open = state
        .findings
        .values()
        .filter(|f| f.is_open() && &f.agent == agent);
    v1::Audited {
        agent: agent.to_string(),
        group: group.to_string(),
        last_round: last.map(|at| time::duration(std::time::Duration::from_millis(now.millis_since(at)))),
        open_findings: open.count() as u32,
    }
}

/// What a round found, as the wire writes it.
pub fn found(from: &Found) -> v1::FoundFinding {
    v1::FoundFinding {
        rule: from.rule.code().to_owned(),
        tenant_id: from.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        subject: from.subject.clone(),
        detail: from.detail.clone(),
    }
}

/// Reads what a round found.
pub fn found_from_wire(wire: Vec<v1::FoundFinding>) -> Result<Vec<Found>, BadField> {
    if wire.len() > OPEN_MAX {
        return Err(BadField::new(
            "findings.found",
            format!("has {}; at most {OPEN_MAX} are told", wire.len()),
        ));
    }
    let read = wire.into_iter().enumerate().map(|(i, one)| {
        let rule = Rule::parse(&one.rule)
            .ok_or_else(|| BadField::new(format!("findings.found[{i}].rule"), "is F1 to F13, P1 or P2"))?;
        let tenant = match one.tenant_id.as_str() {
            "" => None,
            id => Some(
                TenantId::parse(id)
                    .map_err(|e| BadField::new(format!("findings.found[{i}].tenant_id"), e))?,
            ),
        };
        Ok(Found {
            rule,
            tenant,
            subject: one.subject,
            detail: one.detail,
        })
    });
    read.collect()
}

/// How far a round looked, as the wire writes it.
pub fn scope(from: &Scope) -> v1::session_request::Scope {
    let ids = |all: &BTreeSet<TenantId>| all.iter().map(ToString::to_string).collect();
    v1::session_request::Scope {
        truncated: from.truncated,
        half_done: ids(&from.half_done),
        inside: ids(&from.inside),
        probed: ids(&from.probed),
    }
}

/// Reads how far a round looked; unset: at everything but databases and doors.
pub fn scope_from_wire(wire: Option<v1::session_request::Scope>) -> Result<Scope, BadField> {
    let wire = wire.unwrap_or_default();
    let read = |field: &str, all: Vec<String>| -> Result<BTreeSet<TenantId>, BadField> {
        let read = all.iter().enumerate().map(|(i, id)| {
            let bad = |error| BadField::new(format!("findings.scope.{field}[{i}]"), error);
            TenantId::parse(id).map_err(bad)
        });
        read.collect()
    };
    Ok(Scope {
        truncated: wire.truncated,
        half_done: read("half_done", wire.half_done)?,
        inside: read("inside", wire.inside)?,
        probed: read("probed", wire.probed)?,
    })
}
