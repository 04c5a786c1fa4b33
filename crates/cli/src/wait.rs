//! Waiting for an operation: its steps as they happen, and an exit code for how it ended.
//!
//! ```text
//! watch ─► lines of steps ─► done 0 · undone 8 · stuck 9 · patience over 7 · Ctrl-C 130 (the work goes on)
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use reeve_client::v1::operation::State;
use reeve_client::v1::{self, WatchOperationRequest, step};

use crate::fail::{Exit, Failure};
use crate::form::Form;
use crate::session::{Colour, Session};
use crate::show::operation::{Ended, Operation};
use crate::show::page::folded;
use crate::show::{Show, plain, took};

const FAILED: &str = "✗";
/// The mark before each change, and the blanks around it.
const MARK: usize = 3;
/// Where the words begin that tell how a step is.
const LAST_COLUMN: usize = 36;
const REOPEN_PAUSE: Duration = Duration::from_millis(200);
/// A stream that says nothing for so long is opened anew, perhaps at another node.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Whether a changing verb waits.
#[derive(Clone, Debug, Args)]
pub struct Wait {
    /// Wait for the operation's end, and show each step: as it is unless told
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Do not wait for the operation; print its id
    #[arg(long, overrides_with = "wait")]
    pub no_wait: bool,
}

/// The end that was wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    Done,
    /// It was cancelled: undone is what was wanted.
    Undone,
}

/// Answers a changing verb: waits as it was asked to, and shows how the operation ended.
pub async fn answer(
    session: &Session,
    operation: Option<v1::Operation>,
    wait: &Wait,
    goal: Goal,
) -> Result<(), Failure> {
    let operation = operation.ok_or_else(|| {
        Failure::error("the registry named no operation", "its answer is incomplete")
            .fix("look with `reeve op ls`")
    })?;
    if wait.no_wait {
        return match session.form() {
            Form::Table | Form::Wide | Form::Name => session.out(&operation.id),
            Form::Json | Form::Jsonl | Form::Yaml | Form::Env => session.print(&Operation::from(operation)),
        };
    }
    let id = operation.id.clone();
    session.say(&format!("{id}  (reeve op watch {id})"));
    let ended = until_ended(session, &id).await?;
    session.print(&Ended(ended.clone().into()))?;
    verdict(&ended, goal)
}

/// Follows an operation, showing its steps, until it has ended.
pub async fn until_ended(session: &Session, id: &str) -> Result<v1::Operation, Failure> {
    follow(session, id, Progress::default()).await
}

/// The same, and each change is a result: the whole operation as it then is, in a line of JSON.
pub async fn lines_until_ended(session: &Session, id: &str) -> Result<v1::Operation, Failure> {
    let progress = Progress {
        tells_all: true,
        ..Progress::default()
    };
    follow(session, id, progress).await
}

async fn follow(session: &Session, id: &str, mut progress: Progress) -> Result<v1::Operation, Failure> {
    let following = async {
        let mut is_told = false;
        loop {
            match stream(session, id, &mut progress).await {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) => is_told = false,
                Err(error) if error.is_transient() => {
                    if !std::mem::replace(&mut is_told, true) {
                        session.say(" no node answers; still trying");
                    }
                }
                Err(error) => return Err(Failure::from(error)),
            }
            tokio::time::sleep(REOPEN_PAUSE).await;
        }
    };
    let back = format!("come back with `reeve op watch {id}`");
    tokio::select! {
        ended = following => ended,
        () = tokio::time::sleep(session.patience()) => {
            let why = format!("it did not end within {:?} and goes on without you", session.patience());
            Err(Failure::new(Exit::TimedOut, format!("stopped waiting for {id}"), why).fix(back))
        }
        _ = tokio::signal::ctrl_c() => {
            let why = "you left; the operation goes on without you";
            Err(Failure::new(Exit::Interrupted, format!("stopped waiting for {id}"), why).fix(back))
        }
    }
}

/// One stream of changes; none when it broke off or fell silent before the end.
async fn stream(
    session: &Session,
    id: &str,
    progress: &mut Progress,
) -> Result<Option<v1::Operation>, reeve_client::Error> {
    let asked = WatchOperationRequest {
        operation: id.to_owned(),
    };
    let api = session
        .api()
        .map_err(|failure| reeve_client::Error::Answer(failure.what))?;
    let mut stream = api.operations().watch_operation(asked).await?.into_inner();
    while let Ok(message) = tokio::time::timeout(SILENCE_MAX, stream.message()).await {
        let Some(operation) = message?.and_then(|answer| answer.operation) else {
            return Ok(None);
        };
        let changes = progress.changes(&operation);
        if progress.tells_all && (!changes.is_empty() || has_ended(&operation)) {
            let told = session.out(&Operation::from(operation.clone()).lines().join("\n"));
            told.map_err(|failure| reeve_client::Error::Answer(failure.what))?;
        }
        for line in changes {
            let text = fitted(&line.text, session.look().width);
            session.say(&format!(" {} {text}", session.paint(line.colour, line.mark)));
        }
        if has_ended(&operation) {
            return Ok(Some(operation));
        }
    }
    Ok(None)
}

/// Whether it will not change any more by itself.
pub fn has_ended(operation: &v1::Operation) -> bool {
    matches!(operation.state(), State::Done | State::Undone | State::Stuck)
}

