//! Series of each tenant: no more than a Prometheus bears, by opaque ids.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use reeve_domain::TenantId;

use crate::senses::health::Fares;

/// Series of each tenant: by its opaque id, and gone with it. What its tries came to is gone when they end, too.
pub(super) struct Tenants {
    up: Family<Labels, Gauge<i64, AtomicI64>>,
    probe_seconds: Family<Labels, Gauge<f64, AtomicU64>>,
    database_bytes: Family<Labels, Gauge<i64, AtomicI64>>,
}

type Labels = [(&'static str, String); 1];

/// Tenants that have series of their own.
const SERIES_TENANTS_MAX: usize = 5_000;

impl Tenants {
    pub(super) fn new(registry: &mut Registry) -> Tenants {
        let tenants = Tenants {
            up: Family::default(),
            probe_seconds: Family::default(),
            database_bytes: Family::default(),
        };
        registry.register(
            "tenant_up",
            "Whether its services come in, as the agent tries it",
            tenants.up.clone(),
        );
        registry.register(
            "tenant_probe_seconds",
            "How long coming in took, TLS and password included",
            tenants.probe_seconds.clone(),
        );
        registry.register(
            "tenant_database_bytes",
            "Size of its database",
            tenants.database_bytes.clone(),
        );
        tenants
    }

    pub(super) fn show(&self, board: BTreeMap<TenantId, Fares>, known_for: Duration) {
        self.up.clear();
        self.probe_seconds.clear();
        self.database_bytes.clear();
        for (id, fares) in board.into_iter().take(SERIES_TENANTS_MAX) {
            let labels = [("tenant", id.to_string())];
            let is_tried = fares.tried.is_some_and(|at| at.elapsed() <= known_for);
            if let Some(verdict) = fares.verdict.as_ref().filter(|_| is_tried) {
                self.up.get_or_create(&labels).set(i64::from(verdict.is_ok()));
            }
            if let Some(ms) = fares.vitals.tried_ms.filter(|_| is_tried) {
                self.probe_seconds.get_or_create(&labels).set(ms as f64 / 1_000.0);
            }
            if let Some(bytes) = fares.vitals.size_bytes {
                self.database_bytes.get_or_create(&labels).set(bytes as i64);
            }
        }
    }
}
