//! How this node is: what its gauges say, for one who looks at all nodes at once.

use std::time::{Duration, SystemTime};

use reeve_proto::v1;

use crate::Rooms;
use crate::consensus::Status;
use crate::http::STALENESS_MAX;

pub(super) fn of(rooms: &Rooms, group: &Status) -> v1::Vitals {
    let metrics = &rooms.metrics;
    let health = rooms.consensus.disk_health();
    let part = |name: &str| {
        positive(
            metrics
                .store_bytes
                .value(&[("part", name.to_owned())])
                .unwrap_or(0),
        )
    };
    let heard = rooms.consensus.staleness();
    let ends = metrics.certificate_not_after.rows();
    v1::Vitals {
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        now: Some(SystemTime::now().into()),
        last_index: group.last_index,
        committed_index: group.commit_index,
        hears_quorum: group.leader.is_some() && heard.is_some_and(|age| age <= STALENESS_MAX),
        disk_full: health.full,
        disk_slow: health.slow,
        disk_free_bytes: positive(metrics.data_disk_free_bytes.get()),
        disk_total_bytes: positive(metrics.data_disk_total_bytes.get()),
        fsync_p99: metrics.flushes.p99().map(length),
        log_bytes: part("log"),
        snapshots_bytes: part("snapshots"),
        archive_bytes: part("archive"),
        archive_whole: rooms.archive.is_whole(),
        audit_chains_whole: metrics.audit_chain_ok.get() == 1,
        audit_read_time: second(metrics.audit_last_verify.get()),
        backup_every: match positive(metrics.backup_every_seconds.get()) {
            0 => None,
            every => Some(length(Duration::from_secs(every))),
        },
        backup_time: second(metrics.backup_last_success.get()),
        certificates: ends
            .into_iter()
            .map(|([(_, role)], end)| end_of(role, end))
            .collect(),
        backup_trouble: metrics.backup_trouble().map(|trouble| v1::vitals::BackupTrouble {
            reason: trouble.reason.to_owned(),
            what: trouble.what,
            fix: trouble.fix.to_owned(),
        }),
    }
}

fn end_of(role: String, not_after: i64) -> v1::vitals::CertificateEnd {
    let not_after = second(not_after);
    v1::vitals::CertificateEnd { role, not_after }
}

fn positive(gauge: i64) -> u64 {
    u64::try_from(gauge).unwrap_or_default()
}

/// A moment as gauges tell it; 0 is none.
fn second(seconds: i64) -> Option<prost_types::Timestamp> {
    (seconds > 0).then_some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn length(length: Duration) -> prost_types::Duration {
    reeve_proto::convert::time::duration(length)
}
