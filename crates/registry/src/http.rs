//! The door for probes and metrics: /livez, /readyz, /metrics. Plain HTTP, for loopback or a pod's network.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::Rooms;

/// Without word from a quorum for so long, a node is not ready.
pub(crate) const STALENESS_MAX: Duration = Duration::from_secs(5);

/// What the probes look at: the node's rooms, and whether it is about to stop.
type Seen = (Rooms, CancellationToken);

/// Serves until told to stop; a node that is leaving lives, and is not ready.
pub async fn serve(
    listen: SocketAddr,
    rooms: Rooms,
    leaving: CancellationToken,
    stop: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        // A live node may have lost its quorum: to restart it would not bring the others back.
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state((rooms, leaving));
    let listener = tokio::net::TcpListener::bind(listen).await?;
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn ready(State((rooms, leaving)): State<Seen>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let founded = !rooms.consensus.published().state.cluster.id.is_empty();
    let leader = rooms.consensus.leadership().borrow().leader;
    let staleness = rooms.consensus.staleness();
    let fresh = staleness.is_some_and(|age| age <= STALENESS_MAX);
    let stopping = leaving.is_cancelled();
    let is_ready = founded && leader.is_some() && fresh && !stopping;
    let code = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut text = String::from(if is_ready { "ready\n" } else { "not ready\n" });
    if query.is_some_and(|query| query.contains("verbose")) {
        let age = staleness.map_or("unknown".to_owned(), |age| format!("{} ms", age.as_millis()));
        let leader = leader.map_or("none".to_owned(), |id| id.to_string());
        text += &format!(
            "founded: {founded}\nstopping: {stopping}\nleader: {leader}\nstaleness: {age}\narchive whole: {}\n",
            rooms.archive.is_whole()
        );
    }
    (code, text)
}

async fn metrics(State((rooms, _)): State<Seen>) -> (StatusCode, String) {
    match rooms.metrics.page() {
        Ok(page) => (StatusCode::OK, page),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
    }
}
