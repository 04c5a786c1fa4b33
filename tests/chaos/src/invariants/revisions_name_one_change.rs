//! A revision names one change: no two acknowledged ones have the same, and whoever asked later got a larger one.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::linear::Answer;
use crate::linear::register::Said;
use crate::registers::{NOBODY, Seen};

struct Change<'a> {
    seen: &'a Seen,
    asked_ns: u64,
    told_ns: u64,
    revision: u64,
}

/// Over all registers together, which a search by key does not see.
pub fn judge(seen: &[Seen]) -> Result<()> {
    let mut changes: Vec<Change> = seen.iter().filter_map(change).collect();
    let mut by_revision: BTreeMap<u64, &Seen> = BTreeMap::new();
    for change in &changes {
        let before = by_revision.insert(change.revision, change.seen);
        ensure!(
            before.is_none(),
            "revision {} names two changes: {before:?} and {:?}",
            change.revision,
            change.seen
        );
    }
    // In the order of asking, what had been told by then is the least that may come.
    let mut told: Vec<(u64, u64)> = changes.iter().map(|c| (c.told_ns, c.revision)).collect();
    told.sort_unstable();
    changes.sort_by_key(|change| change.asked_ns);
    let (mut told, mut least) = (told.into_iter().peekable(), 0);
    for change in &changes {
        while let Some((_, revision)) = told.next_if(|(at, _)| *at < change.asked_ns) {
            least = least.max(revision);
        }
        ensure!(
            change.revision > least,
            "revision {least} was told before this was asked: {:?}",
            change.seen
        );
    }
    Ok(())
}

/// A change that was asked for by a client and acknowledged; what was there at the beginning is nobody's.
fn change(seen: &Seen) -> Option<Change<'_>> {
    match &seen.answer {
        Answer::Known {
            said: Said::Done { revision },
            at_ns,
        } if seen.client != NOBODY => Some(Change {
            seen,
            asked_ns: seen.asked_ns,
            told_ns: *at_ns,
            revision: *revision,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::register::Op;

    fn write(key: &str, asked_ns: u64, at_ns: u64, revision: u64) -> Seen {
        let said = Said::Done { revision };
        Seen {
            client: 1,
            key: key.to_owned(),
            op: Op::Write(String::new()),
            asked_ns,
            answer: Answer::Known { said, at_ns },
        }
    }

    #[test]
    fn a_revision_that_comes_twice_or_too_late_is_noticed() {
        let honest = [write("a", 0, 10, 1), write("b", 1, 9, 2), write("a", 11, 12, 3)];
        judge(&honest).unwrap();
        let twice = [write("a", 0, 10, 1), write("b", 11, 12, 1)];
        assert!(judge(&twice).is_err());
        let back = [write("a", 0, 10, 5), write("b", 11, 12, 4)];
        assert!(judge(&back).is_err());
    }
}
