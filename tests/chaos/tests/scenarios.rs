//! Every story of `src/scenarios`, on real processes.

use anyhow::Result;
use reeve_chaos::scenarios;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bridge() -> Result<()> {
    scenarios::bridge::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_rotate() -> Result<()> {
    scenarios::certificates_rotate::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_jumps() -> Result<()> {
    scenarios::clock_jumps::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_stall() -> Result<()> {
    scenarios::disk_stall::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flapping() -> Result<()> {
    scenarios::flapping::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_stop_and_power_cut() -> Result<()> {
    scenarios::full_stop_and_power_cut::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open() -> Result<()> {
    scenarios::half_open::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_lost() -> Result<()> {
    scenarios::host_lost::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_majority_then_all() -> Result<()> {
    scenarios::kill_majority_then_all::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lossy() -> Result<()> {
    scenarios::lossy::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn membership_change_with_leader_killed_between_steps() -> Result<()> {
    scenarios::membership_change_with_leader_killed_between_steps::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_way() -> Result<()> {
    scenarios::one_way::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_disk() -> Result<()> {
    scenarios::read_only_disk::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remove_leader() -> Result<()> {
    scenarios::remove_leader::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replace_all_nodes_one_by_one() -> Result<()> {
    scenarios::replace_all_nodes_one_by_one::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart() -> Result<()> {
    scenarios::rolling_restart::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_key() -> Result<()> {
    scenarios::hot_key::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_handles() -> Result<()> {
    scenarios::no_file_handles::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_process() -> Result<()> {
    scenarios::second_process::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_alone() -> Result<()> {
    scenarios::clock_alone::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_memory() -> Result<()> {
    scenarios::out_of_memory::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_node() -> Result<()> {
    scenarios::slow_node::play().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_taken_in_slowly() -> Result<()> {
    scenarios::snapshot_taken_in_slowly::play().await
}
