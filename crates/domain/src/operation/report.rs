//! What a step's report does to its operation.

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, OperationId, Stamp};
use crate::operation::{
    Addressee, Direction, Goal, Kind, Operation, Status, Step, StepState, Wait, allow, rotate, turn,
};
use crate::refusal::Refusal;
use crate::state::{Change, State};
use crate::tenant;
use crate::words::Name;

/// An agent's word on one try at one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub agent: Name,
    pub operation: OperationId,
    pub step: u32,
    pub attempt: u32,
    pub direction: Direction,
    pub epoch: Epoch,
    pub outcome: Outcome,
    pub proof: Vec<String>,
    pub error: String,
    pub code: String,
    pub schema_version: u32,
    pub schema_checksum: String,
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Done,
    AlreadyTrue,
    /// It may work another time.
    Retry,
    /// It will not.
    Failed,
}

/// Tries before a step counts as failed.
pub const FORWARD_ATTEMPTS_MAX: u32 = 5;
/// Tries before a person must look at what cannot be taken back.
pub const UNDO_ATTEMPTS_MAX: u32 = 20;
/// Lines of proof kept of one step, and their length.
pub const PROOF_LINES_MAX: usize = 64;
const CANCELLED: &str = "CANCELLED";
/// How the detail of a stuck one begins.
const WAITS: &str = "waits for a person: ";
/// The longest line of proof or error kept.
pub const LINE_BYTES_MAX: usize = 400;

/// Moves the operation on. A report that was counted already changes nothing; one of an older try is fenced.
pub fn report(state: &mut State, at: Stamp, report: Report) -> Result<Change, Refusal> {
    let mut operation = find(state, &report.operation)?;
    if let Some(counted) = already_counted(&operation, &report)? {
        return Ok(counted);
    }
    let Some((step, direction)) = operation.open_step() else {
        return Err(Refusal::OperationEnded(operation.id));
    };
    if step.addressee != Addressee::Agent(report.agent.clone()) {
        return Err(Refusal::Fenced(format!(
            "step {} is not this agent's",
            report.step
        )));
    }
    if (operation.cursor, step.attempt, direction) != (report.step as usize, report.attempt, report.direction)
    {
        return Err(Refusal::Fenced(format!(
            "operation {} is at step {} attempt {}",
            operation.id, operation.cursor, step.attempt
        )));
    }
    let tenant = state.tenant(&operation.tenant)?;
    let group = state.group(&tenant.placement.group)?;
    if report.epoch != group.epoch {
        return Err(Refusal::Fenced(format!(
            "group {} is at epoch {}",
            group.name, group.epoch
        )));
    }

    operation.wait = None;
    let index = operation.cursor;
    let step = &mut operation.steps[index];
    step.proof.extend(report.proof.iter().map(|line| clip(line)));
    step.proof.truncate(PROOF_LINES_MAX);
    step.error = clip(&report.error);
    match report.outcome {
        Outcome::Done | Outcome::AlreadyTrue => {
            if direction == Direction::Forward && step.goal == Goal::Migrate {
                state.set_schema(
                    &operation.tenant,
                    at,
                    report.schema_version,
                    &report.schema_checksum,
                )?;
            }
            if direction == Direction::Forward && step.goal == Goal::RetireLogin {
                rotate::retired(state, &operation.tenant)?;
            }
            advance(state, at, &mut operation)?;
        }
        Outcome::Retry => again(state, at, &mut operation, &report.code)?,
        Outcome::Failed => fail(state, at, &mut operation, &report.code)?,
    }
    Ok(store(state, at, operation))
}

/// The pilot's word that a try took too long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeout {
    pub operation: OperationId,
    pub step: u32,
    pub attempt: u32,
    pub direction: Direction,
}

/// Counts the try as one that may work another time.
pub fn timeout(state: &mut State, at: Stamp, order: Timeout) -> Result<Change, Refusal> {
    let mut operation = find(state, &order.operation)?;
    let here = operation
        .open_step()
        .map(|(step, direction)| (operation.cursor, step.attempt, direction));
    if here != Some((order.step as usize, order.attempt, order.direction)) {
        return Ok(Change::none());
    }
    let index = operation.cursor;
    let step = &operation.steps[index];
    let due = step.started.map(|s| s.plus_millis(step.timeout_ms));
    let is_due = due.is_some_and(|due| at >= due);
    if step.goal == Goal::DrainClients && (is_due || rotate::is_drained(state, &operation)) {
        let proof = rotate::drained(state, &operation, step.timeout_ms);
        operation.steps[index].proof = proof.iter().map(|line| clip(line)).collect();
        operation.wait = None;
        advance(state, at, &mut operation)?;
        return Ok(store(state, at, operation));
    }
    if !is_due {
        return Err(Refusal::Fenced("the step has time left".to_owned()));
    }
    let step = &mut operation.steps[index];
    step.error = format!("no report within {} s", step.timeout_ms / 1000);
    again(state, at, &mut operation, "TIMEOUT")?;
    Ok(store(state, at, operation))
}

