//! How old tenants' credentials may become.

use reeve_domain::operation::GRACE_MS;
use serde::{Deserialize, Serialize};

use super::Error;

/// When credentials are changed by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// The age at which a credential is changed. 0: never by itself.
    pub every_ms: u64,
    /// How long clients may take to acknowledge the new one.
    pub grace_ms: u64,
    /// Changes at work at once in the whole fleet.
    pub at_once: usize,
}

/// A schedule shorter than this would be at work all the time.
const EVERY_MIN_MS: u64 = 10_000;
const AT_ONCE_MAX: usize = 64;

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation {
            every_ms: 90 * 86_400_000,
            grace_ms: 600_000,
            at_once: 4,
        }
    }
}

impl Rotation {
    pub(super) fn validate(&self) -> Result<(), Error> {
        if self.every_ms != 0 && self.every_ms < EVERY_MIN_MS {
            return Err(Error::field("rotation.every_ms", "must be 0 or at least 10000"));
        }
        if !GRACE_MS.contains(&self.grace_ms) {
            return Err(Error::field("rotation.grace_ms", "must be 1000 to 604800000"));
        }
        if !(1..=AT_ONCE_MAX).contains(&self.at_once) {
            return Err(Error::field("rotation.at_once", "must be 1 to 64"));
        }
        Ok(())
    }
}
