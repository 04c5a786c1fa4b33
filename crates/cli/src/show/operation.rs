//! Operations and their steps.

use reeve_client::v1;
use serde::Serialize;

use super::{
    Freshness, Page, Show, col, cut, lines, pairs, plain, spare, table, time, to_the_second, took, wide, wrap,
};

#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    pub id: String,
    pub kind: String,
    pub state: String,
    pub tenant_id: String,
    pub tenant_slug: String,
    pub steps: Vec<Step>,
    pub reason: String,
    pub detail: String,
    pub waits_for: String,
    pub actor: String,
    pub priority: String,
    pub create_time: String,
    pub end_time: String,
    /// How long it took; empty while it has not ended.
    #[serde(skip)]
    pub took: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub name: String,
    pub addressee: String,
    pub state: String,
    pub attempt: u32,
    pub start_time: String,
    pub end_time: String,
    pub error: String,
    pub proof: Vec<String>,
    #[serde(skip)]
    pub took: String,
}

impl From<v1::Operation> for Operation {
    fn from(operation: v1::Operation) -> Operation {
        Operation {
            kind: plain(operation.kind().as_str_name(), "KIND_"),
            state: plain(operation.state().as_str_name(), "STATE_"),
            priority: plain(operation.priority().as_str_name(), "PRIORITY_"),
            took: took(operation.create_time, operation.end_time),
            create_time: time(operation.create_time),
            end_time: time(operation.end_time),
            id: operation.id,
            tenant_id: operation.tenant_id,
            tenant_slug: operation.tenant_slug,
            steps: operation.steps.into_iter().map(Step::from).collect(),
            reason: operation.reason,
            detail: operation.detail,
            waits_for: operation.waits_for,
            actor: operation.actor,
        }
    }
}

impl From<v1::Step> for Step {
    fn from(step: v1::Step) -> Step {
        Step {
            state: plain(step.state().as_str_name(), "STATE_"),
            took: took(step.start_time, step.end_time),
            start_time: time(step.start_time),
            end_time: time(step.end_time),
            name: step.name,
            addressee: step.addressee,
            attempt: step.attempt,
            error: step.error,
            proof: step.proof,
        }
    }
}

impl Operation {
    /// How far it is, for example `3/7`.
    pub fn progress(&self) -> String {
        let done = self.steps.iter().filter(|step| step.state == "done").count();
        format!("{done}/{}", self.steps.len())
    }

    fn about(&self) -> Page {
        pairs([
            ("operation", self.id.clone()),
            ("kind", self.kind.clone()),
            ("state", self.state.clone()),
            ("tenant", format!("{} ({})", self.tenant_slug, self.tenant_id)),
            ("reason", self.reason.clone()),
            ("detail", self.detail.clone()),
            ("waits for", self.waits_for.clone()),
            ("priority", told_priority(&self.priority)),
            ("by", self.actor.clone()),
            ("created", self.create_time.clone()),
            ("ended", self.end_time.clone()),
            ("took", self.took.clone()),
        ])
    }

    pub fn steps_page(&self) -> Page {
        let row = |step: &Step| {
            let attempt = if step.attempt > 1 {
                step.attempt.to_string()
            } else {
                String::new()
            };
            vec![
                step.name.clone(),
                step.addressee.clone(),
                step.state.clone(),
                attempt,
                step.took.clone(),
                step.error.clone(),
                step.start_time.clone(),
                step.end_time.clone(),
            ]
        };
        table(
            [
                col("STEP"),
                col("BY"),
                col("STATE"),
                col("ATTEMPT"),
                col("TOOK"),
                wrap("ERROR"),
                wide("STARTED"),
                wide("ENDED"),
            ],
            self.steps.iter().map(row),
        )
    }

    /// What was checked, done and proved, line by line; each step's name stands once.
    fn log(&self) -> Page {
        let proved = self.steps.iter().filter(|step| !step.proof.is_empty());
        let rows: Vec<_> = proved
            .map(|step| vec![step.name.clone(), step.proof.join("\n")])
            .collect();
        match rows.is_empty() {
            true => Page::default(),
            false => table([col(""), wrap("")], rows),
        }
    }
}

impl Show for Operation {
    fn page(&self) -> Page {
        self.about().and(self.steps_page()).and(self.log())
    }
}

/// What is as ever goes without saying.
fn told_priority(priority: &str) -> String {
    match priority {
        "normal" | "unspecified" => String::new(),
        other => other.to_owned(),
    }
}

/// How many operations are at work at once.
#[derive(Debug, Serialize)]
pub struct Limits {
    pub per_server: u32,
    pub per_region: u32,
    pub queued: u32,
    pub freshness: Freshness,
}

impl Show for Limits {
    fn page(&self) -> Page {
        pairs([
            ("at work on one server", format!("at most {}", self.per_server)),
            ("at work in one region", format!("at most {}", self.per_region)),
            ("waiting for their turn", self.queued.to_string()),
        ])
    }
}

/// An operation whose steps were shown while they happened.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Ended(pub Operation);

impl Show for Ended {
    fn page(&self) -> Page {
        self.0.about()
    }
}

#[derive(Debug, Serialize)]
pub struct Operations {
    pub operations: Vec<Operation>,
    pub freshness: Freshness,
}

impl Show for Operations {
    fn lines(&self) -> Vec<String> {
        lines(&self.operations)
    }

    fn names(&self) -> Vec<String> {
        self.operations.iter().map(|one| one.id.clone()).collect()
    }

    fn page(&self) -> Page {
        let row = |operation: &Operation| {
            vec![
                operation.id.clone(),
                operation.kind.clone(),
                operation.tenant_slug.clone(),
                operation.state.clone(),
                operation.progress(),
                to_the_second(&operation.create_time),
                operation.took.clone(),
                operation.end_time.clone(),
                operation.priority.clone(),
                operation.waits_for.clone(),
                operation.reason.clone(),
                operation.actor.clone(),
            ]
        };
        table(
            [
                col("OPERATION"),
                col("KIND"),
                col("TENANT"),
                col("STATE"),
                spare("STEPS"),
                cut("CREATED"),
                spare("TOOK"),
                wide("ENDED"),
                wide("PRIORITY"),
                wide("WAITS FOR"),
                wide("REASON"),
                wide("BY"),
            ],
            self.operations.iter().map(row),
        )
    }
}
