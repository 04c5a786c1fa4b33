//! Readiness, vitals and conditions.

use std::time::Duration;

use reeve_domain::health::{Cause, Condition, Grade, Tried, Unready, Vitals};
use reeve_domain::{Stamp, TenantId};

use crate::convert::{BadField, time};
use crate::v1;

/// Tenants of one message of an agent.
pub const TENANTS_MAX: usize = 1_000;

/// Why services would not come in, as the wire writes it.
pub fn not_ready(from: &Unready) -> v1::NotReady {
    v1::NotReady {
        cause: cause(from.cause) as i32,
        detail: from.detail.clone(),
        since: Some(time::timestamp(from.since)),
    }
}

/// A cause as the wire writes it.
pub fn cause(from: Cause) -> v1::not_ready::Cause {
    match from {
        Cause::Unreachable => v1::not_ready::Cause::Unreachable,
        Cause::TurnedAway => v1::not_ready::Cause::TurnedAway,
        Cause::Full => v1::not_ready::Cause::Full,
        Cause::Schema => v1::not_ready::Cause::Schema,
    }
}

/// A cause as it was written; unset is none.
fn cause_from_wire(wire: i32) -> Option<Cause> {
    match v1::not_ready::Cause::try_from(wire).ok()? {
        v1::not_ready::Cause::Unreachable => Some(Cause::Unreachable),
        v1::not_ready::Cause::TurnedAway => Some(Cause::TurnedAway),
        v1::not_ready::Cause::Full => Some(Cause::Full),
        v1::not_ready::Cause::Schema => Some(Cause::Schema),
        v1::not_ready::Cause::Unspecified => None,
    }
}

/// What an agent says of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub tenant: TenantId,
    /// What its tries came to; none: there was none.
    pub tried: Option<Tried>,
    /// Since the last try.
    pub tried_ago: Option<Duration>,
    /// Since the isolation audit last looked into its database.
    pub audited_ago: Option<Duration>,
    /// Without the times that only who hears it knows.
    pub vitals: Vitals,
}

/// Reads an agent's word on its tenants.
pub fn told_from_wire(wire: v1::session_request::Health) -> Result<Vec<Told>, BadField> {
    let got = wire.tenants.len();
    if got > TENANTS_MAX {
        let why = format!("has {got}; at most {TENANTS_MAX} are told");
        return Err(BadField::new("health.tenants", why));
    }
    let read = wire.tenants.into_iter().enumerate().map(|(i, one)| {
        let field = |name: &str| format!("health.tenants[{i}].{name}");
        let tenant = TenantId::parse(&one.tenant_id).map_err(|e| BadField::new(field("tenant_id"), e))?;
        let not_ready = match one.not_ready {
            None => None,
            Some(not) => {
                let cause = cause_from_wire(not.cause).ok_or_else(|| {
                    BadField::new(field("not_ready.cause"), "is no cause that is known here")
                })?;
                Some(Tried::Not(cause, not.detail))
            }
        };
        let tried_ago = one.tried.as_ref().and_then(time::length);
        let inside = Tried::In {
            schema_version: one.schema_version,
        };
        Ok(Told {
            tenant,
            tried: tried_ago.map(|_| not_ready.unwrap_or(inside)),
            tried_ago,
            audited_ago: one.audited.as_ref().and_then(time::length),
            vitals: vitals_from_wire(one.vitals.unwrap_or_default()),
        })
    });
    read.collect()
}

fn vitals_from_wire(wire: v1::DatabaseVitals) -> Vitals {
    let length = |wire: &Option<prost_types::Duration>| wire.as_ref().and_then(time::length);
    Vitals {
        at: Stamp(0),
        tried: None,
        audited: None,
        tried_ms: length(&wire.tried_took).map(|took| took.as_millis() as u64),
        connections: wire.connections,
        slow_statements: wire.slow_statements,
        oldest_transaction_s: length(&wire.oldest_transaction).map_or(0, |old| old.as_secs()),
        hits_permille: wire.hits_permille.map(|permille| permille.min(1_000)),
        deadlocks: wire.deadlocks,
        xid_age: wire.xid_age,
        size_bytes: wire.size_bytes,
        live_rows: wire.live_rows,
        dead_rows: wire.dead_rows,
    }
}

/// What was measured, as the wire writes it.
pub fn vitals(from: &Vitals) -> v1::DatabaseVitals {
    v1::DatabaseVitals {
        tried_took: from.tried_ms.map(|ms| time::duration(Duration::from_millis(ms))),
        connections: from.connections,
        slow_statements: from.slow_statements,
        oldest_transaction: Some(time::duration(Duration::from_secs(from.oldest_transaction_s))),
        hits_permille: from.hits_permille,
        deadlocks: from.deadlocks,
        xid_age: from.xid_age,
        size_bytes: from.size_bytes,
        live_rows: from.live_rows,
        dead_rows: from.dead_rows,
    }
}

/// A grade as the wire writes it.
pub fn grade(from: Grade) -> v1::Grade {
    match from {
        Grade::Good => v1::Grade::Good,
        Grade::Unknown => v1::Grade::Unknown,
        Grade::Warning => v1::Grade::Warning,
        Grade::Bad => v1::Grade::Bad,
    }
}

/// A condition as the wire writes it.
pub fn condition(from: Condition) -> v1::Condition {
    v1::Condition {
        name: from.name.to_owned(),
        grade: grade(from.grade) as i32,
        told: from.told,
    }
}
