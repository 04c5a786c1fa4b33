//! Alerts: what somebody should know of without asking. The pilot raises and resolves them, people acknowledge them, and
//! a webhook is told of each turn.
//!
//! ```text
//! State + sightings + vitals ─► plan::alerts: what is wrong now ─► ReportAlerts ─► State ─► webhook ─► NoteTold
//!                                                                                   ▲
//!                                                    people: AcknowledgeAlert, TestAlert
//! ```

mod acknowledge;
mod kind;
mod report;

use serde::{Deserialize, Serialize};

pub use acknowledge::{Acknowledge, Acknowledged, NOTE_BYTES_MAX, TestAlert, acknowledge, test};
pub use kind::Kind;
pub(crate) use report::clip;
pub use report::{NoteTold, Raised, ReportAlerts, note_told, report, untold};

use crate::digest;
use crate::ids::{AlertId, Revision, Stamp};

/// Something that somebody should know of, about one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    pub id: AlertId,
    pub kind: Kind,
    /// The agent or the group that it is about.
    pub subject: String,
    pub detail: String,
    /// How many things of the kind it stands for.
    pub count: u32,
    pub raised: Stamp,
    /// When it was over.
    pub resolved: Option<Stamp>,
    pub acknowledged: Option<Acknowledged>,
    /// How often it was raised.
    pub times: u32,
    /// When it was last raised or resolved, or became worse: what the webhook is told of.
    pub turned: Revision,
    pub modified: Revision,
}

/// Alerts that may be open at once; the pilot tells the worst of them first.
pub const OPEN_MAX: usize = 2_000;
/// Resolved ones that stay in State; the audit log keeps all.
pub const RESOLVED_MAX: usize = 500;
/// The longest detail, in bytes.
pub const DETAIL_BYTES_MAX: usize = 240;

impl Alert {
    /// Whether it is the case now, as far as is known.
    pub fn is_open(&self) -> bool {
        self.resolved.is_none()
    }
}

/// The id of what is wrong with a subject, whenever it is.
pub fn id(kind: Kind, subject: &str) -> AlertId {
    let hash = digest::of_bytes(&[kind.name().as_bytes(), b"\0", subject.as_bytes()]);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    AlertId::from_random(u64::from_be_bytes(first))
}
