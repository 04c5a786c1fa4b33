//! What agents told, in order: of each agent the newest on each subject.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Revision, TenantId};
use crate::record::{Said, Statement, Subject};
use crate::words::Name;

/// Statements by their subject, the newest first.
pub(super) struct Heard<'a> {
    by_subject: BTreeMap<Subject, Vec<&'a Statement>>,
    /// Said twice at one revision, and not alike.
    forked: BTreeSet<Subject>,
    newest: BTreeMap<Name, Revision>,
}

impl<'a> Heard<'a> {
    pub(super) fn of(statements: &'a [Statement]) -> Heard<'a> {
        let mut latest: BTreeMap<(Subject, &Name), &Statement> = BTreeMap::new();
        let mut newest: BTreeMap<Name, Revision> = BTreeMap::new();
        let mut versions: BTreeMap<(Subject, Revision), &Said> = BTreeMap::new();
        let mut forked = BTreeSet::new();
        for statement in statements {
            let subject = statement.said.subject();
            let version = versions
                .entry((subject.clone(), statement.revision))
                .or_insert(&statement.said);
            if **version != statement.said {
                forked.insert(subject.clone());
            }
            let known = newest.entry(statement.agent.clone()).or_default();
            *known = statement.revision.max(*known);
            let kept = latest.entry((subject, &statement.agent)).or_insert(statement);
            if kept.revision < statement.revision {
                *kept = statement;
            }
        }
        let mut by_subject: BTreeMap<Subject, Vec<&Statement>> = BTreeMap::new();
        for ((subject, _), statement) in latest {
            by_subject.entry(subject).or_default().push(statement);
        }
        for all in by_subject.values_mut() {
            all.sort_by_key(|told| std::cmp::Reverse(told.revision));
        }
        Heard {
            by_subject,
            forked,
            newest,
        }
    }

    /// The newest of each agent, the newest of all first.
    pub(super) fn on(&self, subject: &Subject) -> &[&'a Statement] {
        self.by_subject.get(subject).map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_forked(&self, subject: &Subject) -> bool {
        self.forked.contains(subject)
    }

    /// How far an agent had heard.
    pub(super) fn reach_of(&self, agent: &Name) -> Option<Revision> {
        self.newest.get(agent).copied()
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &Name> {
        self.by_subject.keys().filter_map(|subject| match subject {
            Subject::Group(name) => Some(name),
            Subject::Tenant(_) => None,
        })
    }

    pub(super) fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.by_subject.keys().filter_map(|subject| match subject {
            Subject::Tenant(id) => Some(id),
            Subject::Group(_) => None,
        })
    }
}
