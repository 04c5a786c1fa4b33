//! A fleet's metrics, read when somebody scrapes.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Instant,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{
    Fleet,
    counts::{Outcome, Source},
    fleet::Rooms,
    pools::Tally,
    times::Times,
};

const SOURCES: [(Source, &str); 3] = [
    (Source::Memory, "memory"),
    (Source::Registry, "registry"),
    (Source::Fallback, "fallback"),
];
const OUTCOMES: [(Outcome, &str); 4] = [
    (Outcome::Served, "served"),
    (Outcome::Unknown, "unknown"),
    (Outcome::NotServing, "not_serving"),
    (Outcome::Failed, "failed"),
];

impl Fleet {
    /// Shows this fleet's metrics in a registry of the service's, for as long as the fleet lives. No label names a tenant.
    ///
    /// | Metric | Labels | What it says |
    /// |---|---|---|
    /// | `reeve_client_resolves_total` | `source` `outcome` | tenants looked for, by who answered (`memory`, `registry`, `fallback`) and what became of it (`served`, `unknown`, `not_serving`, `failed`) |
    /// | `reeve_client_tenant_mismatches_total` | | requests refused because their names led to two tenants |
    /// | `reeve_client_watch_connected` | | 1 while changes are streamed from a node |
    /// | `reeve_client_cache_entries` | | names remembered, those of nobody among them |
    /// | `reeve_client_cache_staleness_seconds` | | how long ago what is remembered was last known to be true; absent before the first time |
    /// | `reeve_client_pools` | | pools kept open |
    /// | `reeve_client_pool_connections` | `state` | their connections, `idle` and `in_use` |
    /// | `reeve_client_resolve_duration_seconds` | | how long resolves took that went to a node |
    /// | `reeve_client_hedges_asked_total` | | calls for which a second node was asked as well |
    /// | `reeve_client_hedges_won_total` | | those of them that the second node answered |
    /// | `reeve_client_pool_open_duration_seconds` | | how long opening a pool took: its credential, and room in the budget |
    /// | `reeve_client_pool_waits_total` | `wanted` | pools that waited for `room` in the budget, and pools lent while each `session` of theirs was in use |
    /// | `reeve_client_sessions_opened_total` | | sessions opened at PostgreSQL |
    /// | `reeve_client_session_reset_duration_seconds` | | how long a session took to be made as new, after its caller was done |
    ///
    /// docs/metrics.md has their types. How long PostgreSQL took to open a session is deliberately absent: sqlx does not
    /// say when it dials.
    pub fn register_metrics(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Shown(Arc::downgrade(self.rooms()))));
    }
}

/// The rooms as a scrape sees them; it does not keep a fleet alive.
struct Shown(Weak<Rooms>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl Collector for Shown {
    fn encode(&self, mut to: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Some(rooms) = self.0.upgrade() else {
            return Ok(());
        };
        let counts = rooms.counts();
        let help = "tenants looked for, by who answered and what became of it";
        let mut family = to.encode_descriptor("reeve_client_resolves", help, None, MetricType::Counter)?;
        for (source, source_name) in SOURCES {
            for (outcome, outcome_name) in OUTCOMES {
                let labels = [("source", source_name), ("outcome", outcome_name)];
                let count = ConstCounter::new(counts.resolves(source, outcome));
                count.encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "requests refused because their names led to two tenants";
        counter(&mut to, "tenant_mismatches", help, counts.mismatches())?;

        let is_watching = i64::from(counts.is_watching());
        gauge(
            &mut to,
            "watch_connected",
            "1 while changes are streamed from a node",
            is_watching,
        )?;
        let entries = whole(rooms.cache().len());
        gauge(
            &mut to,
            "cache_entries",
            "names remembered, those of nobody among them",
            entries,
        )?;
        if let Some(heard) = rooms.cache().heard_at() {
            let age = Instant::now().saturating_duration_since(heard).as_secs_f64();
            let help = "how long ago what is remembered was last known to be true";
            let name = "reeve_client_cache_staleness_seconds";
            let family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(age).encode(family)?;
        }
        let sizes = rooms.pools().sizes();
        gauge(&mut to, "pools", "pools kept open", whole(sizes.pools))?;
        let help = "connections of all pools";
        let name = "reeve_client_pool_connections";
        let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (state, count) in [("idle", sizes.idle), ("in_use", sizes.in_use)] {
            let labels = [("state", state)];
            ConstGauge::new(whole(count)).encode(family.encode_family(&labels)?)?;
        }
        calls(&mut to, &rooms)?;
        sessions(&mut to, rooms.pools().tally())
    }
}

/// Calls that went to nodes.
fn calls(to: &mut DescriptorEncoder, rooms: &Rooms) -> Result<(), fmt::Error> {
    let help = "how long resolves took that went to a node";
    histogram(to, "resolve_duration_seconds", help, &rooms.counts().asked)?;
    let [asked, won] = rooms.hedges();
    let help = "calls for which a second node was asked as well";
    counter(to, "hedges_asked", help, asked)?;
    counter(
        to,
        "hedges_won",
        "those of them that the second node answered",
        won,
    )
}

/// What pools do.
fn sessions(to: &mut DescriptorEncoder, tally: &Tally) -> Result<(), fmt::Error> {
    let help = "how long opening a pool took: its credential, and room in the budget";
    histogram(to, "pool_open_duration_seconds", help, &tally.openings)?;
    let help =
        "pools that waited for room in the budget, and pools lent while each session of theirs was in use";
    let name = "reeve_client_pool_waits";
    let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (wanted, count) in [("room", tally.room_waits()), ("session", tally.session_waits())] {
        let labels = [("wanted", wanted)];
        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
    }
    let opened = tally.sessions();
    counter(to, "sessions_opened", "sessions opened at PostgreSQL", opened)?;
    let help = "how long a session took to be made as new, after its caller was done";
    histogram(to, "session_reset_duration_seconds", help, &tally.resets)
}

fn histogram(to: &mut DescriptorEncoder, name: &str, help: &str, times: &Times) -> Result<(), fmt::Error> {
    let name = format!("reeve_client_{name}");
    let family = to.encode_descriptor(&name, help, None, MetricType::Histogram)?;
    times.shown().encode(family)
}

fn counter(to: &mut DescriptorEncoder, name: &str, help: &str, count: u64) -> Result<(), fmt::Error> {
    let name = format!("reeve_client_{name}");
    let family = to.encode_descriptor(&name, help, None, MetricType::Counter)?;
    ConstCounter::new(count).encode(family)
}

fn gauge(to: &mut DescriptorEncoder, name: &str, help: &str, value: i64) -> Result<(), fmt::Error> {
    let name = format!("reeve_client_{name}");
    let family = to.encode_descriptor(&name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(family)
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
