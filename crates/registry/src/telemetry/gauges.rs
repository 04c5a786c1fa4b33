//! Keeps what follows from State and from the group's status true: leadership, lag, counts by state, ends of
//! certificates.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use reeve_domain::group::MemberStatus;
use reeve_domain::isolation::{Rule, Severity};
use reeve_domain::plan::Sightings;
use reeve_domain::words::Name;
use reeve_domain::{Stamp, State, alert, operation, tenant};
use reeve_proto::identity::{Certificate, Credentials};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::{MissedTickBehavior, interval};

use super::seconds;
use super::table::Labels;
use crate::consensus::{NodeRole, Status};
use crate::damage::Part;
use crate::http::STALENESS_MAX;
use crate::{Rooms, pilot};

const EVERY: Duration = Duration::from_secs(1);
const TENANT_STATES: [&str; 5] = ["provisioning", "active", "suspended", "deleting", "failed"];
const AGENT_STATES: [&str; 3] = ["joining", "ready", "down"];
const OPERATION_KINDS: [&str; 5] = ["onboard", "offboard", "scan", "allow", "rotate"];
const OPERATION_STATES: [&str; 5] = ["running", "undoing", "done", "undone", "stuck"];

type Rows<const N: usize> = BTreeMap<Labels<N>, i64>;

/// Looks once a second.
pub(super) async fn run(rooms: Rooms, credentials: Credentials) {
    let mut seen = Seen::default();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let published = rooms.consensus.published();
        let now = pilot::now(&published.state);
        seen.group(&rooms, &rooms.consensus.status(), now);
        count(&rooms, &published.state, now, seen.leads_since);
        certificates(&rooms, &published.state, &credentials);
        let disk = rooms.consensus.disk_health();
        rooms.metrics.data_damage_last.show(damage(&rooms));
        rooms.metrics.disk_full.set(i64::from(disk.full));
        rooms.metrics.disk_slow.set(i64::from(disk.slow));
        rooms.metrics.watch_streams.set(rooms.hub.streams() as i64);
    }
}

/// What the last look saw.
#[derive(Default)]
struct Seen {
    /// The last term that had a leader.
    led_term: u64,
    leads_since: Option<Stamp>,
}

impl Seen {
    fn group(&mut self, rooms: &Rooms, status: &Status, now: Stamp) {
        let (metrics, me) = (&rooms.metrics, rooms.node_id.0);
        // A node keeps the name of a leader that is gone until it hears of another: only a quorum's word counts.
        let heard = rooms
            .consensus
            .staleness()
            .is_some_and(|age| age <= STALENESS_MAX);
        let leads = status.leader == Some(me);
        metrics
            .raft_has_leader
            .set(i64::from(status.leader.is_some() && heard));
        metrics.raft_is_leader.set(i64::from(leads));
        metrics.raft_term.set(status.term as i64);
        metrics.raft_commit_index.set(status.commit_index as i64);
        metrics.raft_applied_index.set(status.applied_index as i64);

        let is_new = status.leader.is_some() && status.term != self.led_term;
        if is_new {
            self.led_term = status.term;
            metrics.raft_leader_changes.inc();
        }
        self.leads_since = match self.leads_since {
            Some(since) if leads && !is_new => Some(since),
            _ => leads.then_some(now),
        };

        let voters = status
            .nodes
            .iter()
            .filter(|node| matches!(node.role, NodeRole::Leader | NodeRole::Follower));
        let votes = voters.clone().any(|node| node.id == me);
        metrics.raft_is_voter.set(i64::from(votes));
        metrics.raft_voters.set(voters.count() as i64);
        metrics.raft_peer_lag_entries.show(lags(status, me));
        metrics
            .raft_clock_offset_seconds
            .show(offsets(rooms.consensus.clock_offsets()));
    }
}

/// When damage was last found in each part.
fn damage(rooms: &Rooms) -> Rows<1> {
    let lists = [rooms.archive.damages(), rooms.consensus.damages()];
    let parts = Part::ALL.map(|part| {
        let last = lists.iter().filter_map(|list| list.last(part)).max();
        ([("part", part.word().to_owned())], last.map_or(0, seconds))
    });
    parts.into_iter().collect()
}

/// How far each other node is behind; nothing on a node that does not lead.
fn lags(status: &Status, me: u64) -> Rows<1> {
    if status.leader != Some(me) {
        return Rows::new();
    }
    let peers = status
        .nodes
        .iter()
        .filter(|node| node.id != me && node.role != NodeRole::Joining);
    let lag = peers.map(|node| {
        // Who has not answered this leader yet may lack everything.
        let lacks = status.last_index.saturating_sub(node.matched_index.unwrap_or(0));
        ([("peer", node.id.to_string())], lacks as i64)
    });
    lag.collect()
}

/// How far each voter's clock is off, in seconds.
fn offsets(clocks: BTreeMap<u64, i64>) -> Rows<1> {
    let row = |(peer, ms): (u64, i64)| ([("peer", peer.to_string())], ms / 1_000);
    clocks.into_iter().map(row).collect()
}

