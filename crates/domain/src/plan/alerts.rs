//! Which alerts are to be raised and resolved now. Where nobody can tell, an alert stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::alert::{self, Alert, Kind, OPEN_MAX, Raised, ReportAlerts};
use crate::group::{Group, MemberStatus};
use crate::health::{MEASURED_MS, PROVED_MS, Terms, Unready, Vitals, XID_BAD, XID_WARNING};
use crate::ids::{AlertId, Stamp, TenantId};
use crate::isolation::Severity;
use crate::operation::Status as End;
use crate::plan::{Sightings, rotation};
use crate::state::State;
use crate::tenant::Status;
use crate::words::Name;

/// An agent that is not heard for so long is worth waking somebody. It is counted by this leader's looks alone: of what was
/// before, and of an agent that has just come, it knows nothing.
const SILENT_MS: u64 = 60_000;
/// PostgreSQL that is down is started again by its agent: that has so long.
const DOWN_MS: u64 = 15_000;
/// An agent that has just begun has so long for its first round.
const FIRST_ROUND_MS: u64 = 120_000;
/// Ages of transaction ids are told in steps: they change all the time.
const XID_STEP: u64 = 50_000_000;
/// A tenant may be away so long while something passes.
const NOT_READY_MS: u64 = 60_000;
/// A test is open so long.
const TEST_MS: u64 = 30_000;
/// What comes and goes is one alert: it is over when it was over for so long.
const OVER_MS: u64 = 30_000;
/// An open alert is told differently no more often.
const RETOLD_MS: u64 = 60_000;
/// Alerts in one report; the others come with the next.
const REPORT_MAX: usize = 200;

/// What the leader knows that is not in State.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub sightings: &'a Sightings,
    pub vitals: &'a BTreeMap<TenantId, Vitals>,
}

/// What one look finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    pub wrong: BTreeMap<AlertId, Raised>,
    /// Nobody can tell, or something worse explains it.
    pub unknown: BTreeSet<AlertId>,
}

/// What the looks before this one saw: the leader's memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    wrong_since: BTreeMap<AlertId, Stamp>,
    over_since: BTreeMap<AlertId, Stamp>,
    told: BTreeMap<AlertId, Stamp>,
}

/// Looks at everything.
pub fn look(state: &State, seen: Seen<'_>, terms: Terms, now: Stamp) -> Look {
    let mut look = Look::default();
    let explained = instances(&mut look, state, seen, now);
    findings(&mut look, state);
    not_ready(&mut look, state, &explained, now);
    transaction_ids(&mut look, state, seen, now);
    stuck(&mut look, state);
    overdue(&mut look, state, terms, now);
    let tests = state.alerts.values().filter(|alert| alert.kind == Kind::Test);
    for test in tests.filter(|test| test.is_open() && now.millis_since(test.raised) < TEST_MS) {
        look.say(Kind::Test, &test.subject, test.detail.clone());
    }
    look
}

impl Look {
    fn say(&mut self, kind: Kind, subject: &str, detail: String) {
        self.say_all(kind, subject, &[detail]);
    }

    /// All of these at once: how many, and which is the first.
    fn say_all(&mut self, kind: Kind, subject: &str, told: &[String]) {
        let first = told.first().map_or("", String::as_str);
        let raised = Raised {
            kind,
            subject: subject.to_owned(),
            count: told.len() as u32,
            detail: match told.len() {
                1 => first.to_owned(),
                all => format!("{all}, the first: {first}"),
            },
        };
        self.wrong.insert(raised.id(), raised);
    }

    fn cannot_tell(&mut self, kind: Kind, subject: &str) {
        self.unknown.insert(alert::id(kind, subject));
    }
}

