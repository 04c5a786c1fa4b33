//! What people do to alerts: say that they look after one, and try whether they arrive.

use serde::{Deserialize, Serialize};

use super::report::{Raised, raise};
use super::{Kind, id};
use crate::ids::{AlertId, Stamp};
use crate::refusal::Refusal;
use crate::state::{Change, State};

/// Somebody looks after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    pub by: String,
    pub at: Stamp,
    pub note: String,
}

/// An order to write down, or to take back, that somebody looks after an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledge {
    pub alert: AlertId,
    pub note: String,
    /// Nobody looks after it any more.
    pub undo: bool,
}

/// An order to raise an alert that means nothing but that alerts arrive. It resolves by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestAlert {
    pub note: String,
}

/// The longest note, in bytes.
pub const NOTE_BYTES_MAX: usize = 200;
/// What a test is about.
const TEST_SUBJECT: &str = "alerts";

/// Only an open alert can be looked after; once it is resolved that is over.
pub fn acknowledge(state: &mut State, at: Stamp, by: &str, order: Acknowledge) -> Result<Change, Refusal> {
    check(&order.note)?;
    let known = state.alerts.get(&order.alert);
    let mut alert = known
        .ok_or_else(|| Refusal::AlertNotFound(order.alert.to_string()))?
        .clone();
    if !alert.is_open() {
        return Err(Refusal::WrongState {
            tenant: alert.subject,
            state: format!("not in alert {} any more", alert.id),
            next: "nothing is left to look after".to_owned(),
        });
    }
    let is_same = |known: &Acknowledged| known.by == by && known.note == order.note;
    match (&alert.acknowledged, order.undo) {
        (None, true) => return Ok(Change::none()),
        (Some(known), false) if is_same(known) => return Ok(Change::none()),
        _ => {}
    }
    alert.acknowledged = (!order.undo).then(|| Acknowledged {
        by: by.to_owned(),
        at,
        note: order.note,
    });
    alert.modified = state.revision.next();
    state.alerts.insert(order.alert.clone(), alert);
    Ok(Change::of(format!("alert/{}", order.alert)))
}

/// Raises the test. One that is open already would say nothing new.
pub fn test(state: &mut State, at: Stamp, order: TestAlert) -> Result<(Change, AlertId), Refusal> {
    check(&order.note)?;
    let id = id(Kind::Test, TEST_SUBJECT);
    if state.alerts.get(&id).is_some_and(super::Alert::is_open) {
        return Err(Refusal::AlreadyExists(format!(
            "the test {id}, which is over within a minute,"
        )));
    }
    raise(
        state,
        at,
        Raised {
            kind: Kind::Test,
            subject: TEST_SUBJECT.to_owned(),
            count: 1,
            detail: order.note,
        },
    );
    Ok((Change::of(format!("alert/{id}")), id))
}

fn check(note: &str) -> Result<(), Refusal> {
    if note.len() > NOTE_BYTES_MAX {
        let why = format!("has {} bytes; at most {NOTE_BYTES_MAX} are allowed", note.len());
        return Err(Refusal::field("note", why));
    }
    if let Some(odd) = note.chars().find(|c| c.is_control()) {
        let why = format!("has the control character {odd:?}; write a plain line");
        return Err(Refusal::field("note", why));
    }
    Ok(())
}
