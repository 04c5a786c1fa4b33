//! What the others hear of a node that was struck off the roll.

use std::collections::BTreeMap;

use openraft::async_runtime::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::{BasicNode, EntryPayload, Membership};
use reeve_domain::{Actor, Command, NodeId};
use reeve_proto::internal::v1 as wire;
use serde::Serialize;
use tonic::{Code, Status};

use super::cluster::{Cluster, Plain, entry};
use crate::consensus::links::{Client, Line, Links, pack};
use crate::consensus::types::{C, Entry, Vote, log_id};

/// The term of a leader that nobody has heard of yet.
const TERM: u64 = 9;
const LEADER: u64 = 3;
const REMOVED: u64 = 2;

fn envelope<T: Serialize>(from: u64, message: &T) -> Option<wire::Envelope> {
    Some(wire::Envelope {
        cluster: "test".into(),
        from,
        body: pack(message).unwrap(),
    })
}

async fn asks_for_a_vote(client: &mut Client) -> Result<(), Status> {
    let wish: VoteRequest<C> =
        VoteRequest::new(Vote::new(TERM + 1, REMOVED), Some(log_id(TERM, LEADER, 10_000)));
    let envelope = envelope(REMOVED, &wish);
    client.pre_vote(wire::PreVoteRequest { envelope }).await.map(drop)
}

#[tokio::test]
async fn a_removed_node_is_heard_until_nothing_can_take_its_leaving_back() {
    let mut cluster = Cluster::founded(1_000).await;
    cluster.start(REMOVED).await;
    cluster.put_on_the_roll(REMOVED).await;
    let is_of = |voters: usize| {
        move |node: &crate::consensus::Consensus| {
            let group = node.group();
            group.configs.len() == 1 && group.configs[0].len() == voters && group.learners.is_empty()
        }
    };
    cluster.wait_until(1, is_of(2)).await;
    let strike = Command::RemoveNode {
        node: NodeId(REMOVED),
    };
    let struck = cluster.say(1, entry(Actor::Pilot, None, strike)).await;
    struck.outcome.unwrap();
    cluster.wait_until(1, is_of(1)).await;
    cluster.kill(REMOVED).await;

    let node = cluster.nodes[&1].consensus.clone();
    let links = |from| Links::new(from, "test", std::sync::Arc::new(Plain));
    let address = cluster.address(1).to_string();
    let mut leader = links(LEADER).client(1, &address, Line::Append);
    let mut removed = links(REMOVED).client(1, &address, Line::Beat);
    let denied = asks_for_a_vote(&mut removed).await.unwrap_err();
    assert_eq!(
        (denied.code(), denied.message()),
        (Code::PermissionDenied, "this node was removed")
    );

    // Of a group of three it is let go in two steps, of which the second is not committed.
    let last = node.raft().metrics().borrow_watched().last_applied.unwrap();
    let nodes: BTreeMap<u64, BasicNode> = (1..=3).map(|id| (id, BasicNode::new(format!("n{id}")))).collect();
    let left: BTreeMap<u64, BasicNode> = [1, LEADER].map(|id| (id, nodes[&id].clone())).into();
    let joint = Membership::new(vec![[1, REMOVED, LEADER].into(), [1, LEADER].into()], nodes).unwrap();
    let uniform = Membership::new(vec![[1, LEADER].into()], left).unwrap();
    let step = |ahead, membership| Entry {
        log_id: log_id(TERM, LEADER, last.index + ahead),
        payload: EntryPayload::Membership(membership),
    };
    let tell = |entries, committed| AppendEntriesRequest::<C> {
        vote: Vote::new_committed(TERM, LEADER),
        prev_log_id: Some(last),
        entries,
        leader_commit: Some(log_id(TERM, LEADER, last.index + committed)),
    };
    let steps = vec![step(1, joint), step(2, uniform)];
    let told = envelope(LEADER, &tell(steps.clone(), 1));
    leader
        .append(wire::AppendRequest { envelope: told })
        .await
        .unwrap();
    let is_gone =
        |node: &crate::consensus::Consensus| node.status().nodes.iter().all(|one| one.id != REMOVED);
    let committed =
        |by| move |node: &crate::consensus::Consensus| node.status().commit_index == last.index + by;
    cluster.wait_until(1, committed(1)).await;
    assert!(
        node.voters().iter().all(|id| *id != REMOVED),
        "its log has the second step"
    );
    assert!(!is_gone(&node), "it may be needed yet");
    asks_for_a_vote(&mut removed)
        .await
        .expect("its vote may be needed");
    let wish = wire::ReadIndexRequest {
        envelope: envelope(REMOVED, &()),
    };
    let denied = removed.read_index(wish).await.unwrap_err();
    assert_eq!(
        denied.code(),
        Code::PermissionDenied,
        "it speaks for nobody any more"
    );

    let told = envelope(LEADER, &tell(steps, 2));
    leader
        .append(wire::AppendRequest { envelope: told })
        .await
        .unwrap();
    cluster.wait_until(1, committed(2)).await;
    let denied = asks_for_a_vote(&mut removed).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "nothing takes it back");
    assert!(is_gone(&node));
}
