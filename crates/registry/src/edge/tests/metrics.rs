use std::time::Instant;

use super::hand::{ONBOARD, onboarding};
use super::*;

/// Reads the page until it has all of these lines.
async fn shows(world: &World, lines: &[&str]) {
    let begun = Instant::now();
    loop {
        let page = world.rooms.metrics.page().unwrap();
        let missing: Vec<_> = lines.iter().filter(|line| !page.contains(**line)).collect();
        if missing.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{missing:?} are missing in\n{page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_a_node_does_is_on_its_page() {
    let (world, mut hand, _) = onboarding("cho-ray").await;
    world.watch_gauges();
    hand.carry_out(&ONBOARD).await;
    world.rooms.consensus.snapshot_now().await.unwrap();
    shows(
        &world,
        &[
            "reeve_raft_has_leader 1\n",
            "reeve_raft_is_leader 1\n",
            "reeve_raft_is_voter 1\n",
            "reeve_raft_voters 1\n",
            "reeve_raft_leader_changes_total 1\n",
            "reeve_raft_proposals_total{result=\"applied\"} ",
            "reeve_raft_snapshot_duration_seconds_count{op=\"write\"} 1\n",
            "reeve_tenants{state=\"active\",region=\"vn\"} 1\n",
            "reeve_agents{state=\"ready\",region=\"vn\"} 1\n",
            "reeve_agent_last_heartbeat_timestamp_seconds{agent=\"vn-1\"} ",
            "reeve_operations{kind=\"onboard\",state=\"done\"} 1\n",
            "reeve_operation_oldest_running_seconds{kind=\"onboard\"} 0\n",
            "reeve_certificate_not_after_timestamp_seconds{role=\"issuer\"} ",
            "reeve_certificate_not_after_timestamp_seconds{role=\"node\"} ",
            "reeve_store_bytes{part=\"log\"} ",
        ],
    )
    .await;
    let page = world.rooms.metrics.page().unwrap();
    for busy in [
        "reeve_raft_log_fsync_duration_seconds_count",
        "reeve_raft_proposal_duration_seconds_count",
        "reeve_raft_commit_index",
        "reeve_audit_records_total",
        "reeve_state_checksum",
    ] {
        let idle = format!("{busy} 0\n");
        assert!(page.contains(busy) && !page.contains(&idle), "{busy} in\n{page}");
    }
}