fn count(rooms: &Rooms, state: &State, now: Stamp, leads_since: Option<Stamp>) {
    let metrics = &rooms.metrics;
    metrics.tenants.show(tenants(state));
    metrics.agents.show(agents(state));
    metrics.isolation_findings.show(findings(state));
    metrics.alerts.show(alerts(state));
    let untold = state.alerts_told.map_or(0, |_| alert::untold(state).len());
    metrics.alerts_untold.set(untold as i64);
    metrics.credential_oldest.set(oldest_credential(state));
    let (operations, oldest) = operations(state, now);
    metrics.operations.show(operations);
    metrics.operation_oldest_running_seconds.show(oldest);
    let heard = leads_since.map(|since| heartbeats(state, &rooms.sightings.own(), since));
    metrics.agent_last_heartbeat.show(heard.unwrap_or_default());
    let audited = leads_since.map(|since| audits(state, &rooms.sightings.own(), since));
    metrics.agent_last_audit.show(audited.unwrap_or_default());
}

/// Open alerts; each combination is a row, so that a zero is seen.
fn alerts(state: &State) -> Rows<2> {
    let row = |severity: Severity, acknowledged: bool| {
        let acknowledged = if acknowledged { "yes" } else { "no" };
        [
            ("severity", severity.word().to_owned()),
            ("acknowledged", acknowledged.to_owned()),
        ]
    };
    let mut rows = Rows::new();
    for severity in [Severity::Critical, Severity::Warning] {
        for acknowledged in [false, true] {
            rows.insert(row(severity, acknowledged), 0);
        }
    }
    for alert in state.alerts.values().filter(|alert| alert.is_open()) {
        *rows
            .entry(row(alert.kind.severity(), alert.acknowledged.is_some()))
            .or_default() += 1;
    }
    rows
}

fn tenants(state: &State) -> Rows<2> {
    let mut rows = by_region(state, &TENANT_STATES);
    for tenant in state.tenants.values() {
        let home = tenant.regions.first().map(ToString::to_string);
        let labels = in_region(tenant.status.word(), home.unwrap_or_default());
        *rows.entry(labels).or_default() += 1;
    }
    rows
}

/// When the oldest credential of an active tenant was published; 0 without one.
fn oldest_credential(state: &State) -> i64 {
    let active = state
        .tenants
        .values()
        .filter(|tenant| tenant.status == tenant::Status::Active);
    let oldest = active.map(|tenant| tenant.credential_published()).min();
    oldest.map_or(0, |at| (at.0 / 1_000) as i64)
}

fn agents(state: &State) -> Rows<2> {
    let mut rows = by_region(state, &AGENT_STATES);
    for group in state.groups.values() {
        for member in &group.members {
            let word = match member.status {
                MemberStatus::Joining => "joining",
                MemberStatus::Ready => "ready",
                MemberStatus::Down => "down",
            };
            *rows.entry(in_region(word, group.region.to_string())).or_default() += 1;
        }
    }
    rows
}

/// Open findings of each rule, in each region; each rule at zero: a count that falls to nothing is still a count.
fn findings(state: &State) -> Rows<3> {
    let labels = |rule: Rule, region: &Name| {
        let severity = rule.severity().word();
        [
            ("rule", rule.code().to_owned()),
            ("severity", severity.to_owned()),
            ("region", region.to_string()),
        ]
    };
    let none = state
        .regions
        .keys()
        .flat_map(|region| Rule::ALL.map(|rule| (labels(rule, region), 0)));
    let mut rows: Rows<3> = none.collect();
    for finding in state.findings.values().filter(|finding| finding.is_open()) {
        if let Some(group) = state.groups.get(&finding.group) {
            *rows.entry(labels(finding.rule, &group.region)).or_default() += 1;
        }
    }
    rows
}

