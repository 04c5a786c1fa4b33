//! Operations: durable jobs of ordered steps, forwards and back.
//!
//! ```text
//! queued ──(its turn)──► running; see `turn`
//! running ──(all steps done)──► done
//!    └──(a step failed, or cancelled)──► undoing ──(absence proved)──► undone
//!                                            └──(tries used up)──► stuck: waits for a person
//! ```
//! A scan only looks: when it fails there is nothing to take back, and it is undone at once. What a change of a tenant
//! wants is kept with the operation, and becomes the tenant's own only when it is true: going back is going to what the
//! tenant still says.

mod allow;
mod report;
mod rotate;
mod scan;
mod step;
mod turn;

use serde::{Deserialize, Serialize};

pub use allow::{Allow, allow};
pub use report::{Cancel, Outcome, Report, Retry, Timeout, cancel, report, retry, timeout};
pub use rotate::{GRACE_MS, Rotate, is_drained, rotate};
pub use scan::{Scan, scan};
pub use step::{Addressee, Direction, Goal, Step, StepState, steps};
pub use turn::{
    Begin, Full, Limits, Priority, QUEUED_MAX, QUEUED_PER_TENANT_MAX, QUEUED_URGENT_MAX, SetLimits, Turn,
    begin_one, set_limits,
};
pub(crate) use turn::{Load, end_restored, enter, holds_its_tenant, hurry, is_begun, is_free, queued_of};

use crate::credential::Next;
use crate::ids::{Epoch, OperationId, Revision, Stamp, TenantId};
use crate::refusal::Refusal;
use crate::state::{Change, State};
use crate::version;
use crate::words::{Cidr, Slug};

/// One durable job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    pub id: OperationId,
    pub kind: Kind,
    pub status: Status,
    pub tenant: TenantId,
    pub slug: Slug,
    pub steps: Vec<Step>,
    /// Index of the step that is at work.
    pub cursor: usize,
    /// The group's epoch when it began; orders carry the group's present one.
    pub epoch: Epoch,
    /// Why it turned back or stopped, as a stable word.
    pub reason: String,
    /// The same in a sentence.
    pub detail: String,
    pub actor: String,
    pub created: Stamp,
    pub ended: Option<Stamp>,
    pub parent: Option<OperationId>,
    pub children: Vec<OperationId>,
    /// What nobody else may touch while it runs.
    pub locks: Vec<String>,
    /// What it waits for besides its step.
    pub wait: Option<Wait>,
    /// What it is to make true of its tenant, where its kind alone does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Wanted>,
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// Its place among those of its priority. Unset where it came before there were turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entered: Option<Revision>,
    pub modified: Revision,
}

/// What kind of job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Onboard,
    Offboard,
    /// Looks whether a tenant's walls stand.
    Scan,
    /// Changes from where a tenant's services may come.
    Allow,
    /// Changes a tenant's password.
    Rotate,
}

/// What an operation is to make true of its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Wanted {
    /// Its services may come from these; none: from where the fleet's default says.
    Allowlist(Vec<Cidr>),
    /// This password is the one in force.
    Credential(Next),
}

impl Kind {
    /// Whether its tenant is not served while it is at work: then the tenant fails with it.
    fn holds_its_tenant(self) -> bool {
        match self {
            Kind::Onboard | Kind::Offboard => true,
            Kind::Scan | Kind::Allow | Kind::Rotate => false,
        }
    }

    /// Whether it brings its tenant into being, so that undoing it takes the tenant away.
    fn makes_its_tenant(self) -> bool {
        match self {
            Kind::Onboard => true,
            Kind::Offboard | Kind::Scan | Kind::Allow | Kind::Rotate => false,
        }
    }
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Running,
    Undoing,
    Done,
    Undone,
    Stuck,
    /// Its turn has not come: nothing of it is begun.
    Queued,
}

/// Something an operation may wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Wait {
    /// Nothing is sent before this moment.
    Until(Stamp),
    /// Somebody must say yes.
    Approval(String),
    /// Clients must have heard of this revision.
    Acknowledged(Revision),
}

impl Operation {
    /// Whether nothing more will happen by itself.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// What it is in the middle of and why that is not turned back, if it is not: what was dropped is gone, and what was
    /// published is in use.
    fn stays_forward(&self) -> Option<(&'static str, &'static str)> {
        let is_done = |goal| {
            let mut steps = self.steps.iter();
            steps.any(|s| s.goal == goal && s.state == StepState::Done)
        };
        match self.kind {
            Kind::Onboard | Kind::Scan | Kind::Allow => None,
            Kind::Offboard => Some(("being offboarded", "offboarding cannot be taken back")),
            Kind::Rotate if is_done(Goal::PublishCredential) => Some((
                "being given a new credential",
                "it is published and in use; it goes on until the former one is retired",
            )),
            Kind::Rotate => None,
        }
    }

    /// The step that somebody must carry out now, and which way.
    pub fn open_step(&self) -> Option<(&Step, Direction)> {
        let direction = match self.status {
            Status::Running => Direction::Forward,
            Status::Undoing => Direction::Undo,
            Status::Queued | Status::Done | Status::Undone | Status::Stuck => return None,
        };
        self.steps.get(self.cursor).map(|step| (step, direction))
    }
}

/// A new operation.
pub(crate) struct Opening {
    pub id: OperationId,
    pub kind: Kind,
    pub tenant: TenantId,
    pub wanted: Option<Wanted>,
    pub priority: Priority,
}

/// Opens an operation on a tenant that is there already; it begins when its turn comes, which may be now.
pub(crate) fn open(state: &mut State, at: Stamp, actor: &str, opening: Opening) -> Result<Change, Refusal> {
    let tenant = state.tenant(&opening.tenant)?.clone();
    let group = state.group(&tenant.placement.group)?;
    let change = Change::tenant(&tenant.id).with_operation(&opening.id);
    let operation = Operation {
        id: opening.id,
        kind: opening.kind,
        status: Status::Queued,
        steps: steps(opening.kind, &group.primary, state.cluster.version),
        tenant: tenant.id,
        slug: tenant.slug,
        cursor: 0,
        epoch: group.epoch,
        reason: String::new(),
        detail: String::new(),
        actor: actor.to_owned(),
        created: at,
        ended: None,
        parent: None,
        children: Vec::new(),
        locks: vec![format!("tenant/{}", opening.tenant)],
        wait: None,
        wanted: opening.wanted,
        priority: opening.priority,
        entered: (state.cluster.version >= version::TURNS).then(|| state.revision.next()),
        modified: state.revision.next(),
    };
    enter(state, at, operation)?;
    Ok(change)
}
