//! Descriptors for connections: as many as the machine allows, and always some left for the log.

use reeve_proto::identity::RESERVED_MAX;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Kept for the log, snapshots, the archive and peers, without which a node must end; and for agents and nodes that find
/// the door full.
const KEPT: usize = 512 + RESERVED_MAX;

/// Asks for as many as may be had, and gives back how many connections fit beside everything else: at most those wanted.
pub fn for_connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let fits = fitting(wanted, current);
    if fits < wanted {
        warn!(
            wanted,
            fits,
            "limits.connections is cut to what this process's descriptors allow; raise its nofile limit"
        );
    }
    fits
}

/// None: the machine sets no limit.
fn fitting(wanted: usize, descriptors: Option<u64>) -> usize {
    let Some(descriptors) = descriptors else {
        return wanted;
    };
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    wanted.min(descriptors.saturating_sub(KEPT).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        assert_eq!(fitting(20_000, None), 20_000);
        assert_eq!(fitting(20_000, Some(1 << 20)), 20_000);
        assert_eq!(fitting(20_000, Some(4_096)), 4_096 - KEPT);
        assert_eq!(fitting(20_000, Some(256)), 1);
        assert_eq!(fitting(10, Some(4_096)), 10);
    }
}
