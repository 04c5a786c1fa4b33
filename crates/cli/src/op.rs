//! `reeve op`: durable jobs, and waiting for them.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;
use reeve_client::v1::{
    CancelOperationRequest, GetOperationRequest, ListOperationsRequest, Operation, WatchOperationRequest, operation,
    step,
};
use serde::Serialize;

use crate::args::Format;
use crate::connect::Connection;
use crate::{exit, output};

/// What can be done with operations.
#[derive(Subcommand)]
pub enum Verb {
    /// List them, newest first
    #[command(after_help = "Examples:\n  reeve op ls\n  reeve op ls --tenant cho-ray")]
    Ls {
        /// Only those of a tenant (id or slug)
        #[arg(long)]
        tenant: Option<String>,
        /// At the most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show one with its steps and what they proved
    #[command(after_help = "Example:\n  reeve op get op_0123456789abcdef")]
    Get { operation: String },
    /// Show each change until it ends
    #[command(after_help = "Example:\n  reeve op watch op_0123456789abcdef")]
    Watch { operation: String },
    /// Wait until it ends; the exit code says how
    #[command(after_help = "Example:\n  reeve op wait op_0123456789abcdef --for 60")]
    Wait {
        operation: String,
        /// Seconds to wait at the most
        #[arg(long = "for", default_value_t = 600, value_name = "SECONDS")]
        limit: u64,
    },
    /// Turn it back: what has been done is undone
    #[command(after_help = "Example:\n  reeve op cancel op_0123456789abcdef --reason \"wrong region\"")]
    Cancel {
        operation: String,
        /// Why; it is written into the audit log
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// An operation as JSON.
#[derive(Debug, Serialize)]
pub struct Row {
    id: String,
    kind: &'static str,
    state: &'static str,
    tenant: String,
    tenant_id: String,
    step: String,
    waits_for: String,
    reason: String,
    detail: String,
    create_time: String,
    end_time: String,
    steps: Vec<StepRow>,
}

#[derive(Debug, Serialize)]
struct StepRow {
    name: String,
    addressee: String,
    state: &'static str,
    attempt: u32,
    proof: Vec<String>,
    error: String,
}

/// Carries a verb out.
pub async fn run(verb: Verb, connection: &Connection) -> Result<ExitCode> {
    match verb {
        Verb::Ls { tenant, limit } => list(connection, tenant.unwrap_or_default(), limit).await?,
        Verb::Get { operation } => show(connection, &get(connection, &operation).await?)?,
        Verb::Watch { operation } => return follow(connection, &operation, None).await,
        Verb::Wait { operation, limit } => {
            return follow(connection, &operation, Some(Duration::from_secs(limit))).await;
        }
        Verb::Cancel { operation, reason } => {
            let request = CancelOperationRequest { request_id: connection.request_id(), operation: operation.clone(), reason };
            connection.api.operations().cancel_operation(connection.call(request)).await?;
            return follow(connection, &operation, None).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn get(connection: &Connection, id: &str) -> Result<Operation> {
    let request = GetOperationRequest { operation: id.to_owned(), read: None };
    let answer = connection.api.operations().get_operation(connection.call(request)).await?.into_inner();
    Ok(answer.operation.unwrap_or_default())
}

async fn list(connection: &Connection, tenant: String, limit: u32) -> Result<()> {
    let request = ListOperationsRequest { page_size: limit, tenant, ..Default::default() };
    let listed = connection.api.operations().list_operations(connection.call(request)).await?.into_inner().operations;
    if connection.format == Format::Json {
        return output::json(&listed.iter().map(row).collect::<Vec<_>>());
    }
    let now = jiff::Timestamp::now();
    let mut table = output::table(&["OPERATION", "KIND", "TENANT", "STATE", "STEP", "BEGAN", "TOOK", "WAITS FOR"]);
    for operation in &listed {
        let row = row(operation);
        let took = output::seconds(operation.create_time.as_ref(), operation.end_time.as_ref());
        let began = output::ago(operation.create_time.as_ref(), now);
        table.add_row([row.id, row.kind.into(), row.tenant, row.state.into(), row.step, began, took, row.waits_for]);
    }
    println!("{table}");
    Ok(())
}

fn show(connection: &Connection, operation: &Operation) -> Result<()> {
    let row = row(operation);
    if connection.format == Format::Json {
        return output::json(&row);
    }
    println!("{}  {} of {} ({})  {}", row.id, row.kind, row.tenant, row.tenant_id, row.state);
    if !row.reason.is_empty() {
        println!("because {}: {}", row.reason, row.detail);
    }
    if !row.waits_for.is_empty() {
        println!("waits for {}", row.waits_for);
    }
    let mut table = output::table(&["", "STEP", "STATE", "TRY", "TOOK", "PROOF"]);
    for (step, wire) in row.steps.iter().zip(&operation.steps) {
        let took = output::seconds(wire.start_time.as_ref(), wire.end_time.as_ref());
        let proof = step.proof.last().cloned().unwrap_or_else(|| step.error.clone());
        table.add_row([mark(wire), &step.name, step.state, &step.attempt.to_string(), &took, &proof]);
    }
    println!("{table}");
    Ok(())
}

/// Shows each change on standard error until the operation ends; Ctrl-C leaves it to itself.
pub async fn follow(connection: &Connection, id: &str, limit: Option<Duration>) -> Result<ExitCode> {
    let begun = tokio::time::Instant::now();
    let watch = async {
        let mut told = Told::default();
        loop {
            let request = WatchOperationRequest { operation: id.to_owned() };
            let mut changes = connection.api.operations().watch_operation(request).await?.into_inner();
            while let Ok(Some(change)) = changes.message().await {
                let operation = change.operation.unwrap_or_default();
                if !connection.quiet {
                    told.tell(&operation);
                }
                if operation.end_time.is_some() || operation.state() == operation::State::Stuck {
                    return anyhow::Ok(operation);
                }
            }
            // The node went away in the middle; another one goes on.
        }
    };
    let waited = async {
        match limit {
            Some(limit) => tokio::time::timeout(limit, watch).await.map_err(|_| ()),
            None => Ok(watch.await),
        }
    };
    tokio::select! {
        ended = waited => match ended {
            Ok(operation) => finish(connection, &operation?, begun.elapsed()),
            Err(()) => {
                eprintln!("it goes on; come back with: reeve op wait {id}");
                Ok(ExitCode::from(exit::STILL_RUNNING))
            }
        },
        _ = tokio::signal::ctrl_c() => {
            eprintln!("\nit goes on without you; come back with: reeve op wait {id}");
            Ok(ExitCode::from(exit::INTERRUPTED))
        }
    }
}

fn finish(connection: &Connection, operation: &Operation, took: Duration) -> Result<ExitCode> {
    let row = row(operation);
    if connection.format == Format::Json {
        output::json(&row)?;
    }
    let code = match operation.state() {
        operation::State::Done => {
            eprintln!("{} of {} done in {:.1} s", row.kind, row.tenant, took.as_secs_f64());
            0
        }
        operation::State::Undone => {
            eprintln!("{} of {} failed and was undone: {}: {}", row.kind, row.tenant, row.reason, row.detail);
            exit::UNDONE
        }
        _ => {
            eprintln!("{} of {} is stuck: {}; look with: reeve op get {}", row.kind, row.tenant, row.detail, row.id);
            exit::WAITS_FOR_A_PERSON
        }
    };
    Ok(ExitCode::from(code))
}

/// What has been told of each step, so that each change is told once.
#[derive(Default)]
struct Told(std::collections::BTreeMap<usize, (i32, u32)>);

impl Told {
    fn tell(&mut self, operation: &Operation) {
        for (at, step) in operation.steps.iter().enumerate() {
            let now = (step.state, step.attempt);
            if step.state() == step::State::Waiting || self.0.get(&at) == Some(&now) {
                continue;
            }
            self.0.insert(at, now);
            // An open step is told when it is done; while somebody looks, also when it begins.
            let open = matches!(step.state(), step::State::Open | step::State::Undoing);
            if open && !(output::is_watched() && step.attempt > 1) {
                continue;
            }
            let took = output::seconds(step.start_time.as_ref(), step.end_time.as_ref());
            let word = if step.error.is_empty() { step.proof.last().cloned().unwrap_or_default() } else { step.error.clone() };
            eprintln!("  {} {:<16} {took:>7}  {word}", mark(step), step.name);
        }
    }
}

fn mark(step: &reeve_client::v1::Step) -> &'static str {
    match step.state() {
        step::State::Done => "✓",
        step::State::Failed => "✗",
        step::State::Undone => "↶",
        step::State::Open | step::State::Undoing => "▶",
        step::State::Waiting | step::State::Unspecified => " ",
    }
}

fn row(operation: &Operation) -> Row {
    let step = operation.steps.get(operation.cursor as usize).filter(|_| operation.end_time.is_none());
    Row {
        id: operation.id.clone(),
        kind: match operation.kind() {
            operation::Kind::Onboard => "onboard",
            operation::Kind::Offboard => "offboard",
            operation::Kind::Unspecified => "",
        },
        state: match operation.state() {
            operation::State::Running => "running",
            operation::State::Undoing => "undoing",
            operation::State::Done => "done",
            operation::State::Undone => "undone",
            operation::State::Stuck => "stuck",
            operation::State::Unspecified => "",
        },
        tenant: operation.tenant_slug.clone(),
        tenant_id: operation.tenant_id.clone(),
        step: step.map(|step| step.name.clone()).unwrap_or_default(),
        waits_for: operation.waits_for.clone(),
        reason: operation.reason.clone(),
        detail: operation.detail.clone(),
        create_time: output::rfc3339(operation.create_time.as_ref()),
        end_time: output::rfc3339(operation.end_time.as_ref()),
        steps: operation.steps.iter().map(step_row).collect(),
    }
}

fn step_row(step: &reeve_client::v1::Step) -> StepRow {
    StepRow {
        name: step.name.clone(),
        addressee: step.addressee.clone(),
        state: match step.state() {
            step::State::Waiting => "waiting",
            step::State::Open => "open",
            step::State::Done => "done",
            step::State::Failed => "failed",
            step::State::Undoing => "undoing",
            step::State::Undone => "undone",
            step::State::Unspecified => "",
        },
        attempt: step.attempt,
        proof: step.proof.clone(),
        error: step.error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_as_json_stays_as_it_is() {
        let operation = Operation {
            id: "op_1".into(),
            kind: operation::Kind::Onboard as i32,
            state: operation::State::Undoing as i32,
            tenant_slug: "cho-ray".into(),
            reason: "42P01".into(),
            steps: vec![reeve_client::v1::Step {
                name: "migrate".into(),
                state: step::State::Failed as i32,
                attempt: 1,
                error: "it broke".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let json = serde_json::to_string(&row(&operation)).unwrap();
        assert_eq!(
            json,
            "{\"id\":\"op_1\",\"kind\":\"onboard\",\"state\":\"undoing\",\"tenant\":\"cho-ray\",\"tenant_id\":\"\",\
             \"step\":\"migrate\",\"waits_for\":\"\",\"reason\":\"42P01\",\"detail\":\"\",\"create_time\":\"\",\
             \"end_time\":\"\",\"steps\":[{\"name\":\"migrate\",\"addressee\":\"\",\"state\":\"failed\",\"attempt\":1,\
             \"proof\":[],\"error\":\"it broke\"}]}"
        );
    }
}
