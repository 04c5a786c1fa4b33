//! How a node takes part: what its operator chose, and what openraft makes of it.

use std::path::PathBuf;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use super::DiskSettings;
use crate::mutant::Mutant;

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node_id: u64,
    pub cluster: String,
    pub data_dir: PathBuf,
    pub timing: Timing,
    /// A snapshot is made after so many entries.
    pub snapshot_entries: u64,
    /// Entries kept behind a snapshot, so that one who was away briefly catches up from the log.
    pub trailing_entries: u64,
    /// How often the nodes compare their States.
    pub compare_every: Duration,
    pub disk: DiskSettings,
}

/// Heartbeats and elections. After a leader dies, writes are back after about
/// `election_max + (election_min ..= election_max) + 50 ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
}

impl Timing {
    /// Nodes in one data centre.
    pub const LAN: Timing = Timing {
        heartbeat_ms: 100,
        election_min_ms: 300,
        election_max_ms: 400,
    };
    /// Nodes in several.
    pub const WAN: Timing = Timing {
        heartbeat_ms: 250,
        election_min_ms: 800,
        election_max_ms: 1_000,
    };
}

pub(super) fn config(settings: &Settings) -> Result<Config, openraft::ConfigError> {
    let Timing {
        heartbeat_ms,
        election_min_ms,
        election_max_ms,
    } = settings.timing;
    Config {
        cluster_name: settings.cluster.clone(),
        heartbeat_interval: heartbeat_ms,
        election_timeout_min: election_min_ms,
        election_timeout_max: election_max_ms,
        enable_pre_vote: Some(true),
        // Without it an old leader that reaches one node only keeps its lease for ever.
        quorum_loss_probe_interval: Some(2 * election_max_ms),
        // Not all at once: nodes may share a disk.
        snapshot_policy: SnapshotPolicy::LogsSinceLast(
            settings.snapshot_entries + settings.node_id % 5 * settings.snapshot_entries / 20,
        ),
        max_in_snapshot_log_to_keep: settings.trailing_entries,
        replication_lag_threshold: settings.trailing_entries.max(settings.snapshot_entries),
        max_payload_entries: 512,
        broadcast_submitted_on_append: Some(true),
        allow_log_reversion: Some(false),
        // A restarted leader does not know what it had committed in its term: as its leader again it would serve
        // linearizable reads without what it acknowledged before.
        enable_leader_restore: Some(Mutant::RestoreLeader.is_planted()),
        ..Config::default()
    }
    .validate()
}