/// Each region with each state at zero: a count that falls to nothing is still a count.
fn by_region(state: &State, words: &[&'static str]) -> Rows<2> {
    let regions = state.regions.keys();
    let rows = regions.flat_map(|region| words.iter().map(|word| (in_region(word, region.to_string()), 0)));
    rows.collect()
}

fn in_region(word: &str, region: String) -> Labels<2> {
    [("state", word.to_owned()), ("region", region)]
}

/// How many of each kind and state, and the age in seconds of the oldest of each kind that has not ended.
fn operations(state: &State, now: Stamp) -> (Rows<2>, Rows<1>) {
    let labels = |kind: &str, word: &str| [("kind", kind.to_owned()), ("state", word.to_owned())];
    let mut rows = Rows::new();
    let mut oldest: Rows<1> = OPERATION_KINDS
        .map(|kind| ([("kind", kind.to_owned())], 0))
        .into();
    for (kind, word) in OPERATION_KINDS
        .iter()
        .flat_map(|kind| OPERATION_STATES.map(|word| (kind, word)))
    {
        rows.insert(labels(kind, word), 0);
    }
    for operation in state.operations.values() {
        let kind = match operation.kind {
            operation::Kind::Onboard => "onboard",
            operation::Kind::Offboard => "offboard",
            operation::Kind::Scan => "scan",
            operation::Kind::Allow => "allow",
            operation::Kind::Rotate => "rotate",
        };
        let word = match operation.status {
            operation::Status::Running => "running",
            operation::Status::Undoing => "undoing",
            operation::Status::Done => "done",
            operation::Status::Undone => "undone",
            operation::Status::Stuck => "stuck",
            operation::Status::Queued => "queued",
        };
        *rows.entry(labels(kind, word)).or_default() += 1;
        if !operation.has_ended() {
            let age = (now.millis_since(operation.created) / 1_000) as i64;
            let oldest = oldest.entry([("kind", kind.to_owned())]).or_default();
            *oldest = age.max(*oldest);
        }
    }
    (rows, oldest)
}

/// When each agent was last heard. A new leader has heard nobody: it counts silence from its own beginning.
fn heartbeats(state: &State, heard: &Sightings, since: Stamp) -> Rows<1> {
    last_times(state, since, |agent| {
        heard.agents.get(agent).map(|sighting| sighting.seen)
    })
}

/// When each agent's audit last came to the end of a round, likewise.
fn audits(state: &State, heard: &Sightings, since: Stamp) -> Rows<1> {
    last_times(state, since, |agent| heard.agents.get(agent)?.audited)
}

fn last_times(state: &State, since: Stamp, last: impl Fn(&Name) -> Option<Stamp>) -> Rows<1> {
    let members = state.groups.values().flat_map(|group| &group.members);
    let row = members.map(|member| {
        let at = last(&member.name).unwrap_or_default().max(since);
        ([("agent", member.name.to_string())], (at.0 / 1_000) as i64)
    });
    row.collect()
}

fn certificates(rooms: &Rooms, state: &State, credentials: &Credentials) {
    let ends = [
        ("node", Some(credentials.not_after())),
        ("issuer", end_of(&state.cluster.issuing_chain_pem)),
        ("root", end_of(&state.cluster.root_ca_pem)),
    ];
    let known = ends
        .into_iter()
        .filter_map(|(role, end)| Some(([("role", role.to_owned())], seconds(end?))));
    rooms.metrics.certificate_not_after.show(known.collect());
}

/// When the first certificate of a chain ends; nothing before the cluster is founded.
fn end_of(pem: &str) -> Option<SystemTime> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    Certificate::read(&der).ok().map(|read| read.not_after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::NodeStatus;

    fn status(leader: u64, matched: &[(u64, NodeRole, Option<u64>)]) -> Status {
        let node = |(id, role, matched_index): &(u64, NodeRole, Option<u64>)| NodeStatus {
            id: *id,
            api: String::new(),
            peer: String::new(),
            role: *role,
            matched_index: *matched_index,
            heard: None,
        };
        Status {
            leader: Some(leader),
            term: 7,
            commit_index: 90,
            last_index: 100,
            applied_index: 90,
            nodes: matched.iter().map(node).collect(),
        }
    }

    #[test]
    fn the_leader_alone_says_how_far_the_others_are_behind() {
        let group = [
            (1, NodeRole::Leader, None),
            (2, NodeRole::Follower, Some(97)),
            (3, NodeRole::Follower, None),
            (4, NodeRole::Joining, None),
        ];
        let row = |peer: u64, lag| ([("peer", peer.to_string())], lag);
        assert_eq!(lags(&status(1, &group), 1), [row(2, 3), row(3, 100)].into());
        assert!(lags(&status(2, &group), 1).is_empty());
    }

    #[test]
    fn an_agent_that_a_new_leader_has_not_heard_counts_from_the_leaders_beginning() {
        let mut state = State::default();
        let name = |text: &str| reeve_domain::words::Name::parse(text).unwrap();
        state.regions.insert(
            name("vn"),
            reeve_domain::group::Region {
                name: name("vn"),
                display_name: String::new(),
            },
        );
        for agent in ["old", "silent", "heard"] {
            reeve_domain::group::enrol(&mut state, &name(agent), &name("vn"), &name(agent)).unwrap();
        }
        let sighting = |seen| reeve_domain::plan::Sighting {
            seen: Stamp(seen),
            lag_bytes: 0,
            connections: 0,
            audited: None,
        };
        let heard = Sightings {
            agents: [(name("old"), sighting(3_000)), (name("heard"), sighting(60_000))].into(),
        };
        let row = |agent: &str, at| ([("agent", agent.to_owned())], at);
        assert_eq!(
            heartbeats(&state, &heard, Stamp(20_000)),
            [row("heard", 60), row("old", 20), row("silent", 20)].into()
        );
        let joining = agents(&state)[&in_region("joining", "vn".to_owned())];
        assert_eq!((joining, agents(&state).len()), (3, 3));
    }
}
