//! Is it safe? Everything that is known of one tenant, each with a grade and a reason.

use serde::{Deserialize, Serialize};

use crate::credential;
use crate::health::Unready;
use crate::ids::Stamp;
use crate::isolation;
use crate::operation::Status as End;
use crate::plan::Sightings;
use crate::resolve;
use crate::state::State;
use crate::tenant::{Status, Tenant};

/// How good something is. A later one outweighs all before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    Good,
    /// Nobody has looked lately, or nobody can: no proof either way.
    Unknown,
    /// Somebody should look.
    Warning,
    /// It does not serve, or is not safe.
    Bad,
}

/// One thing that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub name: &'static str,
    pub grade: Grade,
    pub told: String,
}

/// What an agent last measured of a tenant's database: the leader's memory, never in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vitals {
    /// When it was measured.
    pub at: Stamp,
    /// When somebody last tried to come in; unset: not yet.
    pub tried: Option<Stamp>,
    /// When the isolation audit last looked into it, and what that found is known; unset: not yet, or nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audited: Option<Stamp>,
    /// How long coming in took.
    pub tried_ms: Option<u64>,
    pub connections: u32,
    /// Statements at work for over five seconds.
    pub slow_statements: u32,
    pub oldest_transaction_s: u64,
    /// Of a thousand blocks read, how many were in memory; unset: none was read yet.
    pub hits_permille: Option<u32>,
    pub deadlocks: u64,
    /// Transactions since the oldest row was frozen; PostgreSQL stops at two thousand million.
    pub xid_age: u64,
    pub size_bytes: Option<u64>,
    pub live_rows: Option<u64>,
    pub dead_rows: Option<u64>,
}

/// How old something may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Of a credential; 0: for ever.
    pub credential_ms: u64,
}

/// A try, and a round of the audit, older than this prove nothing any more.
pub(crate) const PROVED_MS: u64 = 180_000;
/// Databases have their turn in the audit: with its defaults 1200 are looked into within this.
pub(crate) const AUDITED_MS: u64 = 1_200_000;
/// What was measured is known for so long.
pub(crate) const MEASURED_MS: u64 = 60_000;
/// Rows this old should have been frozen.
pub(crate) const XID_WARNING: u64 = 300_000_000;
/// So near the end that somebody must act.
pub(crate) const XID_BAD: u64 = 1_500_000_000;
const TRANSACTION_WARNING_S: u64 = 3_600;
/// Dead rows that are worth a word, when they are more than half of the living.
const DEAD_WARNING: u64 = 100_000;

/// The worst of them.
pub fn worst(conditions: &[Condition]) -> Grade {
    conditions.iter().map(|c| c.grade).max().unwrap_or(Grade::Unknown)
}

/// Everything, in the order in which somebody would ask.
pub fn conditions(
    state: &State,
    tenant: &Tenant,
    sightings: &Sightings,
    vitals: Option<&Vitals>,
    terms: Terms,
    now: Stamp,
) -> Vec<Condition> {
    let fresh = vitals.filter(|vitals| now.millis_since(vitals.at) <= MEASURED_MS);
    vec![
        serving(state, tenant),
        heard(state, tenant, sightings, now),
        ready(tenant, fresh, now),
        isolated(state, tenant, sightings, fresh, now),
        credential(state, tenant, terms, now),
        schema(tenant),
        operation(state, tenant),
        load(tenant, fresh),
        upkeep(fresh),
        // Nothing takes backups of tenants yet: there is nothing to judge, and that is no secret.
        condition(
            "backup",
            Grade::Unknown,
            "none is taken of its database by this version",
        ),
    ]
}

fn condition(name: &'static str, grade: Grade, told: impl Into<String>) -> Condition {
    Condition {
        name,
        grade,
        told: told.into(),
    }
}

