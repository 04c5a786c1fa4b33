//! What the agent counts and sees of its instance, as a page for Prometheus.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::SystemTime;

use axum::http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::tenants::Tenants;
use crate::host::{Host, Look};
use crate::link::Link;
use crate::senses::isolation::Round;

pub(super) struct Metrics {
    registry: Registry,
    pg_up: Gauge<i64, AtomicI64>,
    connections: Gauge<i64, AtomicI64>,
    connections_limit: Gauge<i64, AtomicI64>,
    starts: Gauge<i64, AtomicI64>,
    xid_age: Gauge<i64, AtomicI64>,
    connected: Gauge<i64, AtomicI64>,
    steps: Gauge<i64, AtomicI64>,
    reports: Gauge<i64, AtomicI64>,
    records: [Gauge<i64, AtomicI64>; 3],
    audit: [Gauge<i64, AtomicI64>; 3],
    audit_took: Gauge<f64, AtomicU64>,
    pub(super) tenants: Tenants,
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("reeve");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "This program", build);
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::<i64, AtomicI64>::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let pg_up = gauge("pg_up", "PostgreSQL answers");
        let connections = gauge("pg_connections", "Client connections to PostgreSQL");
        let connections_limit = gauge(
            "pg_connections_limit",
            "Connections that PostgreSQL takes at the most",
        );
        let starts = gauge(
            "pg_starts",
            "How often the agent has started PostgreSQL since it started itself",
        );
        let xid_age = gauge(
            "pg_xid_age",
            "Transactions since the oldest row of any database that is not frozen",
        );
        let connected = gauge(
            "agent_registry_connected",
            "A session with a registry node is open",
        );
        let steps = gauge("agent_steps_at_work", "Steps being carried out");
        let reports = gauge(
            "agent_reports_unacknowledged",
            "Reports that no node has acknowledged",
        );
        let records = [
            gauge("agent_records", "Records of the registry on disk"),
            gauge("agent_records_kept", "Records kept since the agent started"),
            gauge(
                "agent_records_not_kept",
                "Records that were not believed or could not be written since the agent started",
            ),
        ];
        let audit = [
            gauge(
                "isolation_audit_last_timestamp_seconds",
                "When the isolation audit last came to the end of a round; 0 before the first",
            ),
            gauge(
                "isolation_audit_findings",
                "What is open, as far as the agent has seen since it started",
            ),
            gauge("isolation_audit_databases", "Databases that it looked into"),
        ];
        let audit_took = Gauge::<f64, AtomicU64>::default();
        registry.register(
            "isolation_audit_duration_seconds",
            "How long the last round took",
            audit_took.clone(),
        );
        let tenants = Tenants::new(&mut registry);
        Metrics {
            tenants,
            registry,
            pg_up,
            connections,
            connections_limit,
            starts,
            xid_age,
            connected,
            steps,
            reports,
            records,
            audit,
            audit_took,
        }
    }

    pub(super) async fn render(
        &self,
        host: &Host,
        link: &Link,
        last: Option<(Round, usize)>,
    ) -> (StatusCode, String) {
        let health = host.health().await;
        let (steps, reports) = link.load();
        self.pg_up.set(i64::from(health.look == Look::Answered));
        self.connections.set(i64::from(health.connections));
        self.connections_limit.set(i64::from(health.connections_limit));
        self.starts.set(i64::from(host.starts()));
        self.xid_age.set(i64::from(health.xid_age));
        self.connected.set(i64::from(link.is_connected()));
        self.steps.set(steps as i64);
        self.reports.set(reports as i64);
        let (held, kept, not_kept) = link.records();
        for (gauge, value) in self.records.iter().zip([held as u64, kept, not_kept]) {
            gauge.set(value as i64);
        }
        if let Some((last, open)) = last {
            let at = SystemTime::now().checked_sub(last.ended.elapsed());
            let since = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
            let values = [
                since.unwrap_or_default().as_secs(),
                open as u64,
                last.scope.inside.len() as u64,
            ];
            for (gauge, value) in self.audit.iter().zip(values) {
                gauge.set(value as i64);
            }
            self.audit_took.set(last.took.as_secs_f64());
        }
        match self.page() {
            Ok(page) => (StatusCode::OK, page),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        }
    }

    fn page(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use reeve_domain::TenantId;
    use tokio::time::Instant;

    use super::*;
    use crate::senses::health::Fares;

    const HOUR: Duration = Duration::from_secs(3_600);
    const LIST: &str = include_str!("../../../../docs/metrics.md");

    fn tried() -> Fares {
        let mut fares = Fares::default();
        fares.tried = Some(Instant::now());
        fares.verdict = Some(Ok(None));
        fares.vitals.tried_ms = Some(5);
        fares.vitals.size_bytes = Some(1);
        fares
    }

    #[test]
    fn whoever_is_gone_or_is_not_tried_any_more_is_not_said_to_be_up() {
        let metrics = Metrics::new();
        let [stays, ends, goes] = [1, 2, 3].map(TenantId::from_random);
        let mut board: BTreeMap<TenantId, Fares> =
            [&stays, &ends, &goes].map(|id| (id.clone(), tried())).into();
        let shown = |board: &BTreeMap<TenantId, Fares>, name: &str| {
            metrics.tenants.show(board.clone(), HOUR);
            let page = metrics.page().unwrap();
            let of = |id: &TenantId| page.contains(&format!("{name}{{tenant=\"{id}\"}}"));
            [of(&stays), of(&ends), of(&goes)]
        };
        let tries = ["reeve_tenant_up", "reeve_tenant_probe_seconds"];
        for name in tries {
            assert_eq!(shown(&board, name), [true, true, true], "{name}");
        }
        let long_ago = Instant::now().checked_sub(HOUR + Duration::from_secs(1));
        board.get_mut(&ends).unwrap().tried = long_ago;
        board.remove(&goes);
        for name in tries {
            assert_eq!(shown(&board, name), [true, false, false], "{name}");
        }
        assert_eq!(shown(&board, "reeve_tenant_database_bytes"), [true, true, false]);
    }

    #[test]
    fn every_metric_is_listed_as_it_is() {
        let (_, listed) = LIST.split_once("\n## An agent\n").unwrap();
        // What follows is the client's, which has a test of its own.
        let (listed, _) = listed.split_once("\n## A service\n").unwrap();
        let listed = listed.lines().filter(|line| line.starts_with("| `reeve_"));
        let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
        let metrics = Metrics::new();
        metrics
            .tenants
            .show([(TenantId::from_random(1), tried())].into(), HOUR);
        let page = metrics.page().unwrap();
        let words = |mark: &str| -> BTreeMap<String, String> {
            let marked = page
                .lines()
                .filter_map(|line| line.strip_prefix(mark)?.split_once(' '));
            marked
                .map(|(name, rest)| (name.to_owned(), rest.trim_end_matches('.').to_owned()))
                .collect()
        };
        let (help, kind) = (words("# HELP "), words("# TYPE "));
        let row = |(name, what): (&String, &String)| match kind[name].as_str() {
            "info" => format!("| `{name}_info` | info | `version` | {what} |"),
            kind if name.starts_with("reeve_tenant_") => format!("| `{name}` | {kind} | `tenant` | {what} |"),
            kind => format!("| `{name}` | {kind} |  | {what} |"),
        };
        let shown: BTreeSet<String> = help.iter().map(row).collect();
        assert!(shown.len() > 8, "{page}");
        let missing: Vec<_> = shown.difference(&listed).collect();
        let gone: Vec<_> = listed.difference(&shown).collect();
        assert!(
            missing.is_empty() && gone.is_empty(),
            "docs/metrics.md lacks {missing:#?}\nand lists {gone:#?}, which no agent shows"
        );
    }
}
