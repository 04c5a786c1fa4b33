//! Isolation: what an audit of an instance found that must not be there. Findings open and close; each is one thing on
//! one instance, and keeps its id for as long as the thing could come back.
//!
//! ```text
//! agent: a round of the audit ─► what is found now ─► delta (to what State holds) ─► ReportFindings ─► State
//!                                                     nothing new: nothing is proposed
//! ```

mod report;
mod rule;
mod scope;

use serde::{Deserialize, Serialize};

pub use report::{ReportFindings, delta, report};
pub use rule::{NOBODYS, Rule, Severity};
pub use scope::{Scope, inside};

use crate::digest;
use crate::ids::{FindingId, Revision, Stamp, TenantId};
use crate::state::State;
use crate::words::Name;

/// One thing that must not be, on one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    pub id: FindingId,
    pub rule: Rule,
    /// Whose instance it is.
    pub agent: Name,
    pub group: Name,
    /// Whose wall it breaks; none when it is the instance's own.
    pub tenant: Option<TenantId>,
    /// What it is, by names that stay the same from round to round.
    pub subject: String,
    /// What else is known of it.
    pub detail: String,
    pub opened: Stamp,
    pub closed: Option<Stamp>,
    /// How often it was opened.
    pub times: u32,
    pub modified: Revision,
}

/// What a round of an audit found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    pub rule: Rule,
    pub tenant: Option<TenantId>,
    pub subject: String,
    pub detail: String,
}

/// Findings of one instance that may be open at once; an agent tells the worst of them first.
pub const OPEN_MAX: usize = 500;
/// Closed findings that stay in State; the audit log keeps all.
pub const CLOSED_MAX: usize = 1_000;
/// The longest subject, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 240;
/// The longest detail, in bytes.
pub const DETAIL_BYTES_MAX: usize = 240;

impl Found {
    /// The id that it has on an agent's instance, whenever it is found there.
    pub fn id(&self, agent: &Name) -> FindingId {
        let parts = [
            agent.as_str().as_bytes(),
            b"\0",
            self.rule.code().as_bytes(),
            b"\0",
            self.subject.as_bytes(),
        ];
        let hash = digest::of_bytes(&parts);
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        FindingId::from_random(u64::from_be_bytes(first))
    }

    /// Whether it keeps a tenant of this instance from being let in: its own wall is broken, or one that is everybody's.
    pub fn bars(&self, tenant: &TenantId) -> bool {
        bars(self.rule, self.tenant.as_ref(), tenant)
    }
}

impl Finding {
    /// Whether it is there now, as far as is known.
    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// Whether it keeps a tenant of this instance from being let in.
    pub fn bars(&self, tenant: &TenantId) -> bool {
        self.is_open() && bars(self.rule, self.tenant.as_ref(), tenant)
    }
}

fn bars(rule: Rule, of: Option<&TenantId>, tenant: &TenantId) -> bool {
    match of {
        Some(of) => of == tenant,
        None => rule.severity() == Severity::Critical,
    }
}

/// The first open finding that keeps a tenant from being let in where it is placed.
pub fn bar<'a>(state: &'a State, tenant: &TenantId) -> Option<&'a Finding> {
    let placed = &state.tenants.get(tenant)?.placement.group;
    let here = state.findings.values().filter(|finding| &finding.group == placed);
    here.into_iter().find(|finding| finding.bars(tenant))
}
