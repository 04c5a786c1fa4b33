//! Whether a node may leave the roll: what is left must be able to decide.

use std::collections::BTreeSet;
use std::time::Duration;

use reeve_domain::NodeId;

use super::Consensus;

/// A voter that has been silent for longer is not counted on.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// The voters, and who of them can be counted on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters {
    pub all: BTreeSet<u64>,
    pub healthy: BTreeSet<u64>,
}

/// Why a node must stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stays {
    #[error("node {0} is the last voter; without it nothing is decided any more: add another one first")]
    LastVoter(u64),
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

impl Consensus {
    /// The voters that are to stay, as the leader sees them; elsewhere nobody but this node counts as healthy. Who
    /// was struck off the roll may still vote for a moment, and is not counted on.
    pub fn voters_now(&self) -> Voters {
        let published = self.published();
        let on_roll = |id: &u64| published.state.nodes.contains_key(&NodeId(*id));
        let all: BTreeSet<u64> = self.voters().into_iter().filter(on_roll).collect();
        let is_well = |id: &&u64| match **id == self.node_id() {
            true => !self.disk_health().full,
            false => {
                let heard = self.heard(**id).is_some_and(|ago| ago <= SILENT_MAX);
                heard && !self.disk().health_of(**id).full
            }
        };
        let healthy = all.iter().filter(is_well).copied().collect();
        Voters { all, healthy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(all: &[u64], healthy: &[u64]) -> Voters {
        Voters {
            all: all.iter().copied().collect(),
            healthy: healthy.iter().copied().collect(),
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

    #[test]
    fn the_last_voter_stays_whatever_is_said() {
        let alone = voters(&[1], &[1]);
        assert_eq!(may_leave(&alone, 1, true), Err(Stays::LastVoter(1)));
        assert_eq!(may_leave(&alone, 2, false), Ok(()), "a learner is no voter");
    }
}
