//! When the cluster version rises: once every node of the roll has told lately that it knows the next one.

use std::collections::BTreeMap;
use std::fmt;

use crate::ids::NodeId;
use crate::state::State;
use crate::version::{RaiseVersion, Versions};

/// What the pilot should do about the cluster version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody knows more than what is allowed already.
    Current,
    /// Somebody does, and others hold it back.
    Wait(Reason),
    Raise(RaiseVersion),
}

/// What the version waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// These have not told lately what they know.
    Silent(Vec<NodeId>),
    /// These know nothing later.
    Behind(Vec<NodeId>),
    /// The newest of them no longer know what the oldest know.
    Apart { needed: u32, known: u32 },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &[NodeId]| {
            nodes
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self {
            Reason::Silent(nodes) => write!(f, "nodes {} have not told what they know", list(nodes)),
            Reason::Behind(nodes) => write!(f, "nodes {} are not upgraded", list(nodes)),
            Reason::Apart { needed, known } => {
                write!(
                    f,
                    "one node knows {known} at the most, another one {needed} at the least"
                )
            }
        }
    }
}

/// Decides; `lately` is what each node told within the last moments. Voters and learners count alike: a learner
/// applies what is committed, too.
pub fn plan(state: &State, lately: &BTreeMap<NodeId, Versions>) -> Verdict {
    let is = state.cluster.version;
    let known: BTreeMap<NodeId, Versions> = state
        .nodes
        .keys()
        .filter_map(|id| Some((*id, *lately.get(id)?)))
        .collect();
    let Some(newest) = known
        .values()
        .map(|known| known.max)
        .max()
        .filter(|newest| *newest > is)
    else {
        return Verdict::Current;
    };
    let silent: Vec<NodeId> = state
        .nodes
        .keys()
        .filter(|id| !known.contains_key(id))
        .copied()
        .collect();
    if !silent.is_empty() {
        return Verdict::Wait(Reason::Silent(silent));
    }

    let to = known.values().map(|known| known.max).min().unwrap_or(newest);
    if to <= is {
        let behind = known.iter().filter(|(_, known)| known.max <= is);
        return Verdict::Wait(Reason::Behind(behind.map(|(id, _)| *id).collect()));
    }
    let needed = known.values().map(|known| known.min).max().unwrap_or(to);
    if needed > to {
        return Verdict::Wait(Reason::Apart { needed, known: to });
    }
    Verdict::Raise(RaiseVersion { to, known })
}
