//! A node leaves in peace: no change of the group is left half done, and another one leads.

use std::time::Duration;

use super::Consensus;
use super::ground::time;

/// A change of the group takes two commits, so this is much.
const CHANGE_MAX: Duration = Duration::from_secs(5);

impl Consensus {
    /// Ends what was begun, and hands leadership over when this node leads. It votes and follows on.
    pub async fn leave(&self) {
        self.0.leaving.cancel();
        self.end_change().await;
        self.hand_over().await;
    }

    /// Leaves, and stops: the streams of other nodes end.
    pub async fn shutdown(&self) {
        self.leave().await;
        self.0.stop.cancel();
        if let Err(error) = self.0.raft.shutdown().await {
            tracing::warn!(%error, "consensus did not stop cleanly");
        }
        if let Err(error) = (self.0.save_mark)() {
            tracing::warn!(%error, "the durable mark was not written");
        }
    }

    /// Between its two steps a change needs a majority of the old voters and of the new ones. Whoever leaves then may
    /// take one of the two away, and nothing can be written until it is back.
    async fn end_change(&self) {
        let wait = self.0.raft.wait(Some(CHANGE_MAX));
        let uniform = wait.metrics(
            |metrics| metrics.membership_config.membership().get_joint_config().len() <= 1,
            "a change of the group to end",
        );
        if let Err(error) = uniform.await {
            tracing::warn!(%error, "a change of the group is left half done");
        }
    }

    async fn hand_over(&self) {
        if !self.is_leader() {
            return;
        }
        let Some(heir) = self.heir() else { return };
        if let Err(error) = self.transfer_leader(heir).await {
            tracing::warn!(%error, "leadership was not handed over");
            return;
        }
        let (mut leadership, me) = (self.leadership(), self.node_id());
        let handed = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != me));
        let limit = Duration::from_millis(2 * self.0.settings.timing.election_max_ms);
        if !matches!(time::timeout(limit, handed).await, Ok(Ok(_))) {
            tracing::warn!("leadership was not handed over in time");
        }
    }

    /// Whether this node begins no change of the group any more.
    pub(super) fn is_leaving(&self) -> bool {
        self.0.leaving.is_cancelled()
    }
}
