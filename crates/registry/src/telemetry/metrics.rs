//! Everything that is counted, under the prefix `reeve_`. docs/metrics.md lists it, and a test holds it to that.

use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use crate::consensus::{Committed, Unavailable, Work};
use crate::telemetry::recent::Recent;
use crate::telemetry::table::Table;

/// From 0.1 ms to 10 s; an alert's limit is an edge, so that a quantile beyond it is told from one before it.
const CALL_SECONDS: [f64; 13] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];
const DISK_SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
const SNAPSHOT_SECONDS: [f64; 8] = [0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0];

/// A method and how its call ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RpcCall {
    /// `reeve.v1.TenantService/CreateTenant`
    pub rpc_method: &'static str,
    /// `OK`, `NOT_FOUND`, …
    pub rpc_response_status_code: &'static str,
}

/// Why no backup can be kept, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupTrouble {
    /// A stable word.
    pub reason: &'static str,
    pub what: String,
    pub fix: &'static str,
}

/// One label and its value.
type Word = [(&'static str, &'static str); 1];

/// A node's metrics. Recording is lock-free where calls pass; gauges are set by the watchers of the node.
pub struct Metrics {
    registry: Registry,
    pub raft_has_leader: Gauge,
    pub raft_is_leader: Gauge,
    pub raft_is_voter: Gauge,
    pub raft_voters: Gauge,
    pub raft_term: Gauge,
    pub raft_leader_changes: Counter,
    pub raft_commit_index: Gauge,
    pub raft_applied_index: Gauge,
    pub raft_clock_offset_seconds: Table<1>,
    pub raft_peer_lag_entries: Table<1>,
    raft_proposals: Family<Word, Counter>,
    raft_proposal_seconds: Histogram,
    raft_log_fsync_seconds: Histogram,
    /// Not shown to Prometheus, which has the histogram.
    pub flushes: Recent,
    raft_snapshot_seconds: Family<Word, Histogram>,
    pub raft_last_snapshot: Gauge,
    pub data_disk_free_bytes: Gauge,
    pub data_damage_last: Table<1>,
    pub data_scrub_last: Gauge,
    pub disk_full: Gauge,
    pub disk_slow: Gauge,
    pub data_disk_total_bytes: Gauge,
    pub store_bytes: Table<1>,
    pub state_revision: Gauge,
    pub state_checksum: Gauge,
    pub tenants: Table<2>,
    pub agents: Table<2>,
    pub isolation_findings: Table<3>,
    pub agent_last_audit: Table<1>,
    pub credential_oldest: Gauge,
    pub rotation_every_seconds: Gauge,
    pub agent_last_heartbeat: Table<1>,
    pub operations: Table<2>,
    pub operation_oldest_running_seconds: Table<1>,
    pub watch_streams: Gauge,
    watch_resyncs: Family<Word, Counter>,
    pub audit_records: Counter,
    pub audit_chain_ok: Gauge,
    pub audit_last_verify: Gauge,
    pub certificate_not_after: Table<1>,
    pub alerts: Table<2>,
    pub alerts_untold: Gauge,
    alert_deliveries: Family<Word, Counter>,
    pub backup_every_seconds: Gauge,
    pub backup_last_success: Gauge,
    pub backup_failures: Counter,
    backup_failing: Table<1>,
    /// Not shown to Prometheus, which has the reason alone.
    backup_trouble: Mutex<Option<BackupTrouble>>,
    calls: Family<RpcCall, Histogram>,
    pub ratelimit_rejections: Counter,
}