fn serving(state: &State, tenant: &Tenant) -> Condition {
    let resolution = resolve::of(state, tenant);
    let tell = |grade, told: String| condition("serving", grade, told);
    match tenant.status {
        Status::Active if tenant.dispute.is_some() => tell(
            Grade::Bad,
            "fenced by a restore until a person decides".to_owned(),
        ),
        Status::Active if resolution.serves() => {
            let told = format!(
                "group {}, epoch {}, placement {}",
                resolution.group, resolution.epoch, resolution.number
            );
            tell(Grade::Good, told)
        }
        Status::Active => tell(
            Grade::Bad,
            format!("group {} names no place to write", resolution.group),
        ),
        Status::Provisioning | Status::Suspended | Status::Deleting => {
            tell(Grade::Warning, format!("it is {}", tenant.status.word()))
        }
        Status::Failed => tell(Grade::Bad, "it failed and waits for a person".to_owned()),
    }
}

fn heard(state: &State, tenant: &Tenant, sightings: &Sightings, now: Stamp) -> Condition {
    let Some(group) = state.groups.get(&tenant.placement.group) else {
        return condition("agent", Grade::Bad, "its group is not known");
    };
    let agent = &group.primary;
    match sightings.agents.get(agent) {
        None => condition("agent", Grade::Unknown, format!("{agent} was not heard yet")),
        Some(_) if sightings.hears(agent, now) => {
            condition("agent", Grade::Good, format!("{agent} is heard"))
        }
        Some(sighting) => {
            let silent = ago(now, sighting.seen);
            condition("agent", Grade::Bad, format!("{agent}: silent for {silent}"))
        }
    }
}

fn ready(tenant: &Tenant, vitals: Option<&Vitals>, now: Stamp) -> Condition {
    let tell = |grade, told: String| condition("ready", grade, told);
    if let Some(Unready { since, cause, detail }) = &tenant.unready {
        let told = format!("{} for {}: {detail}", cause.word(), ago(now, *since));
        return tell(Grade::Bad, told.trim_end_matches(": ").to_owned());
    }
    let Some(tried) = vitals.and_then(|vitals| vitals.tried) else {
        return tell(Grade::Unknown, "nobody has tried to come in lately".to_owned());
    };
    let took = vitals.and_then(|vitals| vitals.tried_ms).unwrap_or_default();
    let told = format!("in as the tenant over TLS in {took} ms, {} ago", ago(now, tried));
    match now.millis_since(tried) > PROVED_MS {
        true => tell(Grade::Unknown, told),
        false => tell(Grade::Good, told),
    }
}

fn isolated(
    state: &State,
    tenant: &Tenant,
    sightings: &Sightings,
    vitals: Option<&Vitals>,
    now: Stamp,
) -> Condition {
    let tell = |grade, told: String| condition("isolated", grade, told);
    if let Some(finding) = isolation::bar(state, &tenant.id) {
        let told = format!("{} {}: {}", finding.id, finding.rule, finding.subject);
        return tell(Grade::Bad, told);
    }
    let of_it = state.findings.values();
    let open = of_it.filter(|finding| finding.is_open() && finding.tenant.as_ref() == Some(&tenant.id));
    let open = open.count();
    if open > 0 {
        return tell(Grade::Warning, format!("{open} findings are open"));
    }
    let group = state.groups.get(&tenant.placement.group);
    let Some(round) = group.and_then(|group| sightings.agents.get(&group.primary)?.audited) else {
        return tell(Grade::Unknown, "no round of the audit has ended yet".to_owned());
    };
    // A round looks at the whole instance, and into a few databases.
    let Some(inside) = vitals.and_then(|vitals| vitals.audited) else {
        let told = "nobody is known to have looked into its database lately";
        return tell(Grade::Unknown, told.to_owned());
    };
    let told = format!(
        "nothing found: on its instance {} ago, in its database {} ago",
        ago(now, round),
        ago(now, inside)
    );
    match now.millis_since(round) > PROVED_MS || now.millis_since(inside) > AUDITED_MS {
        true => tell(Grade::Unknown, told),
        false => tell(Grade::Good, told),
    }
}

