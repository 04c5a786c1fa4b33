//! `reeve doctor`: this machine's side of a fleet, question after question: the context file, the certificate, each node.
//!
//! ```text
//! config (file, context) ─► identity (certificate, key, root) ─► node (name, TCP, TLS, API, clock, version)
//! ```
//! What rests on something that is not well is not looked at. How the nodes are among themselves is `reeve cluster check`.

mod config;
mod identity;
mod node;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use clap::Args;
use futures::future::join_all;
use serde::Serialize;

use crate::fail::{Exit, Failure};
use crate::session::Session;
use crate::show::ticks::{Tick, ticks, verdict};
use crate::show::{Page, Show};

/// Check this machine's side: context file, certificate and key, and the way to each node
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve doctor\n  reeve doctor --context hospital\n  reeve doctor -o json\n\nNothing is changed, and no secret is shown. `reeve cluster check` asks how the nodes are among themselves."
)]
pub struct Doctor {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    /// Good to know.
    Note,
    Warning,
    Failure,
    /// What it rests on is not well.
    Skipped,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Failure => "failure",
            Level::Skipped => "skipped",
        }
    }
}

/// One question and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What is asked about: `configuration`, `identity`, or a node's address.
    pub about: String,
    /// A stable word.
    pub kind: &'static str,
    pub question: String,
    pub result: Level,
    /// What was seen.
    pub told: String,
    pub fix: String,
}

impl Check {
    fn new(kind: &'static str, question: impl Into<String>, result: Level) -> Check {
        Check {
            about: String::new(),
            kind,
            question: question.into(),
            result,
            told: String::new(),
            fix: String::new(),
        }
    }

    fn ok(kind: &'static str, question: impl Into<String>, told: impl Into<String>) -> Check {
        Check::new(kind, question, Level::Ok).told(told)
    }

    fn skipped(kind: &'static str, question: impl Into<String>) -> Check {
        Check::new(kind, question, Level::Skipped)
    }

    fn failed(
        kind: &'static str,
        question: impl Into<String>,
        told: impl Into<String>,
        fix: impl Into<String>,
    ) -> Check {
        Check::new(kind, question, Level::Failure).told(told).fix(fix)
    }

    fn told(mut self, told: impl Into<String>) -> Check {
        self.told = told.into();
        self
    }

    fn fix(mut self, fix: impl Into<String>) -> Check {
        self.fix = fix.into();
        self
    }

    fn about(mut self, about: &str) -> Check {
        self.about = about.to_owned();
        self
    }
}

#[derive(Debug, Serialize)]
pub struct Examined {
    pub passed: bool,
    pub checks: Vec<Check>,
}

impl Examined {
    fn of(checks: Vec<Check>) -> Examined {
        Examined {
            passed: checks.iter().all(|check| check.result != Level::Failure),
            checks,
        }
    }
}

impl Show for Examined {
    fn page(&self) -> Page {
        let mut page = Page::default();
        for group in self.checks.chunk_by(|one, next| one.about == next.about) {
            let about = group
                .first()
                .map(|check| check.about.as_str())
                .unwrap_or_default();
            page = page.and(ticks(group.iter().map(tick_of)).under(about));
        }
        page.and(verdict(self.checks.iter().map(|check| check.result.word())))
    }
}

fn tick_of(check: &Check) -> Tick<'_> {
    let is_well = matches!(check.result, Level::Ok | Level::Skipped) || check.told.is_empty();
    Tick {
        result: check.result.word(),
        question: &check.question,
        seen: if is_well { &check.told } else { "" },
        found: match is_well {
            true => Vec::new(),
            false => vec![(&check.told, &check.fix)],
        },
    }
}

pub async fn run(_: Doctor, session: &Session) -> Result<(), Failure> {
    let examined = examine(session).await;
    session.print(&examined)?;
    match examined.passed {
        true => Ok(()),
        false => {
            let failure = Failure::new(Exit::Found, "something on this side is not well", "");
            Err(failure.fix("each failed check says what to do"))
        }
    }
}

async fn examine(session: &Session) -> Examined {
    let (mut checks, meant) = config::look(session);
    let Some(context) = meant else {
        return Examined::of(checks);
    };
    let (told, credentials) = identity::look(&context, SystemTime::now());
    checks.extend(told);
    let nodes = context
        .nodes
        .iter()
        .map(|address| node::look(address, credentials.as_ref()));
    checks.extend(join_all(nodes).await.into_iter().flatten());
    Examined::of(checks)
}
