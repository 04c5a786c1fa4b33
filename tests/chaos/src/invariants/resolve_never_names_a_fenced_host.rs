//! No answer names a host whose fence its own revision includes; a linearizable one names none at all.

use anyhow::{Result, ensure};

use super::Mutant;
use crate::history::{Answer, Fence, History, Level};

/// What is read is the history itself.
pub const MUTANTS: &[Mutant<History>] = &[
    (
        "an answer at the fence's own revision names the host",
        |history| {
            if let Some(fence) = history.fences.first().cloned() {
                plant(history, Level::Stale, 0, fence.raised_at_revision, &fence);
            }
        },
    ),
    (
        "a linearizable answer from before the fence came after it",
        |history| {
            if let Some(fence) = history.fences.first().cloned() {
                let before = fence.raised_at_revision.saturating_sub(1);
                plant(history, Level::Linearizable, fence.raised + 1, before, &fence);
            }
        },
    ),
    ("nobody asked while a fence was up", |history| {
        history.answers.retain(|answer| !answer.hosts.is_empty());
    }),
];

fn plant(history: &mut History, level: Level, asked: u64, revision: u64, fence: &Fence) {
    let hosts = vec!["127.0.0.1:5432".to_owned()];
    let revision = Some(revision);
    history.answers.push(Answer {
        node: 1,
        level,
        asked,
        answered: asked,
        revision,
        group: fence.group.clone(),
        hosts,
    });
}

pub fn judge(history: &History) -> Result<()> {
    for fence in &history.fences {
        let about = history
            .answers
            .iter()
            .filter(|answer| answer.group == fence.group);
        let mut silent = 0;
        for answer in about {
            let (from, to) = (fence.raised_at_revision, fence.lowered_at_revision);
            let includes = answer
                .revision
                .is_some_and(|revision| is_within(revision, from, to));
            silent += usize::from(answer.hosts.is_empty());
            ensure!(
                !includes || answer.hosts.is_empty(),
                "its own revision includes the fence: {answer:?}"
            );
            // Between the fence's acknowledgement and the wish to lower it, from first to last.
            let came_after =
                answer.asked > fence.raised && fence.lowered.is_none_or(|to| answer.answered < to);
            let must_know = answer.level == Level::Linearizable && came_after;
            ensure!(
                !must_know || answer.hosts.is_empty(),
                "asked after the fence: {answer:?}"
            );
        }
        ensure!(silent > 0, "nobody asked behind the fence of {}", fence.group);
    }
    ensure!(!history.fences.is_empty(), "nothing was fenced");
    Ok(())
}

fn is_within(at: u64, from: u64, to: Option<u64>) -> bool {
    at >= from && to.is_none_or(|to| at < to)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asked before, behind and after one fence, by nodes that are late to different degrees.
    fn honest() -> History {
        let answer = |level, asked, revision, hosts: &[&str]| Answer {
            node: 1,
            level,
            asked,
            answered: asked + 1,
            revision: Some(revision),
            group: "vn-1".into(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        };
        History {
            answers: vec![
                answer(Level::Linearizable, 1, 9, &["a"]),
                // Late, and honest about it.
                answer(Level::Stale, 4, 9, &["a"]),
                answer(Level::Stale, 5, 10, &[]),
                answer(Level::Linearizable, 5, 10, &[]),
                // Asked before the fence was lowered and answered after: either is right.
                answer(Level::Linearizable, 6, 12, &["a"]),
                answer(Level::Linearizable, 9, 12, &["a"]),
            ],
            fences: vec![Fence {
                group: "vn-1".into(),
                raised: 3,
                raised_at_revision: 10,
                lowered: Some(7),
                lowered_at_revision: Some(12),
            }],
            ..History::default()
        }
    }

    #[test]
    fn honest_answers_pass_and_every_mutant_is_noticed() {
        let history = honest();
        super::super::hold("fence", &history, &history, |_, seen| judge(seen), MUTANTS).unwrap();
    }
}
