//! Operations and their steps.

use std::time::Duration;

use reeve_domain::Operation;
use reeve_domain::operation::{Addressee, Kind, Limits, Priority, Status, Step, StepState, Turn};

use crate::convert::{BadField, time};
use crate::v1;

/// An operation as the wire writes it; `waits_for` is what the pilot says it waits for.
pub fn operation(from: &Operation, waits_for: String) -> v1::Operation {
    let kind = match from.kind {
        Kind::Onboard => v1::operation::Kind::Onboard,
        Kind::Offboard => v1::operation::Kind::Offboard,
        Kind::Scan => v1::operation::Kind::Scan,
        Kind::Allow => v1::operation::Kind::Allow,
        Kind::Rotate => v1::operation::Kind::Rotate,
    };
    v1::Operation {
        id: from.id.to_string(),
        kind: kind as i32,
        state: status(from.status) as i32,
        tenant_id: from.tenant.to_string(),
        tenant_slug: from.slug.to_string(),
        steps: from.steps.iter().map(step).collect(),
        cursor: from.cursor as u32,
        reason: from.reason.clone(),
        detail: from.detail.clone(),
        actor: from.actor.clone(),
        create_time: Some(time::timestamp(from.created)),
        end_time: from.ended.map(time::timestamp),
        waits_for,
        parent: from.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        children: from.children.iter().map(ToString::to_string).collect(),
        locks: from.locks.clone(),
        mod_revision: from.modified.0,
        priority: priority(from.priority) as i32,
    }
}

fn status(status: Status) -> v1::operation::State {
    match status {
        Status::Running => v1::operation::State::Running,
        Status::Undoing => v1::operation::State::Undoing,
        Status::Done => v1::operation::State::Done,
        Status::Undone => v1::operation::State::Undone,
        Status::Stuck => v1::operation::State::Stuck,
        Status::Queued => v1::operation::State::Queued,
    }
}

fn priority(priority: Priority) -> v1::operation::Priority {
    match priority {
        Priority::Urgent => v1::operation::Priority::Urgent,
        Priority::Normal => v1::operation::Priority::Normal,
        Priority::Background => v1::operation::Priority::Background,
    }
}

/// Reads how an operation is to take its turn.
pub fn turn_from_wire(wire: Option<&v1::Turn>) -> Result<Turn, BadField> {
    let Some(wire) = wire else {
        return Ok(Turn::default());
    };
    let queue = match v1::turn::OnConflict::try_from(wire.on_conflict) {
        Ok(v1::turn::OnConflict::Queue) => true,
        Ok(v1::turn::OnConflict::Unspecified | v1::turn::OnConflict::Refuse) => false,
        Err(_) => return Err(BadField::new("turn.on_conflict", "is refuse or queue")),
    };
    let priority = match v1::operation::Priority::try_from(wire.priority) {
        Ok(v1::operation::Priority::Urgent) => Priority::Urgent,
        Ok(v1::operation::Priority::Unspecified | v1::operation::Priority::Normal) => Priority::Normal,
        Ok(v1::operation::Priority::Background) => Priority::Background,
        Err(_) => return Err(BadField::new("turn.priority", "is urgent, normal or background")),
    };
    Ok(Turn { queue, priority })
}

/// The limits, as they are.
pub fn operation_limits(from: Limits) -> v1::OperationLimits {
    v1::OperationLimits {
        per_server: from.per_server,
        per_region: from.per_region,
    }
}

/// Reads the limits that shall be.
pub fn wanted_limits_from_wire(wire: v1::OperationLimits) -> Result<Limits, BadField> {
    for (field, got, may_be) in [
        ("limits.per_server", wire.per_server, Limits::PER_SERVER),
        ("limits.per_region", wire.per_region, Limits::PER_REGION),
    ] {
        if !may_be.contains(&got) {
            let why = format!("is {got}; {} to {} are allowed", may_be.start(), may_be.end());
            return Err(BadField::new(field, why));
        }
    }
    Ok(operation_limits_from_wire(wire))
}

/// Limits as somebody has read them.
pub fn operation_limits_from_wire(wire: v1::OperationLimits) -> Limits {
    Limits {
        per_server: wire.per_server,
        per_region: wire.per_region,
    }
}

/// Reads a state to filter by; unset is none.
pub fn operation_status_from_wire(wire: v1::operation::State) -> Option<Status> {
    match wire {
        v1::operation::State::Running => Some(Status::Running),
        v1::operation::State::Undoing => Some(Status::Undoing),
        v1::operation::State::Done => Some(Status::Done),
        v1::operation::State::Undone => Some(Status::Undone),
        v1::operation::State::Stuck => Some(Status::Stuck),
        v1::operation::State::Queued => Some(Status::Queued),
        v1::operation::State::Unspecified => None,
    }
}

fn step(from: &Step) -> v1::Step {
    let state = match from.state {
        StepState::Waiting => v1::step::State::Waiting,
        StepState::Open => v1::step::State::Open,
        StepState::Done => v1::step::State::Done,
        StepState::Failed => v1::step::State::Failed,
        StepState::Undoing => v1::step::State::Undoing,
        StepState::Undone => v1::step::State::Undone,
    };
    let addressee = match &from.addressee {
        Addressee::Registry => "registry".to_owned(),
        Addressee::Agent(name) => format!("agent/{name}"),
    };
    v1::Step {
        name: from.goal.word().to_owned(),
        addressee,
        state: state as i32,
        attempt: from.attempt,
        start_time: from.started.map(time::timestamp),
        end_time: from.ended.map(time::timestamp),
        proof: from.proof.clone(),
        error: from.error.clone(),
        timeout: Some(time::duration(Duration::from_millis(from.timeout_ms))),
    }
}
