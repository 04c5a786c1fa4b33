//! How far numbers leap, and that none comes so far that there is no room behind it. Nothing is changed here.

use crate::ids::Stamp;
use crate::record::{Said, Statement};
use crate::refusal::Refusal;
use crate::restore::{LEAP_MIN, REVISIONS_PER_NODE};
use crate::state::State;

/// No number is larger after a leap: it can leap a few hundred times more, as far as any record says.
const NUMBER_MAX: u64 = 1 << 60;

/// One revision for each millisecond since the copy and some more: also a copy that is restored twice leaps over all
/// that the first restored cluster did. What agents have seen counts from there on.
///
/// Refused when a record says what cannot be, or when a number would come too far.
pub(super) fn leap(state: &State, at: Stamp, heard: &[Statement]) -> Result<u64, Refusal> {
    heard.iter().try_for_each(believable)?;
    let seen = heard.iter().map(|heard| heard.revision).max().unwrap_or_default();
    let ahead = seen.0.saturating_sub(state.revision.0);
    let leap = sum("clock", LEAP_MIN, at.millis_since(state.clock))?;
    let leap = sum("revision", leap, ahead)?;

    // Each verdict has a revision of its own: at most one for what the copy has, and one for what was heard.
    let verdicts = (state.tenants.len() + state.groups.len() + heard.len()) as u64;
    sum("revision", sum("revision", state.revision.0, leap)?, verdicts)?;
    sum("node id", state.next_node.0, leap / REVISIONS_PER_NODE)?;
    for group in state.groups.values() {
        sum("epoch", group.epoch.0, leap)?;
    }
    for tenant in state.tenants.values() {
        sum("placement number", tenant.placement.number.0, leap)?;
    }
    for heard in heard {
        match &heard.said {
            Said::Group(hosting) => sum("epoch", hosting.group.epoch.0, leap)?,
            Said::Hosts(hosted) => sum("placement number", hosted.placement.number.0, leap)?,
            Said::Gone(_) => 0,
        };
    }
    Ok(leap)
}

fn believable(heard: &Statement) -> Result<(), Refusal> {
    heard.check().map_err(|absurd| {
        let (subject, agent) = (heard.said.subject(), &heard.agent);
        Refusal::field(
            "records",
            format!("of {subject}, as agent {agent} has it: {absurd}; leave it out"),
        )
    })
}

fn sum(what: &str, number: u64, leap: u64) -> Result<u64, Refusal> {
    let sum = number.checked_add(leap).filter(|sum| *sum <= NUMBER_MAX);
    sum.ok_or_else(|| {
        let why = format!(
            "its {what} {number} would leap by {leap}, and no number may come beyond {NUMBER_MAX}; look at this machine's clock, or use an older copy"
        );
        Refusal::field("snapshot", why)
    })
}
