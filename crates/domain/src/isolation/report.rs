//! What a report of findings does to State.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    CLOSED_MAX, DETAIL_BYTES_MAX, Finding, Found, NOBODYS, OPEN_MAX, Rule, SUBJECT_BYTES_MAX, Scope,
};
use crate::audit;
use crate::ids::{FindingId, Stamp};
use crate::refusal::Refusal;
use crate::state::{Change, State};
use crate::words::Name;

/// An agent's word on what is found now and was not, and on what is gone. Saying it again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportFindings {
    pub agent: Name,
    pub opened: Vec<Found>,
    pub closed: Vec<FindingId>,
}

impl ReportFindings {
    /// What it says, in a line for the audit log: as much as fits.
    pub fn told(&self) -> String {
        let opened = self.opened.iter().map(|found| {
            let id = found.id(&self.agent);
            format!("opened {id} {} {}", found.rule, found.subject)
        });
        let closed = self.closed.iter().map(|id| format!("closed {id}"));
        let words: Vec<String> = opened.chain(closed).collect();
        audit::told(words.into_iter())
    }
}

/// What of a round State does not know yet; none when it knows all.
pub fn delta(state: &State, agent: &Name, found: Vec<Found>, scope: &Scope) -> Option<ReportFindings> {
    let found: BTreeMap<FindingId, Found> = found
        .into_iter()
        .filter(|found| !is_known_again(state, agent, found))
        .map(|found| (found.id(agent), found))
        .collect();
    let is_gone = |open: &&Finding| {
        let is_here = open
            .tenant
            .as_ref()
            .is_none_or(|id| state.tenants.contains_key(id));
        !found.contains_key(&open.id) && scope.closes(open.rule, open.tenant.as_ref(), &open.subject, is_here)
    };
    let gone = open_of(state, agent).filter(is_gone);
    let closed: Vec<FindingId> = gone.map(|open| open.id.clone()).collect();
    let opened: Vec<Found> = found
        .into_iter()
        .filter(|(id, _)| !state.findings.get(id).is_some_and(Finding::is_open))
        .map(|(_, found)| found)
        .collect();
    let order = ReportFindings {
        agent: agent.clone(),
        opened,
        closed,
    };
    (!order.opened.is_empty() || !order.closed.is_empty()).then_some(order)
}

/// Opens and closes findings of the agent's own instance.
pub fn report(state: &mut State, at: Stamp, order: ReportFindings) -> Result<Change, Refusal> {
    check(state, &order)?;
    let Some(group) = state.group_of_agent(&order.agent).map(|g| g.name.clone()) else {
        return Err(Refusal::GroupNotFound(format!("of agent {}", order.agent)));
    };
    let mut happened = false;
    for id in &order.closed {
        let Some(mut finding) = state.findings.get(id).filter(|f| f.is_open()).cloned() else {
            continue;
        };
        finding.closed = Some(at);
        finding.modified = state.revision.next();
        state.findings.insert(id.clone(), finding);
        happened = true;
    }
    let agent = order.agent.clone();
    for found in order.opened {
        let id = found.id(&agent);
        let before = state.findings.get(&id);
        if before.is_some_and(Finding::is_open) || is_known_again(state, &agent, &found) {
            continue;
        }
        let finding = Finding {
            id: id.clone(),
            rule: found.rule,
            agent: agent.clone(),
            group: group.clone(),
            tenant: found.tenant,
            subject: found.subject,
            detail: found.detail,
            opened: at,
            closed: None,
            times: before.map_or(0, |before| before.times) + 1,
            modified: state.revision.next(),
        };
        state.findings.insert(id, finding);
        happened = true;
    }
    forget_oldest(state);
    Ok(match happened {
        true => Change::of(format!("isolation/{agent}")),
        false => Change::none(),
    })
}

fn check(state: &State, order: &ReportFindings) -> Result<(), Refusal> {
    let open = open_of(state, &order.agent)
        .filter(|open| !order.closed.contains(&open.id))
        .count();
    let bounds = [
        ("opened", order.opened.len() + open, 2 * OPEN_MAX),
        ("closed", order.closed.len(), 2 * OPEN_MAX),
    ];
    for (field, got, max) in bounds {
        if got > max {
            let why = format!("makes {got}; at most {max} are allowed");
            return Err(Refusal::field(field, why));
        }
    }
    for found in &order.opened {
        let texts = [
            ("subject", found.subject.len(), SUBJECT_BYTES_MAX),
            ("detail", found.detail.len(), DETAIL_BYTES_MAX),
        ];
        for (field, got, max) in texts {
            if got > max {
                return Err(Refusal::field(
                    field,
                    format!("has {got} bytes; at most {max} are allowed"),
                ));
            }
        }
    }
    let theirs = order.closed.iter().filter_map(|id| state.findings.get(id));
    match theirs.into_iter().find(|finding| finding.agent != order.agent) {
        Some(finding) => Err(Refusal::Fenced(format!(
            "finding {} is of agent {}",
            finding.id, finding.agent
        ))),
        None => Ok(()),
    }
}

fn open_of<'a>(state: &'a State, agent: &'a Name) -> impl Iterator<Item = &'a Finding> {
    let all = state.findings.values();
    all.filter(move |finding| finding.is_open() && &finding.agent == agent)
}

/// Whether it says that somebody is unknown whom State knows on this very instance: the agent had not heard yet.
fn is_known_again(state: &State, agent: &Name, found: &Found) -> bool {
    let known = found.tenant.as_ref().and_then(|id| state.tenants.get(id));
    found.rule == Rule::Unknown
        && found.subject.starts_with(NOBODYS)
        && known.is_some_and(|tenant| {
            let group = state.groups.get(&tenant.placement.group);
            group.is_some_and(|group| group.members.iter().any(|member| &member.name == agent))
        })
}

/// Closed findings beyond the limit leave, the oldest first.
fn forget_oldest(state: &mut State) {
    let closed = |f: &Finding| f.closed.map(|at| (at, f.id.clone()));
    let mut all: Vec<_> = state.findings.values().filter_map(closed).collect();
    let Some(beyond) = all.len().checked_sub(CLOSED_MAX).filter(|n| *n > 0) else {
        return;
    };
    all.sort();
    for (_, id) in all.into_iter().take(beyond) {
        state.findings.remove(&id);
    }
}
