//! What the pilot's reports do to State, and what a webhook was not told of yet.

use serde::{Deserialize, Serialize};

use super::{Alert, DETAIL_BYTES_MAX, Kind, OPEN_MAX, RESOLVED_MAX, id};
use crate::audit;
use crate::ids::{AlertId, Revision, Stamp};
use crate::refusal::Refusal;
use crate::state::{Change, State};

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raised {
    pub kind: Kind,
    pub subject: String,
    /// How many things of the kind it stands for.
    pub count: u32,
    pub detail: String,
}

impl Raised {
    /// The id that it has whenever it is the case.
    pub fn id(&self) -> AlertId {
        id(self.kind, &self.subject)
    }
}

/// The pilot's word on what is wrong and was not, or is told differently now, and on what is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportAlerts {
    pub raised: Vec<Raised>,
    pub resolved: Vec<AlertId>,
}

impl ReportAlerts {
    /// What it says, in a line for the audit log: as much as fits.
    pub fn told(&self) -> String {
        let raised = self.raised.iter().map(|raised| {
            let (kind, subject) = (raised.kind.name(), &raised.subject);
            format!("raised {} {kind} {subject}: {}", raised.id(), raised.detail)
        });
        let resolved = self.resolved.iter().map(|id| format!("resolved {id}"));
        let words: Vec<String> = raised.chain(resolved).collect();
        audit::told(words.into_iter())
    }
}

/// Raises and resolves. What is said again changes nothing; what is told differently is no new alert, and what has become
/// worse is told of again, and nobody looks after that yet.
pub fn report(state: &mut State, at: Stamp, order: ReportAlerts) -> Result<Change, Refusal> {
    let open = state.alerts.values().filter(|alert| alert.is_open()).count();
    for (field, got) in [
        ("raised", open + order.raised.len()),
        ("resolved", order.resolved.len()),
    ] {
        if got > 2 * OPEN_MAX {
            let max = 2 * OPEN_MAX;
            return Err(Refusal::field(
                field,
                format!("makes {got}; at most {max} are allowed"),
            ));
        }
    }
    let mut happened = false;
    for id in order.resolved {
        let Some(mut alert) = state.alerts.get(&id).filter(|alert| alert.is_open()).cloned() else {
            continue;
        };
        alert.resolved = Some(at);
        alert.turned = state.revision.next();
        alert.modified = alert.turned;
        state.alerts.insert(id, alert);
        happened = true;
    }
    for raised in order.raised {
        happened |= raise(state, at, raised);
    }
    forget_oldest(state);
    Ok(match happened {
        true => Change::of("alerts".to_owned()),
        false => Change::none(),
    })
}

/// Writes down that something is wrong; false when that is known.
pub(super) fn raise(state: &mut State, at: Stamp, raised: Raised) -> bool {
    let id = raised.id();
    let detail = clip(&raised.detail).to_owned();
    let modified = state.revision.next();
    let before = state.alerts.get(&id);
    let alert = match before {
        Some(open) if open.is_open() && (&open.detail, open.count) == (&detail, raised.count) => {
            return false;
        }
        Some(open) if open.is_open() => {
            // A wall that is broken in another place is another hospital's trouble.
            let is_other = raised.kind == Kind::IsolationFindingCritical && open.detail != detail;
            let is_worse = is_other || raised.count > open.count;
            Alert {
                detail,
                count: raised.count,
                modified,
                turned: if is_worse { modified } else { open.turned },
                acknowledged: open.acknowledged.clone().filter(|_| !is_worse),
                ..open.clone()
            }
        }
        _ => Alert {
            id: id.clone(),
            kind: raised.kind,
            subject: raised.subject,
            detail,
            count: raised.count,
            raised: at,
            resolved: None,
            acknowledged: None,
            times: before.map_or(0, |before| before.times).saturating_add(1),
            turned: modified,
            modified,
        },
    };
    state.alerts.insert(id, alert);
    true
}

/// Resolved alerts beyond the limit leave, the oldest first; while a webhook is to be told of their end they stay.
fn forget_oldest(state: &mut State) {
    let told = state.alerts_told;
    let may_leave = |alert: &&Alert| told.is_none_or(|told| alert.turned <= told);
    let over = |alert: &Alert| alert.resolved.map(|at| (at, alert.id.clone()));
    let known = state.alerts.values().filter(may_leave);
    let mut over: Vec<_> = known.filter_map(over).collect();
    let Some(beyond) = over.len().checked_sub(RESOLVED_MAX).filter(|n| *n > 0) else {
        return;
    };
    over.sort();
    for (_, id) in over.into_iter().take(beyond) {
        state.alerts.remove(&id);
    }
}

pub(crate) fn clip(text: &str) -> &str {
    let mut end = text.len().min(DETAIL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Alerts whose last turn the webhook was not told of, in the order of their turns. What was over before it was ever told
/// of anything is nothing to it.
pub fn untold(state: &State) -> Vec<&Alert> {
    let is_untold = |alert: &&Alert| match state.alerts_told {
        Some(told) => alert.turned > told,
        None => alert.is_open(),
    };
    let mut untold: Vec<&Alert> = state.alerts.values().filter(is_untold).collect();
    untold.sort_by_key(|alert| (alert.turned, &alert.id));
    untold
}

/// The pilot's word that the webhook knows of every turn up to a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoteTold {
    pub through: Revision,
}

/// Never goes back, and not beyond what has happened.
pub fn note_told(state: &mut State, order: NoteTold) -> Result<Change, Refusal> {
    if order.through > state.revision {
        let why = format!("is {}; the State is at {}", order.through, state.revision);
        return Err(Refusal::field("through", why));
    }
    if state.alerts_told.is_some_and(|told| told >= order.through) {
        return Ok(Change::none());
    }
    state.alerts_told = Some(order.through);
    Ok(Change::of("alerts".to_owned()))
}
