//! Which credentials are due to be changed, by a schedule.

use std::collections::BTreeMap;

use crate::ids::{Stamp, TenantId};
use crate::operation::{Kind, Status as End};
use crate::plan::Sightings;
use crate::state::State;
use crate::tenant::{Status, Tenant};
use crate::version;

/// How old a credential may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// 0: none is changed by itself.
    pub every_ms: u64,
    /// Changes at work at once, whoever asked for them.
    pub at_once_max: usize,
}

/// A change that did not come to its end is not begun again before this: its cause is rarely gone in a moment.
const AGAIN_MS: u64 = 3_600_000;

/// The active tenants whose credential is older than the schedule lets it be, the oldest first.
pub fn overdue(state: &State, now: Stamp, every_ms: u64) -> Vec<&Tenant> {
    if every_ms == 0 {
        return Vec::new();
    }
    let tenants = state.tenants.values().map(AsRef::as_ref);
    let is_due = |tenant: &&Tenant| {
        tenant.status == Status::Active && now.millis_since(tenant.credential_published()) >= every_ms
    };
    let mut due: Vec<&Tenant> = tenants.filter(is_due).collect();
    due.sort_by_key(|tenant| (tenant.credential_published(), &tenant.id));
    due
}

/// Whose credential is to be changed now: of those whose agent is heard.
pub fn due(state: &State, sightings: &Sightings, now: Stamp, schedule: Schedule) -> Vec<TenantId> {
    if state.cluster.version < version::ROTATION {
        return Vec::new();
    }
    let overdue = overdue(state, now, schedule.every_ms);
    if overdue.is_empty() {
        return Vec::new();
    }
    let answers = |id: &TenantId| sightings.answers_for(state, id, now);
    let mut at_work = 0;
    let mut failed: BTreeMap<&TenantId, Stamp> = BTreeMap::new();
    for operation in state.operations.values().filter(|o| o.kind == Kind::Rotate) {
        match operation.ended {
            // What waits for a person, or for an agent that is away, keeps nobody from its turn.
            None => at_work += usize::from(operation.status != End::Stuck && answers(&operation.tenant)),
            Some(ended) if operation.status != End::Done => {
                let last = failed.entry(&operation.tenant).or_default();
                *last = ended.max(*last);
            }
            Some(_) => {}
        }
    }
    let rests = |tenant: &Tenant| {
        let last = failed.get(&tenant.id);
        last.is_some_and(|last| now.millis_since(*last) < AGAIN_MS)
    };
    let free = overdue
        .into_iter()
        .filter(|tenant| tenant.operation.is_none() && tenant.dispute.is_none() && !rests(tenant))
        .filter(|tenant| answers(&tenant.id));
    let room = schedule.at_once_max.saturating_sub(at_work);
    free.take(room).map(|tenant| tenant.id.clone()).collect()
}