/// Agents and their PostgreSQL; the groups whose tenants' troubles are explained by them.
fn instances<'a>(look: &mut Look, state: &'a State, seen: Seen<'_>, now: Stamp) -> BTreeSet<&'a Name> {
    let mut explained = BTreeSet::new();
    for (group, member) in state
        .groups
        .values()
        .flat_map(|group| group.members.iter().map(move |member| (group, member)))
    {
        let agent = member.name.as_str();
        if is_dismissed(state, group, &member.name) {
            continue;
        }
        let sighting = seen.sightings.agents.get(&member.name);
        let is_silent = !seen.sightings.hears(&member.name, now);
        let is_down = member.status == MemberStatus::Down;
        if is_silent {
            look.say(Kind::AgentSilent, agent, format!("of group {}", group.name));
        }
        match (is_silent, is_down) {
            (true, _) => look.cannot_tell(Kind::PostgresDown, agent),
            (false, true) => look.say(Kind::PostgresDown, agent, format!("of group {}", group.name)),
            (false, false) => {}
        }
        if is_silent || is_down {
            explained.insert(&group.name);
            look.cannot_tell(Kind::IsolationAuditStale, agent);
            continue;
        }
        let audited = sighting.and_then(|sighting| sighting.audited);
        if audited.is_none_or(|audited| now.millis_since(audited) > PROVED_MS) {
            look.say(
                Kind::IsolationAuditStale,
                agent,
                format!("of group {}", group.name),
            );
        }
    }
    explained
}

/// Nobody waits for an agent whose rights were taken away and that has nothing to look after.
fn is_dismissed(state: &State, group: &Group, agent: &Name) -> bool {
    let id = format!("spiffe://{}/agent/{agent}", state.cluster.name);
    let is_revoked = state
        .principals
        .get(&id)
        .is_some_and(|principal| principal.revoked);
    is_revoked && state.databases_in(&group.name) == 0
}

fn findings(look: &mut Look, state: &State) {
    let mut open: BTreeMap<(&Name, Severity), Vec<String>> = BTreeMap::new();
    for finding in state.findings.values().filter(|finding| finding.is_open()) {
        let told = format!("{} {} {}", finding.id, finding.rule, finding.subject);
        open.entry((&finding.agent, finding.rule.severity()))
            .or_default()
            .push(told);
    }
    for ((agent, severity), told) in open {
        let kind = match severity {
            Severity::Critical => Kind::IsolationFindingCritical,
            Severity::Warning => Kind::IsolationFindingWarning,
        };
        look.say_all(kind, agent.as_str(), &told);
    }
}

fn not_ready(look: &mut Look, state: &State, explained: &BTreeSet<&Name>, now: Stamp) {
    let mut away: BTreeMap<&Name, Vec<String>> = BTreeMap::new();
    let tenants = state.tenants.values();
    for tenant in tenants.filter(|tenant| tenant.status == Status::Active) {
        let is_long = |unready: &&Unready| now.millis_since(unready.since) >= NOT_READY_MS;
        if let Some(unready) = tenant.unready.as_ref().filter(is_long) {
            let told = format!("{} {}", tenant.id, unready.cause.word());
            away.entry(&tenant.placement.group).or_default().push(told);
        }
    }
    for group in explained {
        look.cannot_tell(Kind::TenantsNotReady, group.as_str());
    }
    for (group, told) in away.into_iter().filter(|(group, _)| !explained.contains(group)) {
        look.say_all(Kind::TenantsNotReady, group.as_str(), &told);
    }
}

fn transaction_ids(look: &mut Look, state: &State, seen: Seen<'_>, now: Stamp) {
    for group in state.groups.values() {
        let (ending, aging) = (Kind::TransactionIdsEnding, Kind::TransactionIdsAging);
        let name = group.name.as_str();
        if state.databases_in(&group.name) == 0 {
            continue;
        }
        let Some((age, tenant)) = oldest(state, group, seen, now) else {
            look.cannot_tell(ending, name);
            look.cannot_tell(aging, name);
            continue;
        };
        let millions = age / XID_STEP * XID_STEP / 1_000_000;
        let told = format!("{tenant}: over {millions} million transactions old");
        if age >= XID_BAD {
            look.say(ending, name, told);
            look.cannot_tell(aging, name);
        } else if age >= XID_WARNING {
            look.say(aging, name, told);
        }
    }
}

/// The oldest transaction id of a group, as measured lately.
fn oldest<'a>(state: &'a State, group: &Group, seen: Seen<'_>, now: Stamp) -> Option<(u64, &'a TenantId)> {
    let placed = state.placed.get(&group.name)?.iter();
    let measured = placed.filter_map(|id| {
        let vitals = seen.vitals.get(id)?;
        (now.millis_since(vitals.at) <= MEASURED_MS).then_some((vitals.xid_age, id))
    });
    measured.max()
}

