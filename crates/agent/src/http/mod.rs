//! The door for probes and metrics: /livez, /readyz, /metrics.

mod metrics;
mod tenants;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::host::Host;
use crate::link::Link;
use crate::senses::health::Checker;
use crate::senses::isolation::Auditor;
use metrics::Metrics;

/// Serves until the process ends.
pub async fn serve(
    listen: SocketAddr,
    host: Host,
    link: Link,
    auditor: Auditor,
    checker: Option<Checker>,
) -> io::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let (ready_host, ready_link) = (host.clone(), link.clone());
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || readiness(ready_host.clone(), ready_link.clone())),
        )
        .route(
            "/metrics",
            get(move || {
                let (metrics, host, link) = (metrics.clone(), host.clone(), link.clone());
                let last = auditor.last();
                if let Some(checker) = &checker {
                    metrics.tenants.show(checker.board(), checker.known_for());
                }
                async move { metrics.render(&host, &link, last).await }
            }),
        );
    let listener = tokio::net::TcpListener::bind(listen).await?;
    axum::serve(listener, router).await
}

async fn readiness(host: Host, link: Link) -> (StatusCode, String) {
    let postgres = host.is_up().await;
    let connected = link.is_connected();
    let code = if postgres && connected {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        code,
        format!("postgres: {}\nregistry: {}\n", word(postgres), word(connected)),
    )
}

fn word(is: bool) -> &'static str {
    if is { "ok" } else { "not reached" }
}
