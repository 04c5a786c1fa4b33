//! Drives operations: which step goes to whom, which try took too long, and what each one waits for.

use crate::credential;
use crate::ids::{Epoch, OperationId, Stamp};
use crate::operation::{
    Addressee, Direction, Full, Goal, Operation, Status, Timeout, Wait, Wanted, is_drained,
};
use crate::plan::{AGENT_SILENT_MS, Sightings, turns};
use crate::state::State;
use crate::words::Name;

/// An order for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub operation: OperationId,
    pub step: u32,
    pub attempt: u32,
    pub direction: Direction,
    pub goal: Goal,
    pub group: Name,
    pub epoch: Epoch,
    pub timeout_ms: u64,
    pub not_before: Stamp,
    /// What the tenant is to be like, where that is not yet what it says itself.
    pub wanted: Option<Wanted>,
}

/// What the pilot should do about one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its step is with an agent that is alive.
    AtWork { agent: Name },
    /// Nothing can be done but wait; this is why.
    Wait(Reason),
    /// Say that the try took too long.
    Timeout(Timeout),
}

/// Why an operation waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The agent has not been heard.
    AgentSilent {
        agent: Name,
        silent_ms: Option<u64>,
    },
    /// The next try is due later.
    Pause {
        until: Stamp,
    },
    /// A person must look.
    Person,
    Approval(String),
    Acknowledged {
        behind: usize,
    },
    /// Another operation holds its tenant.
    Tenant {
        holder: OperationId,
    },
    /// As many are at work as may be.
    Room(Full),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::AgentSilent {
                agent,
                silent_ms: Some(ms),
            } => {
                write!(f, "agent {agent}, silent for {:.1} s", *ms as f64 / 1000.0)
            }
            Reason::AgentSilent {
                agent,
                silent_ms: None,
            } => write!(f, "agent {agent}, not heard yet"),
            Reason::Pause { .. } => write!(f, "its next try"),
            Reason::Person => write!(f, "a person"),
            Reason::Approval(of) => write!(f, "approval: {of}"),
            Reason::Acknowledged { behind: 0 } => {
                write!(f, "its grace: who holds the former credential is not known")
            }
            Reason::Tenant { holder } => write!(f, "its turn: {holder} holds its tenant"),
            Reason::Room(Full::Server(server)) => {
                write!(f, "its turn: server {server} has as many at work as it may")
            }
            Reason::Room(Full::Region(region)) => {
                write!(f, "its turn: region {region} has as many at work as it may")
            }
            Reason::Acknowledged { behind } => write!(f, "{behind} clients that hold the former credential"),
        }
    }
}

/// The orders that are open for one agent, at most one for each operation.
pub fn orders_for(state: &State, agent: &Name) -> Vec<Order> {
    state
        .begun_operations()
        .filter_map(|operation| order(state, operation, agent))
        .collect()
}

fn order(state: &State, operation: &Operation, agent: &Name) -> Option<Order> {
    let (step, direction) = operation.open_step()?;
    if step.addressee != Addressee::Agent(agent.clone()) {
        return None;
    }
    let tenant = state.tenants.get(&operation.tenant)?;
    let group = state.groups.get(&tenant.placement.group)?;
    let not_before = match operation.wait {
        Some(Wait::Until(stamp)) => stamp,
        Some(_) => return None,
        None => Stamp(0),
    };
    Some(Order {
        operation: operation.id.clone(),
        step: operation.cursor as u32,
        attempt: step.attempt,
        direction,
        goal: step.goal,
        group: group.name.clone(),
        epoch: group.epoch,
        timeout_ms: step.timeout_ms,
        not_before,
        // Going back is going to what the tenant still says.
        wanted: operation
            .wanted
            .clone()
            .filter(|_| direction == Direction::Forward),
    })
}

/// Judges one operation.
pub fn judge(state: &State, operation: &Operation, sightings: &Sightings, now: Stamp) -> Option<Verdict> {
    if operation.status == Status::Stuck {
        return Some(Verdict::Wait(Reason::Person));
    }
    if operation.status == Status::Queued {
        return turns::reason(state, operation).map(Verdict::Wait);
    }
    let (step, direction) = operation.open_step()?;
    let started = step.started.unwrap_or(now);
    let overdue = || {
        Some(Verdict::Timeout(Timeout {
            operation: operation.id.clone(),
            step: operation.cursor as u32,
            attempt: step.attempt,
            direction,
        }))
    };
    if step.goal == Goal::DrainClients {
        if is_drained(state, operation) || now.millis_since(started) >= step.timeout_ms {
            return overdue();
        }
        let version = state
            .tenants
            .get(&operation.tenant)
            .map_or(0, |t| t.credential.version);
        let behind = credential::behind(state, &operation.tenant, version).count();
        return Some(Verdict::Wait(Reason::Acknowledged { behind }));
    }
    match &operation.wait {
        Some(Wait::Until(until)) if now < *until => {
            return Some(Verdict::Wait(Reason::Pause { until: *until }));
        }
        Some(Wait::Approval(of)) => return Some(Verdict::Wait(Reason::Approval(of.clone()))),
        Some(Wait::Until(_) | Wait::Acknowledged(_)) | None => {}
    }
    let Addressee::Agent(agent) = &step.addressee else {
        return None;
    };
    let silent_ms = sightings.agents.get(agent).map(|s| now.millis_since(s.seen));
    if silent_ms.is_none_or(|ms| ms > AGENT_SILENT_MS) {
        // An agent that is away is not slow: its step keeps its try until it is back.
        return Some(Verdict::Wait(Reason::AgentSilent {
            agent: agent.clone(),
            silent_ms,
        }));
    }
    if now.millis_since(started) > step.timeout_ms {
        return overdue();
    }
    Some(Verdict::AtWork { agent: agent.clone() })
}

/// What the pilot should propose now.
pub fn plan(state: &State, sightings: &Sightings, now: Stamp) -> Vec<Timeout> {
    let verdicts = state
        .begun_operations()
        .filter_map(|o| judge(state, o, sightings, now));
    verdicts
        .filter_map(|verdict| match verdict {
            Verdict::Timeout(timeout) => Some(timeout),
            Verdict::AtWork { .. } | Verdict::Wait(_) => None,
        })
        .collect()
}
