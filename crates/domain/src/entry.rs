//! A log entry: who asked for what, when, and what was true of them then.

use serde::{Deserialize, Serialize};

use crate::audit::Seed;
use crate::command::Command;
use crate::ids::Stamp;
use crate::request;

/// One entry of the log. Unknown fields are errors: an older node must stop, not diverge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Layout of the entry.
    pub format: u16,
    /// The leader's time.
    pub stamp: Stamp,
    pub actor: Actor,
    /// The actor's rights when policy said yes; checked again at apply.
    pub principal_rev: u64,
    /// The policy that said yes; checked again at apply.
    pub policy_rev: u64,
    pub request: Option<request::Key>,
    pub seed: Seed,
    pub command: Command,
}

/// The layout that is written today.
pub const FORMAT: u16 = 1;

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Actor {
    /// The first node, before there is anybody.
    Founder,
    /// The leader's own loops.
    Pilot,
    /// Somebody without a certificate, showing a join token.
    Joiner,
    /// A principal, by its SPIFFE id.
    Principal(String),
}

impl Actor {
    /// As audit records name it.
    pub fn name(&self) -> &str {
        match self {
            Actor::Founder => "founder",
            Actor::Pilot => "pilot",
            Actor::Joiner => "joiner",
            Actor::Principal(id) => id,
        }
    }
}
