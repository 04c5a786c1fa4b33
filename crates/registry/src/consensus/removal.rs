//! Whether a node may leave the roll: what is left must be able to decide.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use reeve_domain::NodeId;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::ground::time;
use super::propose::Verdict;
use super::{Committed, Consensus, Forwarded, Unavailable};

/// A voter that has been silent for longer is not counted on.
const SILENT_MAX: Duration = Duration::from_secs(10);
/// For so long a removal waits for the one before it to end in the group; it takes two commits.
const BEFORE_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The voters, and who of them can be counted on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters {
    pub all: BTreeSet<u64>,
    pub healthy: BTreeSet<u64>,
    /// Struck off the roll, and its vote may be needed still.
    pub leaving: BTreeSet<u64>,
}

/// Why a node must stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stays {
    #[error("node {0} is the last voter; without it nothing is decided any more: add another one first")]
    LastVoter(u64),
    #[error(
        "node {leaving} is off the roll, and its vote is needed until the group has let it go; node {node} can go when \
         that is done, and before it neither of the two may be stopped"
    )]
    AnotherLeaves { node: u64, leaving: u64 },
    #[error(
        "without node {node} {voters} would vote and {quorum} be a quorum, but only {healthy} of them \
         answer and have room; nothing could be written any more"
    )]
    NoQuorum {
        node: u64,
        voters: usize,
        quorum: usize,
        healthy: usize,
    },
}

/// Decides it. Force goes as far as the last voter, and no further.
pub fn may_leave(voters: &Voters, node: u64, force: bool) -> Result<(), Stays> {
    if !voters.all.contains(&node) {
        return Ok(());
    }
    let left = voters.all.len() - 1;
    if left == 0 {
        return Err(Stays::LastVoter(node));
    }
    if let Some(leaving) = voters.leaving.first().copied().filter(|_| !force) {
        return Err(Stays::AnotherLeaves { node, leaving });
    }
    let quorum = left / 2 + 1;
    let healthy = voters.healthy.iter().filter(|id| **id != node).count();
    if healthy < quorum && !force {
        return Err(Stays::NoQuorum {
            node,
            voters: left,
            quorum,
            healthy,
        });
    }
    Ok(())
}

/// Nodes leave one after the other.
pub(super) type Exit = Arc<Mutex<()>>;

/// The turn to leave, until it is dropped: nobody else leaves meanwhile.
#[derive(Debug)]
pub struct Turn {
    term: u64,
    _alone: OwnedMutexGuard<()>,
}

impl Consensus {
    /// Waits for the turn to let a node leave. What this leader was asked before is in its State by then, so that two
    /// nodes that are each dispensable do not leave together. Keep it until the answer is there.
    pub async fn turn_to_leave(&self, deadline: Instant) -> Result<Turn, Unavailable> {
        let turn = async {
            let _alone = self.exit().clone().lock_owned().await;
            let term = self.term();
            // It goes behind whatever was handed in before, which is in the log then, though perhaps nobody waits for it
            // any more.
            let index = self.leader_read_index().await?;
            let last = self.raft().metrics().borrow_watched().last_log_index;
            self.wait_for_index(index.max(last.unwrap_or_default())).await;
            Ok(Turn { term, _alone })
        };
        let waited = time::timeout_at(deadline, turn).await;
        let turn = waited.map_err(|_| Unavailable::NoLeader)??;
        let before = async {
            while !self.voters_now().leaving.is_empty() {
                time::sleep(LOOK_EVERY).await;
            }
        };
        // Whether it has ended is looked at again.
        let _ = time::timeout_at(deadline.min(time::now() + BEFORE_MAX), before).await;
        Ok(turn)
    }

    /// Proposes in the term of a turn, or not at all: another leader may have let somebody leave meanwhile.
    pub async fn propose_in_turn(
        &self,
        turn: &Turn,
        proposal: Forwarded,
        deadline: Instant,
    ) -> Result<Committed, Unavailable> {
        if !self.is_leader() || self.term() != turn.term {
            return Err(Unavailable::NoLeader);
        }
        match time::timeout_at(deadline, self.propose_here(proposal)).await {
            Ok(Verdict::Committed(committed)) => Ok(committed),
            Ok(Verdict::Refused(refusal)) => Ok(self.refused(refusal)),
            Ok(Verdict::Again) | Err(_) => Err(Unavailable::NoLeader),
        }
    }

    /// The voters that are to stay, as the leader sees them; elsewhere nobody but this node counts as healthy. Who
    /// was struck off the roll votes until that is committed, and is not counted on.
    pub fn voters_now(&self) -> Voters {
        let published = self.published();
        let on_roll = |id: &u64| published.state.nodes.contains_key(&NodeId(*id));
        let metrics = self.raft().metrics().borrow_watched().clone();
        let of = [&metrics.membership_config, &metrics.committed_membership_config];
        let voters = of.iter().flat_map(|config| config.voter_ids());
        let (all, leaving): (BTreeSet<u64>, _) = voters.partition(on_roll);
        let healthy = all.iter().copied().filter(|id| self.is_well(*id)).collect();
        Voters {
            all,
            healthy,
            leaving,
        }
    }

    /// Whether a node can be counted on, as the leader sees it.
    pub(super) fn is_well(&self, id: u64) -> bool {
        match id == self.node_id() {
            true => !self.disk_health().full,
            false => {
                let heard = self.heard(id).is_some_and(|ago| ago <= SILENT_MAX);
                heard && !self.disk().health_of(id).full
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(all: &[u64], healthy: &[u64]) -> Voters {
        Voters {
            all: all.iter().copied().collect(),
            healthy: healthy.iter().copied().collect(),
            leaving: BTreeSet::new(),
        }
    }

    #[test]
    fn a_dead_node_may_leave_and_a_live_one_that_is_needed_stays() {
        let group = voters(&[1, 2, 3], &[1, 2]);
        assert_eq!(may_leave(&group, 3, false), Ok(()));
        let stays = Stays::NoQuorum {
            node: 2,
            voters: 2,
            quorum: 2,
            healthy: 1,
        };
        assert_eq!(may_leave(&group, 2, false), Err(stays));
        assert_eq!(may_leave(&group, 2, true), Ok(()), "it was asked for twice");
        let whole = voters(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]);
        assert_eq!(may_leave(&whole, 1, false), Ok(()));
    }

    /// Of four, two that are stopped at once leave two, and three of the old four must agree that one of them is gone.
    #[test]
    fn nobody_leaves_before_the_one_before_is_gone() {
        let mut group = voters(&[1, 2, 3], &[1, 2, 3]);
        group.leaving.insert(4);
        assert_eq!(
            may_leave(&group, 3, false),
            Err(Stays::AnotherLeaves { node: 3, leaving: 4 })
        );
        assert_eq!(may_leave(&group, 4, false), Ok(()), "it was asked for twice");
        assert_eq!(may_leave(&group, 3, true), Ok(()));
        group.leaving.clear();
        assert_eq!(may_leave(&group, 3, false), Ok(()));
    }

    #[test]
    fn the_last_voter_stays_whatever_is_said() {
        let alone = voters(&[1], &[1]);
        assert_eq!(may_leave(&alone, 1, true), Err(Stays::LastVoter(1)));
        assert_eq!(may_leave(&alone, 2, false), Ok(()), "a learner is no voter");
    }
}
