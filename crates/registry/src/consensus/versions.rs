//! What the programs of all nodes know: each tells the leader with its answer to the leader's word, and the leader
//! tells all. It is never in the log; the raise that follows from it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reeve_domain::version::{self, Versions};
use reeve_domain::{Command, NodeId, Refusal, State};
use reeve_proto::internal::v1 as wire;
use tokio::time::Instant;

use super::Consensus;
use super::ground::time;
use crate::mutant::Mutant;
use crate::release;

/// What is older was not told lately: the node may run another program by now.
const LATELY: Duration = Duration::from_secs(2);

/// What one node's program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its own version; empty when it did not say.
    pub version: String,
    /// The cluster versions that it knows.
    pub known: Versions,
    /// Since when nothing was heard of it.
    pub silence: Duration,
}

#[derive(Clone, Debug)]
struct Told {
    version: String,
    known: Versions,
    at: Instant,
}

/// What this node heard of the others.
#[derive(Clone, Default)]
pub(super) struct Programs(Arc<Mutex<BTreeMap<u64, Told>>>);

impl Programs {
    /// A node told the leader, when it was asked at that time.
    pub(super) fn heard(&self, node: u64, answer: &wire::LeadResponse, at: Instant) {
        let known = Versions {
            min: answer.version_min,
            max: answer.version_max,
        };
        let version = answer.program.clone();
        self.keep(node, Told { version, known, at });
    }

    /// The leader told at that time what it heard.
    pub(super) fn told(&self, all: Vec<wire::Known>, state: &State, at: Instant) {
        let on_the_roll = |one: &wire::Known| state.nodes.contains_key(&NodeId(one.node));
        self.0
            .lock()
            .retain(|id, _| state.nodes.contains_key(&NodeId(*id)));
        for one in all.into_iter().filter(on_the_roll) {
            let known = Versions {
                min: one.version_min,
                max: one.version_max,
            };
            let silence = Duration::from_millis(one.silence_ms.into());
            let Some(at) = at.checked_sub(silence) else {
                continue;
            };
            let version = one.program;
            self.keep(one.node, Told { version, known, at });
        }
    }

    /// Words may overtake each other: the newest stays.
    fn keep(&self, node: u64, told: Told) {
        let mut all = self.0.lock();
        if all.get(&node).is_none_or(|last| last.at <= told.at) {
            all.insert(node, told);
        }
    }
}

impl Consensus {
    /// The programs of the nodes on the roll, as far as this node knows.
    pub fn versions(&self) -> BTreeMap<u64, Program> {
        let told = self.programs().0.lock().clone();
        let published = self.published();
        let own = Program {
            version: release::program(),
            known: release::known(),
            silence: Duration::ZERO,
        };
        let others = told
            .into_iter()
            .filter(|(id, _)| published.state.nodes.contains_key(&NodeId(*id)))
            .map(|(id, told)| {
                let silence = time::now().saturating_duration_since(told.at);
                let (version, known) = (told.version, told.known);
                (
                    id,
                    Program {
                        version,
                        known,
                        silence,
                    },
                )
            });
        others.chain([(self.node_id(), own)]).collect()
    }

    /// What was told within the last moments.
    pub fn versions_lately(&self) -> BTreeMap<NodeId, Versions> {
        if Mutant::RaiseAlone.is_planted() {
            let roll = self.published().state.nodes.clone();
            return roll.keys().map(|id| (*id, release::known())).collect();
        }
        let lately = |program: &Program| program.silence <= LATELY;
        let all = self.versions().into_iter().filter(|(_, program)| lately(program));
        all.map(|(id, program)| (NodeId(id), program.known)).collect()
    }

    /// The same, for the others.
    pub(super) fn known_to_tell(&self) -> Vec<wire::Known> {
        let all = self
            .versions()
            .into_iter()
            .filter(|(_, program)| program.silence <= LATELY);
        all.map(|(node, program)| wire::Known {
            node,
            version_min: program.known.min,
            version_max: program.known.max,
            program: program.version,
            silence_ms: program.silence.as_millis() as u32,
        })
        .collect()
    }

    /// Refuses a command of a later version, and names who holds it back.
    pub(super) fn check_version(&self, state: &State, command: &Command) -> Result<(), Refusal> {
        if Mutant::SkipVersionGate.is_planted() || state.cluster.id.is_empty() {
            return Ok(());
        }
        version::check(state, command).map_err(|refusal| match refusal {
            Refusal::ClusterVersionTooLow {
                command, needs, is, ..
            } => Refusal::ClusterVersionTooLow {
                behind: self.behind(state, needs),
                command,
                needs,
                is,
            },
            other => other,
        })
    }

    fn behind(&self, state: &State, needs: u32) -> String {
        let versions = self.versions();
        let behind = state.nodes.keys().filter_map(|id| match versions.get(&id.0) {
            Some(program) if program.known.max >= needs => None,
            Some(program) => Some(format!("node {id} runs {}", program.version)),
            None => Some(format!("node {id} was not heard")),
        });
        let behind: Vec<String> = behind.collect();
        match behind.is_empty() {
            true => String::new(),
            false => format!(" ({})", behind.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_domain::state::Node;

    fn known(program: &str, silence_ms: u32) -> Vec<wire::Known> {
        vec![wire::Known {
            node: 2,
            version_min: 1,
            version_max: 1,
            program: program.to_owned(),
            silence_ms,
        }]
    }

    fn roll() -> State {
        let node = Node {
            id: NodeId(2),
            api: String::new(),
            peer: String::new(),
            joined: Default::default(),
        };
        State {
            nodes: [(NodeId(2), node)].into_iter().collect(),
            ..State::default()
        }
    }

    #[test]
    fn what_is_told_is_as_old_as_it_was_when_it_was_heard() {
        let (programs, now) = (Programs::default(), Instant::now());
        let later = now + Duration::from_secs(10);
        let ago = |ms| later - Duration::from_millis(ms);
        let heard = |programs: &Programs| {
            let all = programs.0.lock();
            all.get(&2).map(|told| (told.version.clone(), told.at))
        };
        programs.told(known("0.2", 300), &roll(), ago(100));
        assert_eq!(heard(&programs), Some(("0.2".to_owned(), ago(400))));
        programs.told(known("0.1", 0), &roll(), ago(500));
        assert_eq!(
            heard(&programs),
            Some(("0.2".to_owned(), ago(400))),
            "that was said before"
        );
        programs.told(known("0.3", 0), &roll(), ago(300));
        assert_eq!(heard(&programs), Some(("0.3".to_owned(), ago(300))));
        programs.told(known("0.4", 0), &State::default(), ago(0));
        assert_eq!(heard(&programs), None, "it is off the roll");
    }
}