fn credential(state: &State, tenant: &Tenant, terms: Terms, now: Stamp) -> Condition {
    let version = tenant.credential.version;
    let age = now.millis_since(tenant.credential_published());
    let behind = credential::behind(state, &tenant.id, version).count();
    let mut told = format!("v{version}, {} old", ago(now, tenant.credential_published()));
    if behind > 0 {
        told.push_str(&format!(", {behind} clients behind"));
    }
    let is_overdue = terms.credential_ms > 0 && age >= terms.credential_ms;
    let grade = if is_overdue { Grade::Warning } else { Grade::Good };
    condition("credential", grade, told)
}

fn schema(tenant: &Tenant) -> Condition {
    let schema = &tenant.schema;
    let told = format!("{} at {}", schema.channel, schema.applied);
    match schema.target {
        0 => condition("schema", Grade::Good, told),
        target if target == schema.applied => condition("schema", Grade::Good, told),
        target => condition("schema", Grade::Warning, format!("{told}, {target} is wanted")),
    }
}

fn operation(state: &State, tenant: &Tenant) -> Condition {
    match state.holder(&tenant.id) {
        None => condition("operation", Grade::Good, "none"),
        Some(operation) if operation.status == End::Stuck => {
            let told = format!("{} is stuck: {}", operation.id, operation.detail);
            condition("operation", Grade::Bad, told)
        }
        Some(operation) => condition("operation", Grade::Good, format!("{} is at work", operation.id)),
    }
}

fn load(tenant: &Tenant, vitals: Option<&Vitals>) -> Condition {
    let Some(vitals) = vitals else {
        return condition("load", Grade::Unknown, "nobody has measured it lately");
    };
    let Vitals {
        connections,
        slow_statements,
        oldest_transaction_s,
        ..
    } = vitals;
    let connections_max = tenant.connections_max;
    let mut told = format!("{connections} of {connections_max} connections");
    if *slow_statements > 0 {
        told.push_str(&format!(", {slow_statements} statements over 5 s"));
    }
    if *oldest_transaction_s >= 60 {
        told.push_str(&format!(
            ", a transaction of {}",
            long(oldest_transaction_s * 1_000)
        ));
    }
    let is_near = u64::from(*connections) * 100 > u64::from(connections_max) * 85;
    let is_long = *oldest_transaction_s >= TRANSACTION_WARNING_S;
    let grade = if is_near || is_long {
        Grade::Warning
    } else {
        Grade::Good
    };
    condition("load", grade, told)
}

fn upkeep(vitals: Option<&Vitals>) -> Condition {
    let Some(vitals) = vitals else {
        return condition("upkeep", Grade::Unknown, "nobody has measured it lately");
    };
    let mut told = Vec::new();
    told.extend(vitals.size_bytes.map(|bytes| format!("{} MiB", bytes >> 20)));
    told.extend(
        vitals
            .hits_permille
            .map(|permille| format!("{}.{} % from memory", permille / 10, permille % 10)),
    );
    told.push(format!("xid age {}", vitals.xid_age));
    let mut grade = match vitals.xid_age {
        age if age >= XID_BAD => Grade::Bad,
        age if age >= XID_WARNING => Grade::Warning,
        _ => Grade::Good,
    };
    if let (Some(live), Some(dead)) = (vitals.live_rows, vitals.dead_rows) {
        told.push(format!("{dead} dead rows of {}", live + dead));
        if dead >= DEAD_WARNING && dead * 2 > live {
            grade = grade.max(Grade::Warning);
        }
    }
    if vitals.deadlocks > 0 {
        told.push(format!("{} deadlocks", vitals.deadlocks));
    }
    condition("upkeep", grade, told.join(", "))
}

fn ago(now: Stamp, then: Stamp) -> String {
    long(now.millis_since(then))
}

fn long(millis: u64) -> String {
    match millis / 1_000 {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}