fn stuck(look: &mut Look, state: &State) {
    let mut stuck: BTreeMap<&Name, Vec<String>> = BTreeMap::new();
    for operation in state
        .begun_operations()
        .filter(|operation| operation.status == End::Stuck)
    {
        let Some(tenant) = state.tenants.get(&operation.tenant) else {
            continue;
        };
        let told = format!("{} of {}", operation.id, operation.tenant);
        stuck.entry(&tenant.placement.group).or_default().push(told);
    }
    for (group, told) in stuck {
        look.say_all(Kind::OperationStuck, group.as_str(), &told);
    }
}

fn overdue(look: &mut Look, state: &State, terms: Terms, now: Stamp) {
    // A tenth more than the schedule: what is at work on it is not late.
    let late = terms.credential_ms.saturating_add(terms.credential_ms / 10);
    let mut overdue: BTreeMap<&Name, Vec<String>> = BTreeMap::new();
    for tenant in rotation::overdue(state, now, late) {
        overdue
            .entry(&tenant.placement.group)
            .or_default()
            .push(tenant.id.to_string());
    }
    for (group, told) in overdue {
        look.say_all(Kind::CredentialOverdue, group.as_str(), &told);
    }
}

/// What of a look State does not know yet; none when it knows all.
pub fn delta(state: &State, look: &Look, memory: &mut Memory, now: Stamp) -> Option<ReportAlerts> {
    memory.wrong_since.retain(|id, _| look.wrong.contains_key(id));
    let open = |id: &AlertId| state.alerts.get(id).filter(|alert| alert.is_open());
    let mut raised: Vec<(&AlertId, &Raised)> = Vec::new();
    for (id, wrong) in &look.wrong {
        let since = *memory.wrong_since.entry(id.clone()).or_insert(now);
        let patience = match wrong.kind {
            Kind::AgentSilent => SILENT_MS,
            Kind::PostgresDown => DOWN_MS,
            Kind::IsolationAuditStale => FIRST_ROUND_MS,
            _ => 0,
        };
        let is_news = match open(id) {
            None => now.millis_since(since) >= patience,
            Some(known) => known.detail != alert::clip(&wrong.detail) && memory.may_retell(id, now),
        };
        if is_news {
            raised.push((id, wrong));
        }
    }
    let is_over = |alert: &&Alert| !look.wrong.contains_key(&alert.id) && !look.unknown.contains(&alert.id);
    let over: BTreeSet<&AlertId> = state
        .alerts
        .values()
        .filter(|alert| alert.is_open())
        .filter(is_over)
        .map(|alert| &alert.id)
        .collect();
    memory.over_since.retain(|id, _| over.contains(id));
    let is_over_long = |id: &&AlertId| {
        let since = *memory.over_since.entry((*id).clone()).or_insert(now);
        now.millis_since(since) >= OVER_MS
    };
    let resolved: Vec<AlertId> = over
        .into_iter()
        .filter(is_over_long)
        .take(REPORT_MAX)
        .cloned()
        .collect();

    raised.sort_by_key(|(_, raised)| (raised.kind.severity(), raised.kind, &raised.subject));
    let known = state.alerts.values().filter(|alert| alert.is_open()).count();
    let mut room = OPEN_MAX.saturating_sub(known);
    raised.retain(|(id, _)| {
        let is_known = open(id).is_some();
        let fits = is_known || room > 0;
        room -= usize::from(fits && !is_known);
        fits
    });
    raised.truncate(REPORT_MAX);
    for (id, _) in &raised {
        memory.told.insert((*id).clone(), now);
    }
    let is_told = |id: &AlertId| look.wrong.contains_key(id) || open(id).is_some();
    memory.told.retain(|id, _| is_told(id));
    let order = ReportAlerts {
        raised: raised.into_iter().map(|(_, raised)| raised.clone()).collect(),
        resolved,
    };
    (!order.raised.is_empty() || !order.resolved.is_empty()).then_some(order)
}

impl Memory {
    fn may_retell(&self, id: &AlertId, now: Stamp) -> bool {
        let told = self.told.get(id);
        told.is_none_or(|told| now.millis_since(*told) >= RETOLD_MS)
    }
}