impl Metrics {
    /// All of them at zero; what has labels begins with its first value.
    pub fn new(node_id: u64, cluster: &str) -> Metrics {
        let mut registry = Registry::with_prefix("reeve");
        let to = &mut registry;
        let build = Info::new([
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("node_id", node_id.to_string()),
            ("cluster", cluster.to_owned()),
        ]);
        to.register("build", "the program and the node it runs as", build);
        Metrics {
            raft_has_leader: add(
                to,
                "raft_has_leader",
                "1 while this node knows a leader that a quorum follows",
            ),
            raft_is_leader: add(to, "raft_is_leader", "1 while this node leads"),
            raft_is_voter: add(to, "raft_is_voter", "1 while this node has a vote"),
            raft_voters: add(to, "raft_voters", "nodes that have a vote, as this node knows it"),
            raft_term: add(to, "raft_term", "the term this node is in"),
            raft_leader_changes: add(to, "raft_leader_changes", "leaders this node has seen begin"),
            raft_commit_index: add(
                to,
                "raft_commit_index",
                "the last log entry known to be committed",
            ),
            raft_applied_index: add(to, "raft_applied_index", "the last log entry applied"),
            raft_clock_offset_seconds: add(
                to,
                "raft_clock_offset_seconds",
                "how far a voter's clock is ahead of the one in the middle; at the leader alone",
            ),
            raft_peer_lag_entries: add(
                to,
                "raft_peer_lag_entries",
                "entries that a peer still lacks; at the leader alone",
            ),
            raft_proposals: add(
                to,
                "raft_proposals",
                "proposals made at this node, by what became of them",
            ),
            raft_proposal_seconds: with(
                to,
                "raft_proposal_duration_seconds",
                "from proposing at this node to the answer",
                Histogram::new(CALL_SECONDS),
            ),
            raft_log_fsync_seconds: with(
                to,
                "raft_log_fsync_duration_seconds",
                "from handing a flush of the log over to its end",
                Histogram::new(DISK_SECONDS),
            ),
            flushes: Recent::default(),
            raft_snapshot_seconds: with(
                to,
                "raft_snapshot_duration_seconds",
                "snapshots written here, and installed from the leader",
                Family::new_with_constructor(|| Histogram::new(SNAPSHOT_SECONDS)),
            ),
            raft_last_snapshot: add(
                to,
                "raft_last_snapshot_timestamp_seconds",
                "when the newest snapshot on this node was written; 0 before the first",
            ),
            data_disk_free_bytes: add(
                to,
                "data_disk_free_bytes",
                "what this node may still write to the disk of its data folder",
            ),
            data_damage_last: add(
                to,
                "data_damage_last_timestamp_seconds",
                "when this node last found something damaged on its disk, by part; 0 for never since its start",
            ),
            data_scrub_last: add(
                to,
                "data_scrub_last_timestamp_seconds",
                "when everything on this node's disk was last read again; 0 before the first time",
            ),
            disk_full: add(
                to,
                "disk_full",
                "1 while less than the reserve is free: this node takes no changes",
            ),
            disk_slow: add(
                to,
                "disk_slow",
                "1 while flushes of the log take too long for a leader",
            ),
            data_disk_total_bytes: add(to, "data_disk_total_bytes", "the size of that disk"),
            store_bytes: add(to, "store_bytes", "what lies in the data folder, by part"),
            state_revision: add(to, "state_revision", "the revision that the checksum is of"),
            state_checksum: add(
                to,
                "state_checksum",
                "the first 48 bits of the state's hash: nodes at one revision have the same",
            ),
            tenants: add(to, "tenants", "tenants by state and home region"),
            agents: add(to, "agents", "agents by the state of their instance and region"),
            isolation_findings: add(
                to,
                "isolation_findings",
                "open findings of isolation audits by rule, severity and region",
            ),
            credential_oldest: add(
                to,
                "credential_oldest_timestamp_seconds",
                "when the oldest credential of an active tenant was published; 0 without one",
            ),
            rotation_every_seconds: add(
                to,
                "rotation_every_seconds",
                "the age at which this node has a credential changed; 0 without a schedule",
            ),
            agent_last_audit: add(
                to,
                "agent_last_audit_timestamp_seconds",
                "when an agent's isolation audit last came to its end, or the leader began if later; at the leader alone",
            ),
            agent_last_heartbeat: add(
                to,
                "agent_last_heartbeat_timestamp_seconds",
                "when an agent was last heard, or the leader began if later; at the leader alone",
            ),
            operations: add(to, "operations", "operations in the state, by kind and state"),
            operation_oldest_running_seconds: add(
                to,
                "operation_oldest_running_seconds",
                "age of the oldest operation that has not ended; 0 without one",
            ),
            watch_streams: add(to, "watch_streams", "watch streams that are open"),
            watch_resyncs: add(to, "watch_resyncs", "watchers told to begin again, by why"),
            audit_records: add(to, "audit_records", "audit records archived since start"),
            audit_chain_ok: with(
                to,
                "audit_chain_ok",
                "0 when the last check of this node's audit chains found one broken",
                one(),
            ),
            audit_last_verify: add(
                to,
                "audit_last_verify_timestamp_seconds",
                "when all audit chains were last read to their ends; 0 before the first time",
            ),
            certificate_not_after: add(
                to,
                "certificate_not_after_timestamp_seconds",
                "when a certificate ends: this node's, the issuing CA's, the root's",
            ),
            alerts: add(
                to,
                "alerts",
                "open alerts by severity, and whether somebody looks after them",
            ),
            alerts_untold: add(
                to,
                "alerts_untold",
                "turns of alerts that the webhook was not told of yet; 0 until there was one",
            ),
            alert_deliveries: deliveries(to),
            backup_every_seconds: add(
                to,
                "registry_backup_every_seconds",
                "how often a backup of the registry is due; 0 when none is scheduled",
            ),
            backup_last_success: add(
                to,
                "registry_backup_last_success_timestamp_seconds",
                "when the newest backup that was kept and read back was saved; 0 before the first",
            ),
            backup_failures: add(
                to,
                "registry_backup_failures",
                "scheduled backups that failed at this node",
            ),
            backup_failing: add(
                to,
                "registry_backup_failing",
                "1 while this node cannot keep backups, by why; no row when it can",
            ),
            backup_trouble: Mutex::new(None),
            calls: with(
                to,
                "rpc_server_call_duration_seconds",
                "calls answered, by method and status",
                Family::new_with_constructor(|| Histogram::new(CALL_SECONDS)),
            ),
            ratelimit_rejections: add(
                to,
                "ratelimit_rejections",
                "calls turned away for coming too fast",
            ),
            registry,
        }
    }

