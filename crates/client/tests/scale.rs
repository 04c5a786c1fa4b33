//! More tenants than connections: nobody is given another's session, the budget holds, and pools come and go.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use anyhow::{Result, ensure};
use reeve_client::Limits;
use support::{
    Cluster,
    crowd::{Crowd, Size},
    postgres::Server,
};

const SIZE: Size = Size {
    tenants: 200,
    databases: 10,
    callers: 40,
};
const CONNECTIONS: usize = 20;
const CALLS: usize = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_as_many_tenants_as_connections_are_each_served_by_their_own() -> Result<()> {
    let server = Server::start(&Cluster::new(), 2 * CONNECTIONS as u32 + 10).await?;
    server.populate(SIZE.tenants, SIZE.databases).await?;
    let limits = Limits {
        connections_max: CONNECTIONS as u32,
        connections_per_pool_max: 2,
        ..Limits::default()
    };
    let crowd = Crowd::new(&server, SIZE, limits);
    let mut registry = prometheus_client::registry::Registry::default();
    crowd.fleet.register_metrics(&mut registry);
    let seen = crowd.work(&server, CALLS).await?;
    let calls = SIZE.callers * CALLS;
    ensure!(seen.sessions_max <= CONNECTIONS, "{} sessions", seen.sessions_max);
    ensure!(seen.served.len() + seen.exhausted == calls as u64);
    ensure!(seen.served.len() > 0);
    // Far more tenants than pools that fit: the least lately used made room for them.
    let pools_max = CONNECTIONS / 2;
    ensure!(seen.tenants > 2 * pools_max, "{} tenants", seen.tenants);
    let shown = metrics(&registry)?;
    let of = |name: &str| {
        shown
            .iter()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
    };
    ensure!(of("reeve_client_pools") == Some(pools_max as f64), "{shown:#?}");
    let waits = of("reeve_client_pool_waits_total{wanted=\"room\"}");
    let opened = of("reeve_client_pool_open_duration_seconds_count");
    let sessions = of("reeve_client_sessions_opened_total");
    let resets = of("reeve_client_session_reset_duration_seconds_count");
    ensure!(opened >= Some(seen.tenants as f64), "{opened:?} pools");
    ensure!(waits >= Some((seen.tenants - pools_max) as f64), "{waits:?}");
    ensure!(sessions >= Some(seen.tenants as f64), "{sessions:?}");
    ensure!(resets > Some(0.0), "{resets:?}");

    crowd.fleet.close().await;
    ensure!(server.open_sessions()? == 0, "something was left open");
    Ok(())
}

fn metrics(registry: &prometheus_client::registry::Registry) -> Result<Vec<String>> {
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, registry)?;
    Ok(page.lines().map(str::to_owned).collect())
}
