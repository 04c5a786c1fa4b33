//! What must be true, whatever happens.
//!
//! Every command that changes something gets a revision of its own, and every answer and every view says its
//! revision: so the order of all is known, and each check is a comparison.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reeve_domain::words::Name;
use reeve_domain::{Answer, Applied, Refusal, Revision, State};

use super::exec::now_ns;
use super::history::tell;
use crate::consensus::Committed;

/// What every node, every client and the judge at the end tell.
#[derive(Clone, Default)]
pub struct Oracle(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    /// The first thing that was wrong.
    wrong: Option<String>,
    /// Who led, by term and node: a leader that starts again may not lead on in its old term.
    leaders: BTreeMap<(u64, u64), u64>,
    applied: BTreeMap<u64, Arc<Applied>>,
    /// The newest revision that anybody was told of, when it was.
    told: Vec<(u64, u64)>,
    /// What was acknowledged: regions by name, with their revision.
    acked: BTreeMap<Name, u64>,
    answers: BTreeMap<String, Committed>,
}

impl Oracle {
    pub fn wrong(&self) -> Option<String> {
        self.0.lock().wrong.clone()
    }

    pub fn fail(&self, why: String) {
        tell(format!("WRONG: {why}"));
        self.0.lock().wrong.get_or_insert(why);
    }

    /// The newest revision that anybody was told of so far.
    pub fn floor(&self) -> u64 {
        self.0.lock().told.last().map_or(0, |(_, revision)| *revision)
    }

    fn raise(&self, revision: u64) {
        let floor = self.floor();
        self.0.lock().told.push((now_ns(), revision.max(floor)));
    }

    /// A node leads in one of its lives. (Two nodes may, one after the other, lead in one term: a vote's order is
    /// that of term and node, and for each pair the majority has voted.)
    pub fn leads(&self, term: u64, leader: u64, life: u64) {
        let known = *self.0.lock().leaders.entry((term, leader)).or_insert(life);
        if known != life {
            self.fail(format!(
                "node {leader} was elected twice in term {term}: in its lives {known} and {life}"
            ));
        }
    }

    /// A node applied a command.
    pub fn applied(&self, node: u64, applied: &Arc<Applied>) {
        if applied.record.is_none() {
            return;
        }
        let revision = applied.revision.0;
        let known = self
            .0
            .lock()
            .applied
            .entry(revision)
            .or_insert(applied.clone())
            .clone();
        if known != *applied {
            self.fail(format!(
                "node {node} applied another change at revision {revision} than the others"
            ));
        }
    }

    /// A client was told how its command ended. `floor` is from before it first asked.
    pub fn answered(&self, request: &str, committed: &Committed, floor: u64, unique: bool) {
        let known = self.0.lock().answers.get(request).cloned();
        if let Some(known) = known {
            if known != *committed {
                self.fail(format!(
                    "{request} was answered twice: {known:?}, then {committed:?}"
                ));
            }
            return;
        }
        self.0
            .lock()
            .answers
            .insert(request.to_owned(), committed.clone());
        let revision = committed.revision.0;
        match &committed.outcome {
            Ok(Answer::Region(name)) => {
                if revision <= floor {
                    self.fail(format!(
                        "{request} came after revision {floor}, and got {revision}"
                    ));
                }
                let twin = {
                    let mut book = self.0.lock();
                    book.acked.insert(name.clone(), revision);
                    let same = |(other, at): (&Name, &u64)| {
                        (*at == revision && other != name).then(|| other.clone())
                    };
                    book.acked.iter().find_map(same)
                };
                if let Some(twin) = twin {
                    self.fail(format!(
                        "{} and {} both got revision {revision}",
                        twin.as_str(),
                        name.as_str()
                    ));
                }
                self.raise(revision);
            }
            Err(Refusal::AlreadyExists(_)) if !unique => {}
            Err(refusal) if unique => self.fail(format!("{request} was refused: {refusal}")),
            _ => {}
        }
    }

    /// A linearizable read, begun when nobody knew of more than `floor`.
    pub fn read(&self, node: u64, state: &State, floor: u64) {
        let revision = state.revision.0;
        if revision < floor {
            self.fail(format!(
                "a linearizable read at node {node} saw revision {revision}, and {floor} was known before it began"
            ));
        }
        self.holds(node, state);
        self.raise(revision);
    }

    /// A view that says how old it is at the most.
    pub fn aged(&self, node: u64, state: &State, age: Duration, asked_ns: u64) {
        let before = asked_ns.saturating_sub(age.as_nanos() as u64);
        let owed = {
            let book = self.0.lock();
            let behind = book.told.partition_point(|(at, _)| *at < before);
            behind.checked_sub(1).map_or(0, |at| book.told[at].1)
        };
        let revision = state.revision.0;
        if revision < owed {
            self.fail(format!(
                "a view at node {node} of revision {revision} says it is {age:?} old, and {owed} was known before that"
            ));
        }
        self.holds(node, state);
    }

    /// A State holds what was acknowledged up to its revision, and nothing that came later.
    pub fn holds(&self, node: u64, state: &State) {
        let (wrong, is_known) = {
            let book = self.0.lock();
            let odd = |(name, at): (&Name, &u64)| {
                let is_there = state.regions.contains_key(name);
                (is_there != (state.revision >= Revision(*at))).then(|| (name.clone(), *at, is_there))
            };
            (book.acked.iter().find_map(odd), book.acked.len())
        };
        if let Some((name, at, is_there)) = wrong {
            let (name, revision) = (name.as_str(), state.revision.0);
            let what = if is_there { "holds" } else { "lacks" };
            self.fail(format!(
                "node {node} at revision {revision} {what} {name}, acknowledged at revision {at} (of {is_known})"
            ));
        }
    }

    pub fn acknowledged(&self) -> usize {
        self.0.lock().acked.len()
    }
}