/// What the end means for the exit code.
pub fn verdict(operation: &v1::Operation, goal: Goal) -> Result<(), Failure> {
    let told = [operation.reason.as_str(), operation.detail.as_str()];
    let why = told
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    let id = &operation.id;
    let fix = format!("`reeve op get {id}` shows each step");
    match (operation.state(), goal) {
        (State::Done, Goal::Done) | (State::Undone, Goal::Undone) => Ok(()),
        (State::Undone, Goal::Done) => {
            Err(Failure::new(Exit::RolledBack, format!("{id} was undone"), why).fix(fix))
        }
        (State::Done, Goal::Undone) => {
            let what = format!("{id} was done before it could be cancelled");
            Err(Failure::new(Exit::Conflict, what, why).fix(fix))
        }
        (State::Stuck, _) => Err(Failure::new(
            Exit::NeedsPerson,
            format!("{id} is stuck and needs a person"),
            why,
        )
        .fix(fix)),
        (State::Queued | State::Running | State::Undoing | State::Unspecified, _) => {
            Err(Failure::error(format!("{id} has not ended"), why).fix(fix))
        }
    }
}

/// What was told already, so that each change of a step is one line.
#[derive(Default)]
struct Progress {
    told: BTreeMap<usize, (step::State, u32)>,
    /// What it waits for before anything of it is begun.
    turn: String,
    /// Whether each change is a result.
    tells_all: bool,
}

struct Change {
    mark: &'static str,
    colour: Colour,
    text: String,
}

impl Progress {
    fn changes(&mut self, operation: &v1::Operation) -> Vec<Change> {
        let mut changes = Vec::new();
        if operation.state() == State::Queued && self.turn != operation.waits_for {
            self.turn.clone_from(&operation.waits_for);
            changes.push(Change {
                mark: "▸",
                colour: Colour::Yellow,
                text: format!("{:<18} waits for {}", "queued", operation.waits_for),
            });
        }
        for (at, step) in operation.steps.iter().enumerate() {
            let now = (step.state(), step.attempt);
            let before = self.told.insert(at, now);
            let is_news = before.map_or(now.0 != step::State::Waiting, |before| before != now);
            if is_news {
                changes.push(change(step));
            }
        }
        // What failed is the reason for what is undone.
        changes.sort_by_key(|change| change.mark != FAILED);
        changes
    }
}

/// A change's words in lines that fit; what does not goes on below the last column.
fn fitted(text: &str, width: Option<usize>) -> String {
    match width {
        Some(width) => folded(text, width.saturating_sub(MARK), LAST_COLUMN).replace('\n', "\n   "),
        None => text.to_owned(),
    }
}

fn change(step: &v1::Step) -> Change {
    let state = step.state();
    let (mark, colour) = match state {
        step::State::Done => ("✓", Colour::Green),
        step::State::Failed => (FAILED, Colour::Red),
        step::State::Undoing | step::State::Undone => ("↶", Colour::Yellow),
        step::State::Waiting | step::State::Open | step::State::Unspecified => ("▸", Colour::Yellow),
    };
    let mut told = match state {
        step::State::Done => took(step.start_time, step.end_time),
        state => plain(state.as_str_name(), "STATE_"),
    };
    if step.attempt > 1 {
        told.push_str(&format!(", attempt {}", step.attempt));
    }
    if !step.error.is_empty() {
        told.push_str(&format!(": {}", step.error));
    }
    let is_over = matches!(state, step::State::Done | step::State::Undone);
    if let Some(proof) = step.proof.last().filter(|_| is_over && step.error.is_empty()) {
        told.push_str(&format!("  {proof}"));
    }
    let text = format!("{:<18} {:<16} {told}", step.name, step.addressee);
    Change {
        mark,
        colour,
        text: text.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(state: State, steps: &[(step::State, u32)]) -> v1::Operation {
        let step = |(state, attempt): &(step::State, u32)| v1::Step {
            name: "migrate".into(),
            addressee: "agent/vn-1".into(),
            state: (*state).into(),
            attempt: *attempt,
            ..Default::default()
        };
        v1::Operation {
            id: "op_1".into(),
            state: state.into(),
            steps: steps.iter().map(step).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn each_end_has_its_own_exit_code() {
        let code = |state, goal| verdict(&operation(state, &[]), goal).err().map(|f| f.exit as u8);
        assert_eq!(code(State::Done, Goal::Done), None);
        assert_eq!(code(State::Undone, Goal::Done), Some(8));
        assert_eq!(code(State::Stuck, Goal::Done), Some(9));
        assert_eq!(code(State::Undone, Goal::Undone), None);
        assert_eq!(code(State::Done, Goal::Undone), Some(4));
    }

    #[test]
    fn what_does_not_fit_goes_on_below_the_last_column() {
        let text = "create_roles       agent/vn-1       206 ms  roles: group, owner, two logins";
        assert_eq!(fitted(text, None), text);
        assert_eq!(fitted(text, Some(80)), text);
        let below = "\n                                       owner, two logins";
        assert_eq!(fitted(text, Some(60)), text.replace(" owner, two logins", below));
    }

    #[test]
    fn a_step_is_told_once_for_each_change() {
        let mut progress = Progress::default();
        let mut lines = |steps: &[_]| {
            let changes = progress.changes(&operation(State::Running, steps));
            changes
                .into_iter()
                .map(|c| format!("{} {}", c.mark, c.text))
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(&[(step::State::Waiting, 0)]), Vec::<String>::new());
        assert_eq!(
            lines(&[(step::State::Open, 1)]),
            ["▸ migrate            agent/vn-1       open"]
        );
        assert_eq!(lines(&[(step::State::Open, 1)]), Vec::<String>::new());
        assert_eq!(
            lines(&[(step::State::Open, 2)]),
            ["▸ migrate            agent/vn-1       open, attempt 2"]
        );
        assert_eq!(lines(&[(step::State::Done, 2)]).len(), 1);
    }
}
