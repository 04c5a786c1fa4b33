//! Whose turn would have come, if those before it were heard.

use crate::ids::Stamp;
use crate::operation::{Begin, Load, Operation, holds_its_tenant};
use crate::plan::Sightings;
use crate::plan::operations::Reason;
use crate::state::State;
use crate::words::Name;

/// Most that are begun in one round.
const AT_ONCE_MAX: usize = 16;

/// What an operation waits for whose turn has not come; none: it is about to begin.
pub fn reason(state: &State, operation: &Operation) -> Option<Reason> {
    if !holds_its_tenant(state, operation) {
        let tenant = state.tenants.get(&operation.tenant);
        let holder = tenant.and_then(|tenant| tenant.operation.clone());
        return Some(Reason::Tenant { holder });
    }
    Load::of(state, |_| true).full(state, operation).map(Reason::Room)
}

/// Whom the pilot is to begin. The state machine begins by itself what has room; it does not know who is silent, and a
/// region whose places are all held by servers that nobody hears would stand still. Ask only when agents have had the
/// time to be heard.
pub fn plan(state: &State, sightings: &Sightings, now: Stamp) -> Vec<Begin> {
    if state.queued.is_empty() {
        return Vec::new();
    }
    let hears = |server: &Name| sightings.hears(server, now);
    let mut load = Load::of(state, hears);
    let mut begin = Vec::new();
    for operation in state.queued_operations() {
        let may_begin = holds_its_tenant(state, operation)
            && is_heard(state, operation, hears)
            && load.full(state, operation).is_none();
        if may_begin {
            load.add(state, operation, hears);
            begin.push(Begin {
                operation: operation.id.clone(),
            });
        }
        if begin.len() == AT_ONCE_MAX {
            break;
        }
    }
    begin
}

fn is_heard(state: &State, operation: &Operation, hears: impl Fn(&Name) -> bool) -> bool {
    let tenant = state.tenants.get(&operation.tenant);
    let group = tenant.and_then(|tenant| state.groups.get(&tenant.placement.group));
    group.is_some_and(|group| hears(&group.primary))
}
