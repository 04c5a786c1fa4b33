//! What a node says of its own age, and how often it asks the leader for those who want none.

use std::time::Duration;

use futures::future::join_all;

use super::cluster::{Cluster, name, soon};
use crate::consensus::{Level, Unavailable};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_started_again_and_heard_nobody_flags_whatever_it_says() {
    let mut cluster = Cluster::of_three(1000).await;
    let written = cluster.region(1, "vn", None).await;
    cluster
        .wait_until(3, |own| own.published().state.revision >= written.revision)
        .await;
    // It is told its age while it hears the leader.
    cluster.wait_until(3, |own| own.staleness().is_some()).await;
    for id in [1, 2, 3] {
        cluster.stop(id).await;
    }
    cluster.start(3).await;
    let alone = &cluster.nodes[&3].consensus;
    let has = alone.published().state.revision;
    for level in [Level::Stale, Level::Bounded(HOUR), Level::AtLeast(has)] {
        let view = alone.read(level, soon()).await.unwrap();
        assert_eq!((view.staleness, view.stale), (None, true), "{level:?}");
    }
    let shortly = tokio::time::Instant::now() + Duration::from_millis(300);
    let refused = alone.read(Level::Linearizable, shortly).await.unwrap_err();
    assert_eq!(refused, Unavailable::NoLeader);
    let refused = alone.read(Level::AtLeast(has.next()), shortly).await.unwrap_err();
    assert_eq!(refused, Unavailable::NotCaughtUp { asked: has.next() });

    // With one more it is a majority: it recovers, knows its age, and has what was acknowledged.
    cluster.start(1).await;
    cluster.wait_until(3, |own| own.staleness().is_some()).await;
    let alone = &cluster.nodes[&3].consensus;
    let view = alone.read(Level::Bounded(HOUR), soon()).await.unwrap();
    assert!(!view.stale);
    let view = alone.read(Level::Linearizable, soon()).await.unwrap();
    assert!(view.state().regions.contains_key(&name("vn")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_readers_ask_the_leader_a_few_times() {
    const READERS: u64 = 1_000;
    let cluster = Cluster::of_three(1000).await;
    let leader = cluster.leader().await;
    let follower = if leader == 1 { 2 } else { 1 };
    for id in [leader, follower] {
        let node = &cluster.nodes[&id].consensus;
        let before = node.read_rounds();
        let reading = (0..READERS).map(|_| node.read(Level::Linearizable, soon()));
        for view in join_all(reading).await {
            assert!(!view.unwrap().stale);
        }
        let rounds = node.read_rounds() - before;
        assert!(
            (1..=READERS / 20).contains(&rounds),
            "node {id} asked {rounds} times"
        );
    }
    // The follower's rounds joined the leader's.
    assert!(cluster.nodes[&leader].consensus.read_rounds() <= READERS / 10);
}
