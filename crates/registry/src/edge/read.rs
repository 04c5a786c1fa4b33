//! How fresh a caller wants its answer.

use std::time::Duration;

use reeve_domain::Revision;
use reeve_proto::convert::BadField;
use reeve_proto::convert::time;
use reeve_proto::v1;
use reeve_proto::v1::read_level::Level as Wire;

pub(super) use crate::consensus::Level;

/// A bound that is longer than this says nothing.
const BOUND_MAX: Duration = Duration::from_secs(3600);

/// Reads the level; what is not said is the call's own default.
pub(super) fn level(wire: Option<&v1::ReadLevel>, default: Level) -> Result<Level, BadField> {
    let Some(wire) = wire.and_then(|wire| wire.level.as_ref()) else {
        return Ok(default);
    };
    Ok(match wire {
        Wire::Linearizable(_) => Level::Linearizable,
        Wire::AtLeastRevision(revision) => Level::AtLeast(Revision(*revision)),
        Wire::Stale(_) => Level::Stale,
        Wire::Bounded(bound) => {
            let bound = time::length(bound).filter(|bound| *bound <= BOUND_MAX);
            Level::Bounded(bound.ok_or_else(|| BadField::new("read.bounded", "is between 0 and 1 h"))?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_and_bounds_are_bounded() {
        let wire = |level| v1::ReadLevel { level: Some(level) };
        let bounded = |seconds| wire(Wire::Bounded(prost_types::Duration { seconds, nanos: 0 }));
        let ask = |wire: &v1::ReadLevel| level(Some(wire), Level::Linearizable);
        assert_eq!(level(None, Level::Stale), Ok(Level::Stale));
        assert_eq!(ask(&v1::ReadLevel { level: None }), Ok(Level::Linearizable));
        assert_eq!(
            ask(&wire(Wire::AtLeastRevision(7))),
            Ok(Level::AtLeast(Revision(7)))
        );
        assert_eq!(ask(&bounded(5)), Ok(Level::Bounded(Duration::from_secs(5))));
        assert_eq!(ask(&bounded(-5)).unwrap_err().field, "read.bounded");
        assert_eq!(ask(&bounded(3601)).unwrap_err().field, "read.bounded");
    }
}
