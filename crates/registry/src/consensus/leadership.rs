//! Who leads, as this node knows it, and what a leader may say of its own state.

use std::time::Duration;

use openraft::Instant as _;
use tokio::time::Instant;

use super::ground::time;
use super::types::Metrics;

/// Who leads, as this node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<u64>,
    pub term: u64,
    /// Leader only: when a quorum last answered.
    pub quorum_acked: Option<Instant>,
    /// Leader only: the last entry of its own term that it knows to be committed. Until there is one it may lack
    /// what the leader before it acknowledged.
    settled: Option<u64>,
    /// Leader only: it needs nobody else.
    pub(super) alone: bool,
}

/// What a leader can say of its own state: all that was acknowledged so long ago is in so many entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    pub(super) committed_index: u64,
    pub(super) quorum_age: Duration,
}

impl Leadership {
    pub(super) fn of(metrics: &Metrics) -> Leadership {
        let leads = metrics.state == openraft::ServerState::Leader;
        let settled = metrics.cluster_committed.filter(|id| {
            let leader = id.committed_leader_id();
            leads && (leader.term, leader.node_id) == (metrics.current_term, metrics.id)
        });
        let mut voters = metrics.membership_config.voter_ids();
        Leadership {
            leader: leader_of(metrics),
            term: metrics.current_term,
            quorum_acked: metrics.last_quorum_acked.map(|at| time::now() - at.elapsed()),
            settled: settled.map(|id| id.index),
            alone: leads && voters.all(|id| id == metrics.id),
        }
    }

    pub(super) fn word(&self) -> Option<Word> {
        let quorum_age = match self.alone {
            true => Duration::ZERO,
            false => time::now() - self.quorum_acked?,
        };
        self.settled.map(|committed_index| Word {
            committed_index,
            quorum_age,
        })
    }
}

/// Who leads. A node that led, was let go by the group and starts again still has the vote that it led with: openraft
/// takes that for a leader, and nobody leads there.
pub(super) fn leader_of(metrics: &Metrics) -> Option<u64> {
    let leads = metrics.state == openraft::ServerState::Leader;
    metrics
        .current_leader
        .filter(|leader| *leader != metrics.id || leads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::types;

    #[test]
    fn a_node_that_led_once_and_was_let_go_does_not_lead() {
        let mut metrics = Metrics::new_initial(1);
        (metrics.current_leader, metrics.current_term) = (Some(1), 3);
        metrics.state = openraft::ServerState::Learner;
        assert_eq!(Leadership::of(&metrics).leader, None);
        metrics.state = openraft::ServerState::Leader;
        assert_eq!(Leadership::of(&metrics).leader, Some(1));
        metrics.state = openraft::ServerState::Learner;
        metrics.current_leader = Some(2);
        assert_eq!(Leadership::of(&metrics).leader, Some(2));
    }

    #[test]
    fn a_new_leader_does_not_speak_before_an_entry_of_its_own_term_is_committed() {
        let mut metrics = Metrics::new_initial(1);
        metrics.state = openraft::ServerState::Leader;
        (metrics.current_leader, metrics.current_term) = (Some(1), 3);
        let now = openraft::alias::InstantOf::<types::C>::now();
        metrics.last_quorum_acked = Some(now.into());
        metrics.cluster_committed = Some(types::log_id(2, 2, 10));
        assert!(
            Leadership::of(&metrics).word().is_none(),
            "what came after 10 may be acknowledged"
        );
        metrics.cluster_committed = Some(types::log_id(3, 1, 11));
        assert_eq!(
            Leadership::of(&metrics).word().map(|word| word.committed_index),
            Some(11)
        );
        metrics.state = openraft::ServerState::Follower;
        assert!(Leadership::of(&metrics).word().is_none());
    }
}
