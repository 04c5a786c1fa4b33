//! `reeve op`: durable jobs, step by step.

use clap::{Args, Subcommand, ValueEnum};
use reeve_client::v1::{self, operation};

use crate::fail::Failure;
use crate::form::Form;
use crate::session::Session;
use crate::show::Freshness;
use crate::show::operation::{Ended, Limits, Operation, Operations};
use crate::wait::{self, Goal, Wait};

#[derive(Debug, Args)]
pub struct Op {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List operations, newest first
    #[command(after_help = "Examples:\n  reeve op ls\n  reeve op ls --tenant cho-ray --state undone")]
    Ls(ListArgs),
    /// Show one operation, its steps, and what each has checked, done and proved
    #[command(
        after_help = "Examples:\n  reeve op get op_0123456789abcdef\n  reeve op get op_0123456789abcdef -o json"
    )]
    Get(Named),
    /// Show each change of an operation until it ends
    #[command(
        after_help = "Examples:\n  reeve op watch op_0123456789abcdef\n  reeve op watch op_0123456789abcdef -q -o jsonl"
    )]
    Watch(Named),
    /// Wait until an operation ends; the exit code says how
    #[command(
        after_help = "Examples:\n  reeve op wait op_0123456789abcdef --timeout 2m\n\nExit codes: 0 done, 7 still at work, 8 failed and undone, 9 stuck."
    )]
    Wait(Named),
    /// Undo what an operation has done so far
    #[command(after_help = "Examples:\n  reeve op cancel op_0123456789abcdef --reason 'wrong region'")]
    Cancel(ChangeArgs),
    /// Try a stuck operation again, from the step that it stands at
    #[command(
        after_help = "Examples:\n  reeve op retry op_0123456789abcdef --reason 'the disk has room again'"
    )]
    Retry(ChangeArgs),
    /// Show or set how many operations are at work at once; the others wait for their turn
    #[command(
        after_help = "Examples:\n  reeve op limits\n  reeve op limits --per-server 4\n  reeve op limits --per-server 16 --per-region 128\n\nWhat is at work goes on. An operation that waits for a person or for clients is not counted."
    )]
    Limits(LimitsArgs),
}

#[derive(Debug, Args)]
struct LimitsArgs {
    /// On any one server, 1 to 64
    #[arg(long, value_name = "N")]
    per_server: Option<u32>,
    /// In any one region, 1 to 1000
    #[arg(long, value_name = "N")]
    per_region: Option<u32>,
}

#[derive(Debug, Args)]
struct Named {
    /// The operation's id
    operation: String,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those of this tenant (id or slug)
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Only those in this state
    #[arg(long, value_enum)]
    state: Option<State>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
}

#[derive(Debug, Args)]
struct ChangeArgs {
    /// The operation's id
    operation: String,
    /// Why; stands in the audit log
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Running,
    Undoing,
    Done,
    Undone,
    Stuck,
    Queued,
}

impl From<State> for operation::State {
    fn from(state: State) -> operation::State {
        match state {
            State::Running => operation::State::Running,
            State::Undoing => operation::State::Undoing,
            State::Done => operation::State::Done,
            State::Undone => operation::State::Undone,
            State::Stuck => operation::State::Stuck,
            State::Queued => operation::State::Queued,
        }
    }
}

pub async fn run(op: Op, session: &Session) -> Result<(), Failure> {
    match op.verb {
        Verb::Ls(args) => ls(args, session).await,
        Verb::Get(named) => {
            let operation = get(session, &named.operation).await?;
            session.print(&Operation::from(operation))
        }
        Verb::Watch(named) if session.form() == Form::Jsonl => {
            let ended = wait::lines_until_ended(session, &named.operation).await?;
            wait::verdict(&ended, Goal::Done)
        }
        Verb::Watch(named) | Verb::Wait(named) => {
            let ended = wait::until_ended(session, &named.operation).await?;
            session.print(&Ended(ended.clone().into()))?;
            wait::verdict(&ended, Goal::Done)
        }
        Verb::Cancel(args) => cancel(args, session).await,
        Verb::Retry(args) => retry(args, session).await,
        Verb::Limits(args) => limits(args, session).await,
    }
}

