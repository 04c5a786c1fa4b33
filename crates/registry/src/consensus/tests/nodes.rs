//! Three nodes: forwarding, reads, leader loss, exactly-once, snapshots to one who was away.

use std::time::Duration;

use reeve_domain::{Actor, Answer, Command, Refusal};
use reeve_proto::internal::v1 as wire;

use super::cluster::{Cluster, entry, name, soon};
use crate::consensus::{Dialer, Level, Unavailable, may_leave};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_takes_a_write_and_reads_it_back() {
    let cluster = Cluster::of_three(1000).await;
    for (via, region) in [(1, "vn"), (2, "eu"), (3, "us")] {
        let said = cluster.region(via, region, None).await;
        assert_eq!(said.outcome, Ok(Answer::Region(name(region))));
        let own = &cluster.nodes[&via].consensus;
        assert!(
            own.published().state.regions.contains_key(&name(region)),
            "it cannot read its own write"
        );
        for node in cluster.nodes.values() {
            let view = node.consensus.read(Level::Linearizable, soon()).await.unwrap();
            assert!(
                view.state().regions.contains_key(&name(region)),
                "a linearizable read missed a write"
            );
        }
    }
    let hashes: Vec<_> = cluster
        .nodes
        .values()
        .map(|n| n.consensus.published().state.hash())
        .collect();
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "replicas differ"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_decides_policy_again() {
    let cluster = Cluster::of_three(1000).await;
    let follower = if cluster.leader().await == 1 { 2 } else { 1 };
    let region = reeve_domain::group::Region {
        name: name("vn"),
        display_name: String::new(),
    };
    let mut proposal = entry(Actor::Pilot, None, Command::CreateRegion(region));
    proposal.caller = b"nobody".to_vec();
    let said = cluster.say(follower, proposal).await;
    assert_eq!(said.outcome, Err(Refusal::Unauthenticated("nobody".into())));
    assert!(cluster.nodes[&1].consensus.published().state.regions.is_empty());
    let heard = cluster.nodes[&follower]
        .consensus
        .ask(b"you".as_slice().into())
        .await
        .unwrap();
    assert_eq!(heard.as_ref(), b"heard you");
    let pieces = cluster.nodes[&follower]
        .consensus
        .fetch_archive(3, b"r".as_slice().into())
        .await
        .unwrap();
    assert_eq!(pieces.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_leader_costs_no_acknowledged_write_and_no_request_is_done_twice() {
    let mut cluster = Cluster::of_three(1000).await;
    let first = cluster.leader().await;
    let other = if first == 1 { 2 } else { 1 };
    let before = cluster.region(other, "vn", Some("r-1")).await;

    cluster.kill(first).await;
    let again = cluster.region(other, "vn", Some("r-1")).await;
    assert_eq!(
        (again.revision, again.outcome),
        (before.revision, before.outcome),
        "done twice"
    );
    let fresh = cluster.region(other, "vn", Some("r-2")).await;
    assert!(matches!(fresh.outcome, Err(Refusal::AlreadyExists(_))));
    assert_eq!(
        cluster.region(other, "eu", None).await.outcome,
        Ok(Answer::Region(name("eu")))
    );

    cluster.start(first).await;
    cluster
        .wait_until(first, |node| {
            node.published().state.regions.contains_key(&name("eu"))
        })
        .await;
    let view = cluster.nodes[&first]
        .consensus
        .read(Level::Linearizable, soon())
        .await
        .unwrap();
    assert!(view.state().regions.contains_key(&name("vn")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_reads_go_on_flagged_and_writes_say_so() {
    let mut cluster = Cluster::of_three(1000).await;
    cluster.region(1, "vn", None).await;
    let bounded = Level::Bounded(Duration::from_secs(10));
    cluster.leader().await;
    let has_it = |node: &crate::consensus::Consensus| {
        node.staleness().is_some() && node.published().state.regions.contains_key(&name("vn"))
    };
    cluster.wait_until(3, has_it).await;
    let view = cluster.nodes[&3].consensus.read(bounded, soon()).await.unwrap();
    assert!(!view.stale, "{view:?}");

    let has_it =
        |node: &crate::consensus::Consensus| node.published().state.regions.contains_key(&name("vn"));
    cluster.wait_until(3, has_it).await;
    cluster.kill(1).await;
    cluster.kill(2).await;
    let node = &cluster.nodes[&3].consensus;
    let deadline = tokio::time::Instant::now() + Duration::from_millis(700);
    let region = reeve_domain::group::Region {
        name: name("eu"),
        display_name: String::new(),
    };
    let refused = node
        .propose(entry(Actor::Pilot, None, Command::CreateRegion(region)), deadline)
        .await;
    assert_eq!(refused, Err(Unavailable::NoLeader));
    let linear = node
        .read(Level::Linearizable, deadline + Duration::from_millis(100))
        .await;
    assert_eq!(linear.err(), Some(Unavailable::NoLeader));
    let view = node
        .read(Level::Bounded(Duration::from_millis(1)), soon())
        .await
        .unwrap();
    assert!(view.stale && view.state().regions.contains_key(&name("vn")));
    assert!(
        view.staleness.is_none_or(|age| age >= Duration::from_millis(700)),
        "{:?}",
        view.staleness
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_was_away_longer_than_the_log_comes_back_by_a_snapshot() {
    let mut cluster = Cluster::of_three(20).await;
    let leader = cluster.leader().await;
    let away = if leader == 3 { 2 } else { 3 };
    cluster.kill(away).await;
    for n in 0..60 {
        cluster.region(leader, &format!("r{n}"), None).await;
    }
    cluster.start(away).await;
    cluster
        .wait_until(away, |node| node.published().state.regions.len() == 60)
        .await;
    let hash = |id: u64| cluster.nodes[&id].consensus.published().state.hash();
    assert_eq!(hash(away), hash(leader));

    // What came by a snapshot is there after a restart, too.
    cluster.kill(away).await;
    cluster.start(away).await;
    cluster
        .wait_until(away, |node| node.published().state.regions.len() == 60)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_hands_leadership_over() {
    let mut cluster = Cluster::of_three(1000).await;
    let first = cluster.leader().await;
    let term = cluster.nodes[&first].consensus.status().term;
    cluster.stop(first).await;
    let next = cluster.leader().await;
    assert_ne!(next, first);
    assert!(cluster.nodes[&next].consensus.status().term > term);
    assert!(cluster.region(next, "vn", None).await.outcome.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_nodes_that_are_asked_to_leave_at_once_the_last_one_stays() {
    let cluster = Cluster::of_three(1000).await;
    let node = &cluster.nodes[&cluster.leader().await].consensus;
    let leave = |id: u64| async move {
        let turn = node.turn_to_leave(soon()).await.ok()?;
        may_leave(&node.voters_now(), id, true).ok()?;
        let node_id = reeve_domain::NodeId(id);
        let order = entry(Actor::Pilot, None, Command::RemoveNode { node: node_id });
        let left = node.propose_in_turn(&turn, order, soon()).await.ok()?;
        left.outcome.ok()
    };
    let left = tokio::join!(leave(2), leave(1), leave(3));
    let roll = &node.published().state.nodes;
    assert!(!roll.is_empty(), "all of them left: {left:?}");
    assert!(roll.len() < 3, "nobody left: {left:?}");
}

/// Both might be stopped as soon as they are off the roll, and who is left could not let go of either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_one_leaves_when_the_group_has_let_the_one_before_go() {
    let cluster = Cluster::of_three(1000).await;
    let leader = cluster.leader().await;
    let node = &cluster.nodes[&leader].consensus;
    let gone = [1, 2].into_iter().find(|id| *id != leader).unwrap();
    let turn = node.turn_to_leave(soon()).await.unwrap();
    let order = Command::RemoveNode {
        node: reeve_domain::NodeId(gone),
    };
    let struck = node.propose_in_turn(&turn, entry(Actor::Pilot, None, order), soon());
    struck.await.unwrap().outcome.unwrap();
    drop(turn);
    let _turn = node.turn_to_leave(soon()).await.unwrap();
    let voters = node.voters_now();
    assert!(voters.leaving.is_empty(), "{voters:?}");
    assert!(!node.voters().contains(&gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_to_leave_ends_with_its_leader() {
    let cluster = Cluster::of_three(1000).await;
    let first = cluster.leader().await;
    let node = &cluster.nodes[&first].consensus;
    let turn = node.turn_to_leave(soon()).await.unwrap();
    node.transfer_leader(node.heir().unwrap()).await.unwrap();
    cluster.wait_until(first, |node| !node.is_leader()).await;
    let order = Command::RemoveNode {
        node: reeve_domain::NodeId(first),
    };
    let refused = node.propose_in_turn(&turn, entry(Actor::Pilot, None, order), soon());
    assert_eq!(refused.await, Err(Unavailable::NoLeader));
    assert_eq!(
        node.turn_to_leave(tokio::time::Instant::now() + Duration::from_millis(500))
            .await
            .err(),
        Some(Unavailable::NoLeader),
        "there is one turn at a time, and this node gives none"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_of_programs_is_heard_of_the_leader_alone() {
    let cluster = Cluster::of_three(1000).await;
    let leader = cluster.leader().await;
    let (hearer, other) = match leader {
        1 => (2, 3),
        _ => (1, 5 - leader),
    };
    let node = cluster.nodes[&hearer].consensus.clone();
    let term = node.term();
    let word = |from: u64, term: u64, clock_ms: u64| wire::LeadRequest {
        envelope: Some(wire::Envelope {
            cluster: "test".into(),
            from,
            body: Default::default(),
        }),
        term,
        clock_ms,
        known: vec![wire::Known {
            node: other,
            program: "another".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut client = wire::peer_service_client::PeerServiceClient::new(
        super::cluster::Plain.channel(hearer, &cluster.address(hearer).to_string()),
    );
    let clock = client
        .lead(word(other, 0, 0))
        .await
        .unwrap()
        .into_inner()
        .clock_ms;
    // The leader's own words come in between: only what is refused is heard of none of them.
    let mut heard = async |word: wire::LeadRequest| {
        for _ in 0..20 {
            client.lead(word.clone()).await.unwrap();
            if node
                .versions()
                .get(&other)
                .is_some_and(|one| one.version == "another")
            {
                return true;
            }
        }
        false
    };
    assert!(!heard(word(other, term, clock)).await, "it does not lead");
    assert!(!heard(word(leader, term - 1, clock)).await, "of a term before");
    assert!(!heard(word(leader, term, 0)).await, "nobody knows when");
    assert!(!heard(word(leader, term, u64::MAX)).await, "of another life");
    let now = node.freshness().clock_ms();
    assert!(heard(word(leader, term, now)).await, "it is heard of the leader");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_needs_nobody_is_never_stale() {
    let cluster = Cluster::founded(1000).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let bounded = Level::Bounded(Duration::from_millis(500));
    let view = cluster.nodes[&1].consensus.read(bounded, soon()).await.unwrap();
    assert!(!view.stale, "{:?}", view.staleness);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_and_much_at_once_is_not() {
    let cluster = Cluster::of_three(1000).await;
    let follower = if cluster.leader().await == 1 { 2 } else { 1 };
    let region = |text: &str, bytes: usize| {
        let region = reeve_domain::group::Region {
            name: name(text),
            display_name: "x".repeat(bytes),
        };
        entry(Actor::Pilot, None, Command::CreateRegion(region))
    };
    let refused = cluster.say(follower, region("huge", 2 << 20)).await;
    assert!(
        matches!(refused.outcome, Err(Refusal::BadField { .. })),
        "{refused:?}"
    );
    let names: Vec<String> = (0..60).map(|n| format!("r{n}")).collect();
    let all = names
        .iter()
        .map(|text| cluster.say(follower, region(text, 900 << 10)));
    for said in futures::future::join_all(all).await {
        // What the domain makes of it is its own business; it was decided, on every node.
        assert!(!matches!(said.outcome, Err(Refusal::Unauthenticated(_))));
    }
    let revision = cluster.nodes[&follower].consensus.published().state.revision;
    for id in 1..=3 {
        cluster
            .wait_until(id, |node| node.published().state.revision >= revision)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_leader_holds_nobody_up() {
    let cluster = Cluster::of_three(1000).await;
    let frozen = cluster.leader().await;
    let other = if frozen == 1 { 2 } else { 1 };
    let node = &cluster.nodes[&other].consensus;
    // It is warm: its channels are open.
    cluster.region(other, "vn", None).await;
    node.read(Level::Linearizable, soon()).await.unwrap();

    let thaws = cluster.freeze(frozen, Duration::from_secs(8));
    let (written, read, asked) = tokio::join!(
        cluster.region(other, "eu", Some("r-1")),
        node.read(Level::Linearizable, soon()),
        node.ask(b"you".as_slice().into()),
    );
    assert!(thaws.try_recv().is_err(), "they waited until it thawed");
    assert!(written.outcome.is_ok(), "{written:?}");
    assert!(read.unwrap().state().regions.contains_key(&name("vn")));
    assert_eq!(asked, Err(Unavailable::NoLeader));

    // What it comes back to is what the others decided.
    cluster
        .wait_until(frozen, |node| {
            node.published().state.regions.contains_key(&name("eu"))
        })
        .await;
    let old = &cluster.nodes[&frozen].consensus;
    let view = old.read(Level::Linearizable, soon()).await.unwrap();
    assert_eq!(view.state().hash(), node.published().state.hash());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_is_not_dialled_without_a_pause() {
    let mut cluster = Cluster::of_three(1000).await;
    let leader = cluster.leader().await;
    let dead = if leader == 3 { 2 } else { 3 };
    cluster.kill(dead).await;
    let door = tokio::net::TcpListener::bind(cluster.address(dead))
        .await
        .unwrap();
    let begun = std::time::Instant::now();
    let (mut dials, mut writes) = (0, 0);
    while writes < 150 {
        let region = format!("r{writes}");
        let written = cluster.region(leader, &region, None);
        tokio::pin!(written);
        loop {
            tokio::select! {
                said = &mut written => {
                    assert!(said.outcome.is_ok());
                    break;
                }
                dial = door.accept() => {
                    drop(dial);
                    dials += 1;
                }
            }
        }
        writes += 1;
    }
    // Beats, words of the leader and replication: each a few times a second.
    let most = 20 + begun.elapsed().as_millis() / 20;
    assert!(dials <= most, "{dials} dials in {:?}", begun.elapsed());
}
