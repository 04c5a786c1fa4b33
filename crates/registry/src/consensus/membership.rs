//! Who is in the consensus group: the roll in State decides, and the leader makes it so.
//!
//! ```text
//! on the roll ─► learner ─► caught up, archive whole ─► voter            off the roll ─► no member
//! a joint configuration that a crash left behind is finished
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{BasicNode, ChangeMembers, Instant as _, ServerState};
use reeve_domain::{NodeId, State};

use super::ground::time;
use super::leadership::leader_of;
use super::wholes::{Nobody, Whole};
use super::{Consensus, Unavailable};
use crate::mutant::Mutant;

const PERIOD: Duration = Duration::from_millis(300);
/// Entries that a learner may lack when it becomes a voter.
const LAG_MAX: u64 = 100;

/// What a node is in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRole {
    Leader,
    Follower,
    Learner,
    /// On the roll, and not in the group yet.
    Joining,
}

/// One node, as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    pub id: u64,
    pub api: String,
    pub peer: String,
    pub role: NodeRole,
    /// Last entry it holds; known to the leader alone.
    pub matched_index: Option<u64>,
    /// How long ago it answered the leader; known to the leader alone.
    pub heard: Option<Duration>,
}

/// The group, as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub leader: Option<u64>,
    pub term: u64,
    /// Last entry in this node's log.
    pub last_index: u64,
    /// Last one that it knows to be committed.
    pub commit_index: u64,
    pub applied_index: u64,
    pub nodes: Vec<NodeStatus>,
}

/// One thing to change about the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Move {
    FinishJoint(BTreeSet<u64>),
    AddLearner(u64, String),
    Promote(u64),
    RemoveVoter(u64),
    RemoveLearner(u64),
}

/// The group as the decision sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) configs: Vec<BTreeSet<u64>>,
    pub(super) learners: BTreeSet<u64>,
    /// Members that can be counted on, this one among them.
    pub(super) well: BTreeSet<u64>,
    /// Last entry each other node holds.
    pub(super) matched: BTreeMap<u64, u64>,
    /// The nodes whose archive is whole, this one among them, and up to where.
    pub(super) whole: BTreeMap<u64, Whole>,
    /// None of the voters has been whole for long: nobody can give a learner what it lacks.
    pub(super) nobody_is_whole: bool,
    pub(super) last_index: u64,
    /// The last entry that is in a snapshot only: who lacks it gets the snapshot, and with it a hole.
    pub(super) purged: u64,
    pub(super) leader: u64,
}

impl Group {
    /// Whether a quorum of the others can be counted on. Otherwise the change would be begun and never end, and nothing
    /// could be written meanwhile: nobody leaves before another one has its place.
    fn can_decide_without(&self, voters: &BTreeSet<u64>, node: u64) -> bool {
        let left: BTreeSet<u64> = voters.iter().copied().filter(|id| *id != node).collect();
        let well = left.intersection(&self.well).count();
        !left.is_empty() && well > left.len() / 2
    }

    /// Voters that are off the roll, and without whom the others could not decide.
    fn needed(&self, state: &State) -> Vec<u64> {
        let Some(voters) = self.configs.first().filter(|_| self.configs.len() == 1) else {
            return Vec::new();
        };
        let gone = voters
            .iter()
            .filter(|id| !state.nodes.contains_key(&NodeId(**id)));
        gone.copied()
            .filter(|id| !self.can_decide_without(voters, *id))
            .collect()
    }

    /// Whether nothing was missing in a node's archive a moment ago, and nothing will be by a snapshot that is still to
    /// come.
    fn is_whole(&self, node: u64) -> bool {
        let reaches = |whole: &Whole| whole.lag <= LAG_MAX && whole.upto >= self.purged;
        self.whole.get(&node).is_some_and(reaches)
    }
}

