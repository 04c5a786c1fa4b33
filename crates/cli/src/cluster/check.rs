//! `reeve cluster check`: one question after the other, each with a tick, or with what is wrong and what to do.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::alarms::{Alarm, Level, alarms};
use super::look::Picture;
use crate::fail::{Exit, Failure};
use crate::session::Session;
use crate::show::ticks::{Tick, ticks, verdict};
use crate::show::{Page, Show};

/// Each question, and the alarms that answer it with no.
const QUESTIONS: [(&str, &[&str]); 16] = [
    ("a node answers, and knows you", &[]),
    ("every node answers", &["unreachable", "silent"]),
    ("a quorum follows a leader", &["no_leader", "quorum_lost"]),
    ("the loss of one node would be borne", &["quorum_at_edge"]),
    ("the number of voters is odd", &["even_voters"]),
    (
        "every node has caught up",
        &["lagging", "learner_behind", "joining"],
    ),
    ("State is the same on all nodes", &["diverged"]),
    ("all nodes run one version", &["mixed_versions"]),
    ("every disk has room and keeps up", &["disk_full", "disk_slow"]),
    ("flushes of the log take less than 10 ms (p99)", &["fsync_slow"]),
    ("every archive is whole", &["archive_hole"]),
    ("the audit chains are whole", &["audit_broken"]),
    ("the audit chains were read lately", &["audit_unread"]),
    (
        "a backup was kept lately",
        &["backup_overdue", "backup_failing", "no_backup"],
    ),
    ("no certificate ends soon", &["certificate_ends"]),
    ("all clocks agree", &["clock_skew"]),
];
/// Nodes that are written to are seldom seen at one revision at once.
const LOOKS_MAX: usize = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Check everything that a cluster needs to be well; each thing that is not comes with what to do
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  reeve cluster check\n  reeve cluster check -o json || page-somebody")]
pub struct Check {}

#[derive(Debug, Serialize)]
pub struct Checked {
    pub passed: bool,
    pub checks: Vec<Answer>,
}

#[derive(Debug, Serialize)]
pub struct Answer {
    pub question: &'static str,
    /// `ok`, `note`, `warning` or `failure`
    pub result: &'static str,
    pub found: Vec<Alarm>,
}

impl Checked {
    pub fn of(picture: &Picture) -> Checked {
        let all = alarms(picture);
        let answer = |(question, kinds): (&'static str, &[&str])| {
            let found: Vec<Alarm> = all
                .iter()
                .filter(|alarm| kinds.contains(&alarm.kind))
                .cloned()
                .collect();
            let result = match found.iter().map(|alarm| alarm.level).max() {
                None => "ok",
                Some(Level::Note) => "note",
                Some(Level::Warning) => "warning",
                Some(Level::Failure) => "failure",
            };
            Answer {
                question,
                result,
                found,
            }
        };
        Checked {
            passed: all.iter().all(|alarm| alarm.level < Level::Failure),
            checks: QUESTIONS.map(answer).into(),
        }
    }
}

impl Show for Checked {
    fn page(&self) -> Page {
        let marks = self.checks.iter().map(|answer| Tick {
            result: answer.result,
            question: answer.question,
            seen: "",
            found: answer
                .found
                .iter()
                .map(|alarm| (alarm.what.as_str(), alarm.fix.as_str()))
                .collect(),
        });
        ticks(marks).and(verdict(self.checks.iter().map(|answer| answer.result)))
    }
}

pub async fn run(_: Check, session: &Session) -> Result<(), Failure> {
    let checked = Checked::of(&look(session).await?);
    session.print(&checked)?;
    match checked.passed {
        true => Ok(()),
        false => {
            let failure = Failure::new(Exit::Found, "the cluster is not well", "");
            Err(failure.fix("each failed check says what to do"))
        }
    }
}

/// All nodes, at one revision if that can be had.
pub async fn look(session: &Session) -> Result<Picture, Failure> {
    let mut picture = Picture::look_closely(session).await?;
    for _ in 1..LOOKS_MAX {
        if are_at_one(&picture) {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        picture = Picture::look_closely(session).await?;
    }
    Ok(picture)
}

/// Only at one revision are hashes worth comparing.
fn are_at_one(picture: &Picture) -> bool {
    let said = picture.answers.values().flatten();
    let mut revisions = said
        .filter_map(|said| said.freshness.as_ref())
        .map(|freshness| freshness.revision);
    let first = revisions.next();
    revisions.all(|revision| Some(revision) == first)
}
