//! Alerts.

use reeve_domain::alert::{self, Alert};
use reeve_domain::isolation::Severity;
use reeve_domain::{Revision, State};

use super::time;
use crate::v1;

/// An alert as the wire writes it.
pub fn alert(state: &State, from: &Alert) -> v1::Alert {
    let severity = match from.kind.severity() {
        Severity::Warning => v1::alert::Severity::Warning,
        Severity::Critical => v1::alert::Severity::Critical,
    };
    let acknowledgement = from.acknowledged.as_ref().map(acknowledgement);
    v1::Alert {
        id: from.id.to_string(),
        kind: from.kind.name().to_owned(),
        severity: severity as i32,
        subject: from.subject.clone(),
        summary: from.kind.summary().to_owned(),
        detail: from.detail.clone(),
        raise_time: Some(time::timestamp(from.raised)),
        resolve_time: from.resolved.map(time::timestamp),
        acknowledgement,
        times: from.times,
        told: was_told(state.alerts_told, from),
        mod_revision: from.modified.0,
    }
}

fn was_told(through: Option<Revision>, alert: &Alert) -> bool {
    through.is_some_and(|through| alert.turned <= through)
}

fn acknowledgement(from: &alert::Acknowledged) -> v1::Acknowledgement {
    v1::Acknowledgement {
        principal: from.by.clone(),
        time: Some(time::timestamp(from.at)),
        note: from.note.clone(),
    }
}