/// Decides the next change, one at a time; none when the group is what the roll says.
pub(super) fn next_move(state: &State, group: &Group) -> Option<Move> {
    if state.nodes.is_empty() {
        return None;
    }
    if group.configs.len() > 1 {
        return group.configs.last().cloned().map(Move::FinishJoint);
    }
    let voters = group.configs.first().cloned().unwrap_or_default();
    if !voters.contains(&group.leader) {
        // It was removed and leads a moment longer: what is left to do is the next leader's.
        return None;
    }
    let roll: BTreeSet<u64> = state.nodes.keys().map(|id| id.0).collect();
    if let Some(gone) = group.learners.difference(&roll).next() {
        return Some(Move::RemoveLearner(*gone));
    }
    // Who is silent goes first: it is not missed. The leader removes itself last, so that somebody is there to remove the
    // others.
    let mut gone: Vec<u64> = voters.difference(&roll).copied().collect();
    gone.sort_by_key(|id| (*id == group.leader, group.well.contains(id)));
    if let Some(gone) = gone.iter().find(|id| group.can_decide_without(&voters, **id)) {
        return Some(Move::RemoveVoter(*gone));
    }
    let caught_up = |id: &&u64| {
        let is_near = |matched: &u64| group.last_index.saturating_sub(*matched) <= LAG_MAX;
        let is_whole = group.nobody_is_whole || group.is_whole(**id);
        is_whole && group.matched.get(id).is_some_and(is_near)
    };
    if let Some(ready) = group.learners.iter().find(caught_up) {
        return Some(Move::Promote(*ready));
    }
    let known: BTreeSet<u64> = voters.union(&group.learners).copied().collect();
    let new = state.nodes.values().find(|node| !known.contains(&node.id.0))?;
    Some(Move::AddLearner(new.id.0, new.peer.clone()))
}

impl Consensus {
    /// Makes this node the first one of a new group.
    pub async fn initialize(&self, peer_address: &str) -> Result<(), Unavailable> {
        if self
            .raft()
            .is_initialized()
            .await
            .map_err(|e| Unavailable::Broken(e.to_string()))?
        {
            return Ok(());
        }
        let members = BTreeMap::from([(self.node_id(), BasicNode::new(peer_address))]);
        self.raft()
            .initialize(members)
            .await
            .map_err(|error| Unavailable::Broken(error.to_string()))
    }