/// An order to turn an operation back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    pub operation: OperationId,
    pub reason: String,
}

/// Undoes what has been done; of a stuck one, tries to undo it once more.
/// Offboarding cannot be taken back: the data is going.
pub fn cancel(state: &mut State, at: Stamp, order: Cancel) -> Result<Change, Refusal> {
    let mut operation = find(state, &order.operation)?;
    if operation.has_ended() {
        return Err(Refusal::OperationEnded(operation.id));
    }
    if operation.status == Status::Queued {
        operation.reason = CANCELLED.to_owned();
        operation.detail = clip(&order.reason);
        end(state, at, &mut operation, Status::Undone)?;
        return Ok(store(state, at, operation));
    }
    if let Some((state, why)) = operation.stays_forward() {
        return Err(Refusal::WrongState {
            tenant: operation.slug.to_string(),
            state: state.to_owned(),
            next: why.to_owned(),
        });
    }
    if operation.status == Status::Undoing {
        return Ok(Change::none());
    }
    operation.reason = CANCELLED.to_owned();
    operation.detail = clip(&order.reason);
    turn_back(state, at, &mut operation)?;
    Ok(store(state, at, operation))
}

/// An order to try again what a person has looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    pub operation: OperationId,
    pub reason: String,
}

/// Opens the step that a stuck operation stands at once more, with all its tries, the way it was going.
pub fn retry(state: &mut State, at: Stamp, order: Retry) -> Result<Change, Refusal> {
    let mut operation = find(state, &order.operation)?;
    if operation.has_ended() {
        return Err(Refusal::OperationEnded(operation.id));
    }
    if operation.status != Status::Stuck {
        return Err(Refusal::WrongState {
            tenant: operation.slug.to_string(),
            state: "being worked on".to_owned(),
            next: "only a stuck operation is tried again by a person".to_owned(),
        });
    }
    if operation.stays_forward().is_none() {
        operation.detail = operation.detail.trim_start_matches(WAITS).to_owned();
        turn_back(state, at, &mut operation)?;
    } else {
        operation.status = Status::Running;
        operation.reason = String::new();
        operation.detail = String::new();
        let index = operation.cursor;
        operation.steps[index].open_anew(at);
        if operation.kind == Kind::Offboard {
            state.set_status(&operation.tenant, at, tenant::Status::Deleting)?;
        }
    }
    Ok(store(state, at, operation))
}

fn find(state: &State, id: &OperationId) -> Result<Operation, Refusal> {
    state
        .operations
        .get(id)
        .map(|known| Operation::clone(known))
        .ok_or_else(|| Refusal::OperationNotFound(id.to_string()))
}

pub(super) fn store(state: &mut State, at: Stamp, mut operation: Operation) -> Change {
    operation.modified = state.revision.next();
    let tenant = operation.tenant.clone();
    let change = Change::tenant(&tenant).with_operation(&operation.id);
    let holds_a_place = turn::is_at_work(&operation);
    state.store_operation(operation);
    if !holds_a_place {
        turn::go_on(state, at, &tenant);
    }
    change
}

/// A report is said again when its answer was lost: the second one changes nothing.
fn already_counted(operation: &Operation, report: &Report) -> Result<Option<Change>, Refusal> {
    let Some(step) = operation.steps.get(report.step as usize) else {
        return Err(Refusal::Fenced(format!(
            "operation {} has no step {}",
            operation.id, report.step
        )));
    };
    let behind = match (report.direction, operation.status) {
        (Direction::Forward, Status::Running | Status::Done) => (report.step as usize) < operation.cursor,
        (Direction::Forward, _) => true,
        (Direction::Undo, Status::Undone) => true,
        (Direction::Undo, _) => step.state == StepState::Undone,
    };
    let older = operation.cursor == report.step as usize && report.attempt < step.attempt;
    Ok((behind || older || operation.has_ended()).then(Change::none))
}

/// The step at the cursor is done: on to the next, in whichever direction.
pub(super) fn advance(state: &mut State, at: Stamp, operation: &mut Operation) -> Result<(), Refusal> {
    let index = operation.cursor;
    operation.steps[index].ended = Some(at);
    if operation.status == Status::Undoing {
        operation.steps[index].state = StepState::Undone;
        return walk_back(state, at, operation, index);
    }
    operation.steps[index].state = StepState::Done;
    operation.cursor += 1;
    let Some(next) = operation.steps.get_mut(operation.cursor) else {
        return end(state, at, operation, Status::Done);
    };
    next.open(at);
    if next.addressee == Addressee::Registry && next.goal != Goal::DrainClients {
        settle(state, at, operation)?;
        return advance(state, at, operation);
    }
    Ok(())
}

