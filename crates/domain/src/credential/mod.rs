//! Credentials: two alternating logins a tenant, of which one is in use, and who was given its password.
//!
//! ```text
//! rotation: prepare_login (the other one) ─► publish_credential ─► drain_clients ─► retire_login (the former one)
//! holders:  a read ─► [oldest ..= newest] ─► acknowledged (nothing older is held) ─► nothing held: forgotten
//! ```

mod holder;

use serde::{Deserialize, Serialize};

pub use holder::{
    Acknowledge, HOLDERS_MAX, HOLDERS_PER_PRINCIPAL_MAX, Holding, INSTANCE_BYTES_MAX, Read, acknowledge,
    behind, read, settled,
};
pub(crate) use holder::{forget_older, may_be_unknown};

use crate::ids::Stamp;
use crate::secret::Sealed;

/// Two alternating logins; one is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    pub version: u64,
    pub active: Slot,
    pub a: Sealed,
    pub b: Sealed,
    /// When the version in force was published. Left out of the first one, which is as old as its tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<Stamp>,
}

impl Credential {
    /// The sealed password of a slot.
    pub fn sealed(&self, slot: Slot) -> &Sealed {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    /// The next version comes into force.
    pub(crate) fn turn(&mut self, at: Stamp, next: Next) {
        match next.slot {
            Slot::A => self.a = next.sealed,
            Slot::B => self.b = next.sealed,
        }
        self.version = next.version;
        self.active = next.slot;
        self.rotated = Some(at);
    }
}

/// One of the two logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slot {
    A,
    B,
}

impl Slot {
    /// "a" or "b", as in the role's name.
    pub fn letter(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }

    /// The one that is not in use while this one is.
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }
}

/// The version that is to come into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Next {
    pub version: u64,
    pub slot: Slot,
    /// Bound to its tenant, slot and version, before PostgreSQL hears of it.
    pub sealed: Sealed,
}