    /// Hands leadership to another voter.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), Unavailable> {
        self.raft()
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|error| Unavailable::Broken(error.to_string()))
    }

    /// The voter that has most of the log, besides this node.
    pub fn heir(&self) -> Option<u64> {
        let voters = self.voters();
        let matched = self.group().matched;
        matched
            .into_iter()
            .filter(|(id, _)| voters.contains(id))
            .max_by_key(|(_, at)| *at)
            .map(|(id, _)| id)
    }

    /// How long ago another node answered this one, while this one leads.
    pub(super) fn heard(&self, node: u64) -> Option<Duration> {
        let metrics = self.raft().metrics().borrow_watched().clone();
        let at = metrics.heartbeat?.get(&node).copied().flatten()?;
        Some(at.elapsed())
    }

    pub(super) fn voters(&self) -> BTreeSet<u64> {
        let metrics = self.raft().metrics().borrow_watched().clone();
        metrics.membership_config.voter_ids().collect()
    }

    /// Whether a node is in the group, as this node's log has it or what of it is committed: the last word about who is
    /// in it may be taken back.
    pub(super) fn is_member(&self, node: u64) -> bool {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let of = [&metrics.membership_config, &metrics.committed_membership_config];
        of.iter().any(|config| config.get_node(&node).is_some())
    }

    /// The group, as this node knows it.
    pub fn status(&self) -> Status {
        let metrics = self.raft().metrics().borrow_watched().clone();
        let published = self.published();
        let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
        let halves = metrics.membership_config.membership().get_joint_config();
        let group = self.group();
        let roll = &published.state.nodes;
        let leader = leader_of(&metrics);
        let role = |id: u64| match () {
            () if leader == Some(id) => NodeRole::Leader,
            // Half-way through a change a voter of one half alone is none yet that the group can do with.
            () if voters.contains(&id) && halves.iter().all(|half| half.contains(&id)) => NodeRole::Follower,
            () if voters.contains(&id) || group.learners.contains(&id) => NodeRole::Learner,
            // Let go, and that is not committed yet.
            () if !roll.contains_key(&NodeId(id)) => NodeRole::Learner,
            () => NodeRole::Joining,
        };
        let status = |id: u64, api: &str, peer: &str| NodeStatus {
            id,
            api: api.to_owned(),
            peer: peer.to_owned(),
            role: role(id),
            matched_index: group.matched.get(&id).copied(),
            heard: self.heard(id),
        };
        let nodes = roll.values().map(|node| status(node.id.0, &node.api, &node.peer));
        // Whoever was struck off the roll is shown until the group has let it go, and nothing can take that back: until
        // then its vote may be needed.
        let of = [&metrics.membership_config, &metrics.committed_membership_config];
        let members = of.iter().flat_map(|config| config.nodes());
        let leaving: BTreeMap<u64, &str> = members
            .filter(|(id, _)| !roll.contains_key(&NodeId(**id)))
            .map(|(id, node)| (*id, node.addr.as_str()))
            .collect();
        let nodes = nodes.chain(leaving.into_iter().map(|(id, peer)| status(id, "", peer)));
        Status {
            leader,
            term: metrics.current_term,
            last_index: metrics.last_log_index.unwrap_or_default(),
            commit_index: metrics.local_committed.map_or(0, |id| id.index),
            applied_index: published.applied_index,
            nodes: nodes.collect(),
        }
    }

    pub(super) fn group(&self) -> Group {
        let metrics = self.raft().metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let replication = metrics.replication.into_iter().flatten();
        let last_index = metrics.last_log_index.unwrap_or_default();
        let mut matched: BTreeMap<u64, u64> = replication
            .filter_map(|(id, at)| at.map(|at| (id, at.index)))
            .collect();
        matched.remove(&self.node_id());
        let mut whole = self.wholes().lately(metrics.current_term, time::now());
        let own = self.own_whole().map(|upto| Whole { upto, lag: 0 });
        whole.extend(own.map(|own| (self.node_id(), own)));
        let well = membership.nodes().map(|(id, _)| *id);
        Group {
            configs: membership.get_joint_config().clone(),
            well: well.filter(|id| self.is_well(*id)).collect(),
            learners: membership.learner_ids().collect(),
            matched,
            whole,
            nobody_is_whole: false,
            last_index,
            purged: metrics.purged.map_or(0, |id| id.index),
            leader: self.node_id(),
        }
    }

    /// The leader's loop: one change at a time, until the group is what the roll says.
    pub(super) async fn reconcile(self) {
        let mut beat = time::interval(PERIOD);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut nobody, mut needed) = (Nobody::default(), Vec::new());
        loop {
            beat.tick().await;
            let leads = self.raft().metrics().borrow_watched().state == ServerState::Leader;
            if !leads {
                self.wholes().forget();
                (nobody, needed) = (Nobody::default(), Vec::new());
                continue;
            }
            let mut group = self.group();
            let is_any = self.voters().iter().any(|id| group.whole.contains_key(id));
            group.nobody_is_whole =
                nobody.is_whole(is_any, time::now()) && !Mutant::WaitForWhole.is_planted();
            let published = self.published();
            let still = std::mem::replace(&mut needed, group.needed(&published.state));
            if needed != still && !needed.is_empty() {
                tracing::warn!(
                    nodes = ?needed,
                    "they are off the roll and keep their votes: too few of the others answer and have room to decide \
                     without them; bring those back, or add a node"
                );
            }
            let Some(next) = next_move(&published.state, &group) else {
                continue;
            };
            if let Move::Promote(id) = &next
                && !group.is_whole(*id)
            {
                tracing::warn!(
                    node = id,
                    "no voter's archive is whole, so nobody can give this node what it lacks; it gets its vote with \
                     a hole in its archive"
                );
            }
            if matches!(next, Move::FinishJoint(_)) && Mutant::LeaveJoint.is_planted() {
                continue;
            }
            if self.is_leaving() && !matches!(next, Move::FinishJoint(_)) {
                continue;
            }
            tracing::info!(change = ?next, "changing the consensus group");
            if let Err(error) = self.carry_out(next).await {
                tracing::warn!(%error, "the consensus group was not changed; trying again");
            }
        }
    }

    async fn carry_out(&self, next: Move) -> Result<(), String> {
        let raft = self.raft();
        let change: ChangeMembers<u64, BasicNode> = match next {
            Move::AddLearner(id, address) => {
                let added = raft.add_learner(id, BasicNode::new(address), false).await;
                return added.map(drop).map_err(|error| error.to_string());
            }
            Move::FinishJoint(voters) => ChangeMembers::ReplaceAllVoters(voters),
            Move::Promote(id) => ChangeMembers::AddVoterIds([id].into()),
            Move::RemoveVoter(id) => ChangeMembers::RemoveVoters([id].into()),
            Move::RemoveLearner(id) => ChangeMembers::RemoveNodes([id].into()),
        };
        // A removed voter is not kept as a learner: its id is never used again.
        raft.change_membership(change, false)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_domain::state::Node;

    fn roll(ids: &[u64]) -> State {
        let mut state = State::default();
        for id in ids {
            let node = Node {
                id: NodeId(*id),
                api: String::new(),
                peer: format!("n{id}"),
                joined: Default::default(),
            };
            state.nodes.insert(NodeId(*id), node);
        }
        state
    }

    fn whole(upto: u64) -> Whole {
        Whole {
            upto,
            lag: 1000 - upto,
        }
    }

    fn group(voters: &[u64], learners: &[u64], matched: &[(u64, u64)]) -> Group {
        Group {
            configs: vec![voters.iter().copied().collect()],
            well: voters.iter().copied().collect(),
            learners: learners.iter().copied().collect(),
            matched: matched.iter().copied().collect(),
            whole: matched.iter().map(|(id, at)| (*id, whole(*at))).collect(),
            nobody_is_whole: false,
            last_index: 1000,
            purged: 0,
            leader: 1,
        }
    }

    #[test]
    fn a_node_becomes_a_voter_only_when_it_has_caught_up() {
        assert_eq!(
            next_move(&roll(&[1, 2]), &group(&[1], &[], &[])),
            Some(Move::AddLearner(2, "n2".into()))
        );
        assert_eq!(next_move(&roll(&[1, 2]), &group(&[1], &[2], &[(2, 10)])), None);
        assert_eq!(
            next_move(&roll(&[1, 2]), &group(&[1], &[2], &[(2, 900)])),
            Some(Move::Promote(2))
        );
        assert_eq!(next_move(&roll(&[1, 2]), &group(&[1, 2], &[], &[])), None);
    }

    #[test]
    fn a_node_whose_archive_has_a_hole_does_not_vote() {
        let mut holed = group(&[1], &[2], &[(2, 1000)]);
        holed.whole.clear();
        assert_eq!(next_move(&roll(&[1, 2]), &holed), None);
        holed.whole.insert(2, whole(1000));
        assert_eq!(next_move(&roll(&[1, 2]), &holed), Some(Move::Promote(2)));
    }

    #[test]
    fn a_node_that_was_whole_before_its_snapshot_came_does_not_vote() {
        let mut group = group(&[1], &[2], &[(2, 1000)]);
        group.whole.insert(2, whole(0));
        assert_eq!(next_move(&roll(&[1, 2]), &group), None, "it had nothing yet");
        group.whole.insert(2, whole(950));
        group.purged = 960;
        assert_eq!(
            next_move(&roll(&[1, 2]), &group),
            None,
            "what comes next is a snapshot"
        );
        group.purged = 950;
        assert_eq!(next_move(&roll(&[1, 2]), &group), Some(Move::Promote(2)));
    }

    #[test]
    fn when_nobody_is_whole_nobody_waits_for_it() {
        let mut holed = group(&[1], &[2], &[(2, 1000)]);
        holed.whole.clear();
        holed.nobody_is_whole = true;
        assert_eq!(next_move(&roll(&[1, 2]), &holed), Some(Move::Promote(2)));
        holed.matched.insert(2, 10);
        assert_eq!(next_move(&roll(&[1, 2]), &holed), None, "it lags all the same");
    }

    #[test]
    fn what_left_the_roll_leaves_the_group_the_leader_last() {
        assert_eq!(
            next_move(&roll(&[2]), &group(&[1, 2, 3], &[], &[])),
            Some(Move::RemoveVoter(3))
        );
        assert_eq!(
            next_move(&roll(&[2]), &group(&[1, 2], &[], &[])),
            Some(Move::RemoveVoter(1))
        );
        assert_eq!(
            next_move(&roll(&[1]), &group(&[1], &[9], &[])),
            Some(Move::RemoveLearner(9))
        );
        assert_eq!(next_move(&State::default(), &group(&[1], &[9], &[])), None);
    }

    #[test]
    fn the_last_voter_stays_until_another_one_has_its_place() {
        let alone = group(&[1], &[2], &[(2, 10)]);
        assert_eq!(next_move(&roll(&[2]), &alone), None, "node 2 is on its way");
        let ready = group(&[1], &[2], &[(2, 1000)]);
        assert_eq!(next_move(&roll(&[2]), &ready), Some(Move::Promote(2)));
        assert_eq!(
            next_move(&roll(&[2]), &group(&[1, 2], &[], &[])),
            Some(Move::RemoveVoter(1))
        );
        assert_eq!(
            next_move(&roll(&[2]), &group(&[1], &[], &[])),
            Some(Move::AddLearner(2, "n2".into()))
        );
    }

    #[test]
    fn who_is_silent_leaves_first_and_nobody_whom_the_others_need() {
        // Nodes 3, 4 and 5 are off the roll, and 4 and 5 are dead.
        let mut dead = group(&[1, 2, 3, 4, 5], &[], &[]);
        dead.well = [1, 2, 3].into();
        assert_eq!(next_move(&roll(&[1, 2]), &dead), Some(Move::RemoveVoter(4)));
        dead.configs = vec![[1, 2, 3, 5].into()];
        assert_eq!(next_move(&roll(&[1, 2]), &dead), Some(Move::RemoveVoter(5)));
        dead.configs = vec![[1, 2, 3].into()];
        assert_eq!(next_move(&roll(&[1, 2]), &dead), Some(Move::RemoveVoter(3)));

        // Without node 2 node 1 would wait for node 3 for ever.
        let mut needed = group(&[1, 2, 3], &[], &[]);
        needed.well = [1, 2].into();
        assert_eq!(next_move(&roll(&[1, 3]), &needed), None);
        assert_eq!(needed.needed(&roll(&[1, 3])), [2]);
        needed.well.insert(3);
        assert_eq!(next_move(&roll(&[1, 3]), &needed), Some(Move::RemoveVoter(2)));
        // Another one takes its place meanwhile.
        needed.well.remove(&3);
        needed.learners.insert(4);
        (needed.matched, needed.whole) = ([(4, 1000)].into(), [(4, whole(1000))].into());
        assert_eq!(next_move(&roll(&[1, 3, 4]), &needed), Some(Move::Promote(4)));
    }

    #[test]
    fn a_leader_that_was_removed_changes_nothing_any_more() {
        assert_eq!(next_move(&roll(&[2, 3, 4]), &group(&[2, 3], &[], &[])), None);
        let mut joint = group(&[1, 2], &[], &[]);
        joint.configs.push([2].into());
        assert_eq!(
            next_move(&roll(&[2]), &joint),
            Some(Move::FinishJoint([2].into()))
        );
    }

    #[test]
    fn a_joint_configuration_is_finished_first() {
        let mut joint = group(&[1], &[], &[]);
        joint.configs.push([1, 2].into());
        assert_eq!(
            next_move(&roll(&[1, 2]), &joint),
            Some(Move::FinishJoint([1, 2].into()))
        );
    }
}