/// Carries out a step of the state machine's own.
fn settle(state: &mut State, at: Stamp, operation: &mut Operation) -> Result<(), Refusal> {
    match operation.steps[operation.cursor].goal {
        Goal::Activate => state.set_status(&operation.tenant, at, tenant::Status::Active),
        Goal::Release => {
            state.remove_tenant(&operation.tenant, at);
            Ok(())
        }
        Goal::KeepDoors => allow::keep(state, at, &operation.tenant, operation.wanted.as_ref()),
        Goal::PublishCredential => rotate::publish(state, at, operation),
        // Every other goal is an agent's; `steps` addresses it so.
        _ => Ok(()),
    }
}

/// Tries the step again a little later, up to its limit.
fn again(state: &mut State, at: Stamp, operation: &mut Operation, code: &str) -> Result<(), Refusal> {
    let undoing = operation.status == Status::Undoing;
    let attempts_max = if undoing {
        UNDO_ATTEMPTS_MAX
    } else {
        FORWARD_ATTEMPTS_MAX
    };
    let index = operation.cursor;
    let step = &mut operation.steps[index];
    if step.tries() >= attempts_max {
        return fail(state, at, operation, code);
    }
    // 250 ms, 500 ms, 1 s … 8 s: short enough for a waiting person, long enough for a restart.
    let pause_ms = 250u64 << step.tries().saturating_sub(1).min(5);
    let begin = at.plus_millis(pause_ms);
    step.open_again(
        begin,
        if undoing {
            Direction::Undo
        } else {
            Direction::Forward
        },
    );
    operation.wait = Some(Wait::Until(begin));
    Ok(())
}

/// The step will not work: forwards that means back, backwards (and for what cannot go back) a person.
fn fail(state: &mut State, at: Stamp, operation: &mut Operation, code: &str) -> Result<(), Refusal> {
    let index = operation.cursor;
    let step = &operation.steps[index];
    let detail = format!("{}: {}", step.goal.word(), step.error);
    let forwards = operation.status == Status::Running;
    if forwards && operation.stays_forward().is_none() {
        operation.reason = if code.is_empty() {
            "STEP_FAILED".to_owned()
        } else {
            clip(code)
        };
        operation.detail = detail;
        operation.steps[index].state = StepState::Failed;
        return turn_back(state, at, operation);
    }
    operation.detail = format!("{WAITS}{detail}");
    if operation.reason.is_empty() {
        operation.reason = "STEP_FAILED".to_owned();
    }
    operation.steps[index].state = StepState::Failed;
    if operation.kind.holds_its_tenant() {
        state.set_status(&operation.tenant, at, tenant::Status::Failed)?;
    }
    operation.status = Status::Stuck;
    operation.wait = None;
    Ok(())
}

/// Turns at the cursor: that step may be half done, so it is undone too.
fn turn_back(state: &mut State, at: Stamp, operation: &mut Operation) -> Result<(), Refusal> {
    operation.status = Status::Undoing;
    operation.wait = None;
    let from = operation.cursor + 1;
    walk_back(state, at, operation, from)
}

/// Opens the nearest step before `from` that leaves something; when there is none, absence is to be proved.
fn walk_back(state: &mut State, at: Stamp, operation: &mut Operation, from: usize) -> Result<(), Refusal> {
    let proved = operation
        .steps
        .last()
        .is_some_and(|last| last.goal == Goal::ProveAbsence && last.state == StepState::Undone);
    if proved {
        return end(state, at, operation, Status::Undone);
    }
    for index in (0..from).rev() {
        let step = &mut operation.steps[index];
        if step.goal.leaves_something() {
            step.open_undo(at);
            operation.cursor = index;
            return Ok(());
        }
        if matches!(step.state, StepState::Done | StepState::Open) {
            step.state = StepState::Undone;
        }
    }
    if !operation.kind.makes_its_tenant() {
        return end(state, at, operation, Status::Undone);
    }
    let addressee = operation.steps[0].addressee.clone();
    let mut proof = Step::new(Goal::ProveAbsence, addressee);
    proof.open_undo(at);
    operation.cursor = operation.steps.len();
    operation.steps.push(proof);
    Ok(())
}

fn end(state: &mut State, at: Stamp, operation: &mut Operation, status: Status) -> Result<(), Refusal> {
    operation.status = status;
    operation.ended = Some(at);
    operation.locks.clear();
    if operation.kind == Kind::Rotate {
        // What was taken back is not kept, sealed as it is.
        operation.wanted = None;
    }
    match status {
        Status::Undone if operation.kind.makes_its_tenant() => state.remove_tenant(&operation.tenant, at),
        _ if turn::holds_its_tenant(state, operation) => state.free_tenant(&operation.tenant, at),
        _ => {}
    }
    Ok(())
}

fn clip(text: &str) -> String {
    let mut end = text.len().min(LINE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
