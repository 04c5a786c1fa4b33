//! Everything that is counted, under the prefix `reeve_`.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// From 0.1 ms to 10 s.
const CALL_SECONDS: [f64; 12] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0,
];

/// A method and how its call ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RpcCall {
    /// `reeve.v1.TenantService/CreateTenant`
    pub rpc_method: &'static str,
    /// `OK`, `NOT_FOUND`, …
    pub rpc_response_status_code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

/// A node's metrics. Recording is lock-free where calls pass; gauges are set by the watcher of the node.
pub struct Metrics {
    registry: Registry,
    pub raft_has_leader: Gauge,
    pub raft_is_leader: Gauge,
    pub raft_term: Gauge,
    pub raft_applied_index: Gauge,
    pub raft_leader_changes: Counter,
    tenants: Family<InState, Gauge>,
    operations: Family<InState, Gauge>,
    pub watch_streams: Gauge,
    pub audit_records: Counter,
    pub certificate_not_after: Gauge<f64, AtomicU64>,
    calls: Family<RpcCall, Histogram>,
    pub ratelimit_rejections: Counter,
}

impl Metrics {
    /// All of them at zero.
    pub fn new(node_id: u64, cluster: &str) -> Metrics {
        let mut registry = Registry::with_prefix("reeve");
        let build = Info::new([
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("node_id", node_id.to_string()),
            ("cluster", cluster.to_owned()),
        ]);
        registry.register("build", "the program and the node it runs as", build);
        let calls: Family<RpcCall, Histogram> = Family::new_with_constructor(|| Histogram::new(CALL_SECONDS));
        let metrics = Metrics {
            raft_has_leader: Gauge::default(),
            raft_is_leader: Gauge::default(),
            raft_term: Gauge::default(),
            raft_applied_index: Gauge::default(),
            raft_leader_changes: Counter::default(),
            tenants: Family::default(),
            operations: Family::default(),
            watch_streams: Gauge::default(),
            audit_records: Counter::default(),
            certificate_not_after: Gauge::default(),
            calls,
            ratelimit_rejections: Counter::default(),
            registry: Registry::default(),
        };
        metrics.register(&mut registry);
        Metrics { registry, ..metrics }
    }

    fn register(&self, to: &mut Registry) {
        to.register(
            "raft_has_leader",
            "1 while this node knows a leader",
            self.raft_has_leader.clone(),
        );
        to.register(
            "raft_is_leader",
            "1 while this node leads",
            self.raft_is_leader.clone(),
        );
        to.register("raft_term", "the term this node is in", self.raft_term.clone());
        to.register(
            "raft_applied_index",
            "the last log entry applied",
            self.raft_applied_index.clone(),
        );
        to.register(
            "raft_leader_changes",
            "leaders this node has seen begin",
            self.raft_leader_changes.clone(),
        );
        to.register("tenants", "tenants by state", self.tenants.clone());
        to.register("operations", "operations by state", self.operations.clone());
        to.register(
            "watch_streams",
            "watch streams that are open",
            self.watch_streams.clone(),
        );
        to.register(
            "audit_records",
            "audit records archived since start",
            self.audit_records.clone(),
        );
        to.register(
            "certificate_not_after_timestamp_seconds",
            "when this node's certificate ends",
            self.certificate_not_after.clone(),
        );
        to.register(
            "rpc_server_call_duration_seconds",
            "calls answered, by method and status",
            self.calls.clone(),
        );
        to.register(
            "ratelimit_rejections",
            "calls turned away for coming too fast",
            self.ratelimit_rejections.clone(),
        );
    }

    /// Counts one answered call.
    pub fn call(&self, rpc_method: &'static str, rpc_response_status_code: &'static str, took: Duration) {
        let call = RpcCall {
            rpc_method,
            rpc_response_status_code,
        };
        self.calls.get_or_create(&call).observe(took.as_secs_f64());
    }

    /// Sets how many tenants are in each state; a state that is not named keeps its gauge.
    pub fn set_tenants(&self, counts: impl IntoIterator<Item = (&'static str, usize)>) {
        for (state, count) in counts {
            self.tenants.get_or_create(&InState { state }).set(count as i64);
        }
    }

    /// Sets how many operations are in each state.
    pub fn set_operations(&self, counts: impl IntoIterator<Item = (&'static str, usize)>) {
        for (state, count) in counts {
            self.operations
                .get_or_create(&InState { state })
                .set(count as i64);
        }
    }

    /// The page that Prometheus reads.
    pub fn page(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_what_was_counted() {
        let metrics = Metrics::new(3, "hospital");
        metrics.call("reeve.v1.TenantService/GetTenant", "OK", Duration::from_millis(2));
        metrics.set_tenants([("active", 8)]);
        metrics.audit_records.inc();
        let page = metrics.page().unwrap();
        for line in [
            "reeve_build_info{version=\"",
            "reeve_raft_has_leader 0",
            "reeve_tenants{state=\"active\"} 8",
            "reeve_audit_records_total 1",
            "reeve_rpc_server_call_duration_seconds_count{rpc_method=\"reeve.v1.TenantService/GetTenant\",rpc_response_status_code=\"OK\"} 1",
            "reeve_certificate_not_after_timestamp_seconds 0",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    }
}
