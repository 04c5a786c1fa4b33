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
        let holder = state.holder(&operation.tenant)?.id.clone();
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
            && sightings.answers_for(state, &operation.tenant, now)
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
