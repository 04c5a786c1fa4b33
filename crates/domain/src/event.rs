//! What watchers hear: all events of one change, at its revision, never split.

use serde::{Deserialize, Serialize};

use crate::ids::{OperationId, TenantId};
use crate::resolve::Resolution;
use crate::words::Name;

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Event {
    /// A tenant resolves like this now.
    Resolves(Box<Resolution>),
    /// A tenant does not resolve any more.
    Gone(TenantId),
    Operation(OperationId),
    Group(Name),
    /// Rights changed: open streams are checked again.
    Access(String),
    Node,
}