async fn ls(args: ListArgs, session: &Session) -> Result<(), Failure> {
    let state = args.state.map_or(operation::State::Unspecified, Into::into);
    let tenant = args.tenant.unwrap_or_default();
    let (operations, freshness) = list(session, &tenant, state, args.limit).await?;
    let operations = operations.into_iter().map(Operation::from).collect();
    session.print(&Operations {
        operations,
        freshness,
    })
}

/// Operations, newest first, over as many pages as it takes.
pub async fn list(
    session: &Session,
    tenant: &str,
    state: operation::State,
    limit: usize,
) -> Result<(Vec<v1::Operation>, Freshness), Failure> {
    let mut operations = Vec::new();
    let mut page_token = String::new();
    loop {
        let left = limit.saturating_sub(operations.len());
        let asked = v1::ListOperationsRequest {
            page_size: u32::try_from(left.clamp(1, 1000)).unwrap_or(1000),
            page_token,
            tenant: tenant.to_owned(),
            state: state.into(),
            ..Default::default()
        };
        let answer = session
            .api()?
            .operations()
            .list_operations(session.ask(asked))
            .await?
            .into_inner();
        operations.extend(answer.operations);
        page_token = answer.next_page_token;
        if page_token.is_empty() || operations.len() >= limit {
            operations.truncate(limit);
            return Ok((operations, Freshness::of(answer.freshness)));
        }
    }
}

/// One operation.
pub async fn get(session: &Session, id: &str) -> Result<v1::Operation, Failure> {
    let asked = v1::GetOperationRequest {
        operation: id.to_owned(),
        ..Default::default()
    };
    let answer = session
        .api()?
        .operations()
        .get_operation(session.ask(asked))
        .await?;
    let operation = answer.into_inner().operation;
    operation.ok_or_else(|| Failure::error(format!("{id} was not shown"), "the registry's answer is empty"))
}

async fn cancel(args: ChangeArgs, session: &Session) -> Result<(), Failure> {
    let asked = v1::CancelOperationRequest {
        request_id: session.request_id(),
        operation: args.operation,
        reason: args.reason,
    };
    let answer = session
        .api()?
        .operations()
        .cancel_operation(session.ask(asked))
        .await?;
    wait::answer(session, answer.into_inner().operation, &args.wait, Goal::Undone).await
}

async fn retry(args: ChangeArgs, session: &Session) -> Result<(), Failure> {
    let asked = v1::RetryOperationRequest {
        request_id: session.request_id(),
        operation: args.operation,
        reason: args.reason,
    };
    let answer = session
        .api()?
        .operations()
        .retry_operation(session.ask(asked))
        .await?
        .into_inner();
    // What was being undone is undone at its best, and what was being done is done.
    let turned_back = answer
        .operation
        .as_ref()
        .is_some_and(|o| o.state() == operation::State::Undoing);
    let goal = if turned_back { Goal::Undone } else { Goal::Done };
    wait::answer(session, answer.operation, &args.wait, goal).await
}

async fn limits(args: LimitsArgs, session: &Session) -> Result<(), Failure> {
    let asked = v1::GetOperationLimitsRequest::default();
    let answer = session
        .api()?
        .operations()
        .get_operation_limits(session.ask(asked))
        .await?
        .into_inner();
    let are = answer.limits.unwrap_or_default();
    let wanted = v1::OperationLimits {
        per_server: args.per_server.unwrap_or(are.per_server),
        per_region: args.per_region.unwrap_or(are.per_region),
    };
    let is_change = args.per_server.is_some() || args.per_region.is_some();
    let limits = match is_change {
        false => are,
        true => {
            let asked = v1::SetOperationLimitsRequest {
                request_id: session.request_id(),
                limits: Some(wanted),
                instead_of: Some(are),
            };
            let answer = session
                .api()?
                .operations()
                .set_operation_limits(session.ask(asked))
                .await;
            let answer = answer
                .map_err(|status| Failure::from(status).doing("the limits were not changed".to_owned()))?;
            answer.into_inner().limits.unwrap_or_default()
        }
    };
    session.print(&Limits {
        per_server: limits.per_server,
        per_region: limits.per_region,
        queued: answer.queued,
        freshness: Freshness::of(answer.freshness),
    })
}