    /// Says why no backup can be kept here, or that it can.
    pub fn backup(&self, trouble: Option<BackupTrouble>) {
        let rows = trouble
            .iter()
            .map(|trouble| ([("reason", trouble.reason.to_owned())], 1));
        self.backup_failing.show(rows.collect());
        *self.backup_trouble.lock() = trouble;
    }

    /// Why no backup can be kept here; none when it can.
    pub fn backup_trouble(&self) -> Option<BackupTrouble> {
        self.backup_trouble.lock().clone()
    }

    /// Counts one answered call.
    pub fn call(&self, rpc_method: &'static str, rpc_response_status_code: &'static str, took: Duration) {
        let call = RpcCall {
            rpc_method,
            rpc_response_status_code,
        };
        self.calls.get_or_create(&call).observe(took.as_secs_f64());
    }

    /// Counts one proposal, and how long it took when it was decided: what timed out says only how patient it was.
    pub fn proposed(&self, answer: &Result<Committed, Unavailable>, took: Duration) {
        let result = match answer {
            Ok(committed) if committed.outcome.is_ok() => "applied",
            Ok(_) => "refused",
            Err(Unavailable::Broken(_)) => "broken",
            Err(Unavailable::NoLeader | Unavailable::NotCaughtUp { .. }) => "no_leader",
        };
        self.raft_proposals.get_or_create(&[("result", result)]).inc();
        if answer.is_ok() {
            self.raft_proposal_seconds.observe(took.as_secs_f64());
        }
    }

    /// Measures what consensus did on this node's disk.
    pub fn worked(&self, work: Work, took: Duration) {
        if work == Work::LogFlush {
            self.flushes.took(took);
        }
        let snapshot = |op| self.raft_snapshot_seconds.get_or_create_owned(&[("op", op)]);
        let histogram = match work {
            Work::LogFlush => self.raft_log_fsync_seconds.clone(),
            Work::SnapshotWrite => snapshot("write"),
            Work::SnapshotInstall => snapshot("install"),
        };
        histogram.observe(took.as_secs_f64());
    }

    /// Counts a watcher that was told to begin again.
    pub fn resynced(&self, reason: &'static str) {
        self.watch_resyncs.get_or_create(&[("reason", reason)]).inc();
    }

    /// A message to the webhook came to this result.
    pub fn alert_delivery(&self, result: &'static str) {
        self.alert_deliveries.get_or_create(&[("result", result)]).inc();
    }

    /// The page that Prometheus reads.
    pub fn page(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// All results are there from the start: what first appears with a count would be no increase to anybody.
fn deliveries(to: &mut Registry) -> Family<Word, Counter> {
    let what = "messages to the webhook: ok, failed (said again), left_out (refused for what they say)";
    let deliveries: Family<Word, Counter> = add(to, "alert_deliveries", what);
    for result in ["ok", "failed", "left_out"] {
        deliveries.get_or_create_owned(&[("result", result)]);
    }
    deliveries
}

fn one() -> Gauge {
    let gauge = Gauge::default();
    gauge.set(1);
    gauge
}

fn add<M: Metric + Clone + Default>(to: &mut Registry, name: &str, help: &str) -> M {
    with(to, name, help, M::default())
}

fn with<M: Metric + Clone>(to: &mut Registry, name: &str, help: &str, metric: M) -> M {
    to.register(name, help, metric.clone());
    metric
}
