//! Keeps the gauges of a node true: leadership, counts by state, the certificate's end.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use reeve_domain::operation;
use reeve_proto::identity::Credentials;
use tokio_util::sync::CancellationToken;

use crate::Rooms;

const EVERY: Duration = Duration::from_secs(1);
const TENANT_STATES: [&str; 5] = ["provisioning", "active", "suspended", "deleting", "failed"];
const OPERATION_STATES: [&str; 5] = ["running", "undoing", "done", "undone", "stuck"];

/// Looks once a second until told to stop.
pub async fn run(rooms: Rooms, credentials: Credentials, stop: CancellationToken) {
    let mut leader = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let lead = rooms.consensus.leadership().borrow().clone();
        let metrics = &rooms.metrics;
        metrics.raft_has_leader.set(i64::from(lead.leader.is_some()));
        metrics.raft_is_leader.set(i64::from(rooms.consensus.is_leader()));
        metrics.raft_term.set(lead.term as i64);
        if lead.leader.is_some() && lead.leader != leader {
            leader = lead.leader;
            metrics.raft_leader_changes.inc();
        }
        let ends = credentials
            .not_after()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        metrics.certificate_not_after.set(ends.as_secs_f64());
        metrics.watch_streams.set(rooms.hub.streams() as i64);
        count(&rooms);
    }
}

fn count(rooms: &Rooms) {
    let published = rooms.consensus.published();
    rooms
        .metrics
        .raft_applied_index
        .set(published.applied_index as i64);
    let mut tenants = BTreeMap::from(TENANT_STATES.map(|state| (state, 0)));
    for tenant in published.state.tenants.values() {
        *tenants.entry(tenant.status.word()).or_default() += 1;
    }
    let mut operations = BTreeMap::from(OPERATION_STATES.map(|state| (state, 0)));
    for operation in published.state.operations.values() {
        *operations.entry(word(operation.status)).or_default() += 1;
    }
    rooms.metrics.set_tenants(tenants);
    rooms.metrics.set_operations(operations);
}

fn word(status: operation::Status) -> &'static str {
    match status {
        operation::Status::Running => "running",
        operation::Status::Undoing => "undoing",
        operation::Status::Done => "done",
        operation::Status::Undone => "undone",
        operation::Status::Stuck => "stuck",
    }
}
