//! Wire ⇄ domain: words become types at the door, and values become words on the way out.

mod access;
mod agent;
mod alert;
mod audit;
mod claim;
mod credential;
mod group;
mod health;
mod isolation;
mod operation;
mod resolution;
mod tenant;
mod text;
pub mod time;

pub use access::{principal, role, role_from_wire};
pub use agent::{facts, facts_from_wire, key, order, report, spec};
pub use alert::alert;
pub use audit::{record, record_from_wire};
pub use claim::{claim, claim_from_wire};
pub use credential::credential;
pub use group::{endpoint, group, member_state, region};
pub use health::{TENANTS_MAX, Told, cause, condition, grade, not_ready, told_from_wire, vitals};
pub use isolation::{audited, finding, found, found_from_wire, scope, scope_from_wire};
pub use operation::{
    operation, operation_limits, operation_limits_from_wire, operation_status_from_wire, turn_from_wire,
    wanted_limits_from_wire,
};
pub use resolution::{resolution, state as tenant_state};
pub use tenant::{
    DISPLAY_NAME_BYTES_MAX, Wanted, allowlist_from_wire, class_from_wire, settings, status_from_wire, tenant,
    wanted_from_wire,
};
pub use text::{labels_from_wire, line, settings_from_wire};

use reeve_domain::Revision;

use crate::v1;

/// A word that could not be read: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct BadField {
    /// The field's path in the request.
    pub field: String,
    /// What is wrong and what would be right.
    pub why: String,
}

impl BadField {
    /// Names a field and what is wrong with it.
    pub fn new(field: impl Into<String>, why: impl ToString) -> BadField {
        BadField {
            field: field.into(),
            why: why.to_string(),
        }
    }
}

impl From<BadField> for tonic::Status {
    fn from(bad: BadField) -> tonic::Status {
        crate::error::field(&bad.field, bad.why)
    }
}

/// How fresh an answer is.
pub fn freshness(
    revision: Revision,
    staleness: Option<std::time::Duration>,
    stale: bool,
    node: reeve_domain::NodeId,
) -> v1::Freshness {
    v1::Freshness {
        revision: revision.0,
        staleness: staleness.map(time::duration),
        stale,
        node_id: node.0,
    }
}
