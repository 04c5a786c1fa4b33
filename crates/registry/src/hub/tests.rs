use reeve_domain::{Event, Revision};

use super::{Hub, HubItem, QUEUE_MAX, WINDOW_MAX};

fn fill(hub: &Hub, revisions: std::ops::RangeInclusive<u64>) {
    for revision in revisions {
        hub.publish(Revision(revision), vec![Event::Node]);
    }
}

async fn revision(stream: &mut super::HubStream) -> u64 {
    match stream.next().await {
        Some(HubItem::Batch(batch)) => batch.revision.0,
        other => panic!("no batch: {other:?}"),
    }
}

#[tokio::test]
async fn a_stream_resumes_anywhere_in_the_window_and_misses_nothing() {
    let hub = Hub::default();
    fill(&hub, 1..=3_000);
    let mut stream = hub.watch(Revision(7)).unwrap();
    for expected in 8..=3_000 {
        assert_eq!(revision(&mut stream).await, expected);
    }
    fill(&hub, 3_001..=3_001);
    assert_eq!(revision(&mut stream).await, 3_001);
}

#[tokio::test]
async fn a_stream_from_the_future_waits_for_it() {
    let hub = Hub::default();
    fill(&hub, 1..=1);
    let mut stream = hub.watch(Revision(2)).unwrap();
    fill(&hub, 2..=3);
    assert_eq!(revision(&mut stream).await, 3);
}

#[tokio::test]
async fn a_slow_consumer_hears_that_it_lagged_and_where_to_resume() {
    let hub = Hub::default();
    let mut stream = hub.watch(Revision(0)).unwrap();
    fill(&hub, 1..=1);
    assert_eq!(revision(&mut stream).await, 1);
    fill(&hub, 2..=(QUEUE_MAX as u64 + 2));
    let Some(HubItem::Lagged { resume_after }) = stream.next().await else {
        panic!("did not lag")
    };
    assert_eq!(resume_after, Revision(1));
    assert!(stream.next().await.is_none());
    assert_eq!(revision(&mut hub.watch(resume_after).unwrap()).await, 2);
}

#[tokio::test]
async fn a_start_behind_the_window_is_compacted() {
    let hub = Hub::default();
    fill(&hub, 1..=(WINDOW_MAX as u64 + 5));
    assert_eq!(hub.watch(Revision(4)).err().unwrap().oldest, Revision(6));
    assert!(hub.watch(Revision(5)).is_ok());
}

#[tokio::test]
async fn a_snapshot_in_between_is_told_to_open_streams() {
    let hub = Hub::default();
    let mut stream = hub.watch(Revision(0)).unwrap();
    fill(&hub, 1..=1);
    assert_eq!(revision(&mut stream).await, 1);
    fill(&hub, 50..=50);
    let Some(HubItem::Lagged { resume_after }) = stream.next().await else {
        panic!("did not lag")
    };
    assert_eq!(resume_after, Revision(1));
    assert!(hub.watch(Revision(1)).is_err());
    hub.restart_after(Revision(60));
    assert!(hub.watch(Revision(59)).is_err());
    fill(&hub, 55..=61);
    assert_eq!(revision(&mut hub.watch(Revision(60)).unwrap()).await, 61);
}

#[tokio::test]
async fn a_replay_is_not_told_twice() {
    let hub = Hub::default();
    fill(&hub, 1..=5);
    fill(&hub, 1..=6);
    let mut stream = hub.watch(Revision(0)).unwrap();
    for expected in 1..=6 {
        assert_eq!(revision(&mut stream).await, expected);
    }
}

#[tokio::test]
async fn a_change_is_encoded_once_for_each_network_while_it_is_new() {
    let hub = Hub::default();
    let mut stream = hub.watch(Revision(0)).unwrap();
    fill(&hub, 1..=1);
    let Some(HubItem::Batch(batch)) = stream.next().await else {
        panic!("no batch")
    };
    let once = || Some(bytes::Bytes::from_static(b"once"));
    let first = batch.wire("default", once).unwrap();
    let second = batch.wire("default", || unreachable!("encoded again")).unwrap();
    assert_eq!(first.as_ptr(), second.as_ptr());
    assert_eq!(batch.wire("vpn", || None), None);
    assert_eq!(batch.wire("vpn", || unreachable!("encoded again")), None);

    // Nobody who is up to date wants it any more: it is not kept beside the events.
    fill(&hub, 2..=(QUEUE_MAX as u64 + 1));
    let mut encoded = 0;
    for _ in 0..2 {
        batch.wire("default", || {
            encoded += 1;
            once()
        });
    }
    assert_eq!(encoded, 2);
}

/// What etcd got wrong, by the number of its report; raft.md of the research has the list.
mod as_etcd_did {
    use reeve_domain::TenantId;

    use super::*;

    fn gone() -> Event {
        Event::Gone(TenantId::parse("t_000000000000").unwrap())
    }

    /// 18089: deleted keys were missing after a compaction at the deletion.
    #[tokio::test]
    async fn a_history_that_begins_at_a_deletion_shows_it_or_says_that_it_does_not() {
        let hub = Hub::default();
        hub.publish(Revision(1), vec![Event::Node]);
        hub.publish(Revision(2), vec![gone()]);
        fill(&hub, 3..=(WINDOW_MAX as u64 + 1));
        assert_eq!(hub.watch(Revision(0)).err().unwrap().oldest, Revision(2));
        let mut stream = hub.watch(Revision(1)).unwrap();
        let Some(HubItem::Batch(batch)) = stream.next().await else {
            panic!("the deletion is missing")
        };
        assert_eq!(
            (batch.revision, &batch.events[..]),
            (Revision(2), [gone()].as_slice())
        );
        fill(&hub, (WINDOW_MAX as u64 + 2)..=(WINDOW_MAX as u64 + 2));
        assert_eq!(hub.watch(Revision(1)).err().unwrap().oldest, Revision(3));
        assert_eq!(revision(&mut hub.watch(Revision(2)).unwrap()).await, 3);
    }

    /// 19179: a start exactly at the compacted revision.
    #[tokio::test]
    async fn a_start_at_the_last_compacted_revision_misses_nothing() {
        let hub = Hub::default();
        hub.restart_after(Revision(50));
        assert!(hub.watch(Revision(49)).is_err());
        let mut stream = hub.watch(Revision(50)).unwrap();
        fill(&hub, 51..=52);
        assert_eq!(revision(&mut stream).await, 51);
        assert_eq!(revision(&mut stream).await, 52);
    }

    /// 20221: a start in the future got what came before it.
    #[tokio::test]
    async fn a_start_in_the_future_hears_nothing_of_the_past() {
        let hub = Hub::default();
        fill(&hub, 1..=3);
        let mut stream = hub.watch(Revision(10)).unwrap();
        for until in [4, 9, 10] {
            fill(&hub, until..=until);
            fill(&hub, 1..=until);
        }
        // After a gap the window begins anew: what lies before it cannot be told, and is not.
        fill(&hub, 11..=12);
        assert_eq!(revision(&mut stream).await, 11);
        assert_eq!(revision(&mut stream).await, 12);
    }

    /// 17529: a slow watcher lost events, and kept others from theirs.
    #[tokio::test]
    async fn a_slow_stream_loses_nothing_and_holds_up_nobody() {
        let hub = Hub::default();
        let (mut slow, mut quick) = (hub.watch(Revision(0)).unwrap(), hub.watch(Revision(0)).unwrap());
        fill(&hub, 1..=1);
        assert_eq!(revision(&mut slow).await, 1);
        let (mut heard, mut lagged) = (vec![1], 0);
        for next in 1..=5_000 {
            fill(&hub, next..=next);
            assert_eq!(revision(&mut quick).await, next);
            if next % 1_500 == 0 {
                loop {
                    match slow.next().await {
                        Some(HubItem::Batch(batch)) => heard.push(batch.revision.0),
                        Some(HubItem::Lagged { resume_after }) => {
                            lagged += 1;
                            slow = hub.watch(resume_after).unwrap();
                        }
                        None => panic!("it ended in silence"),
                    }
                    if heard.last() == Some(&next) {
                        break;
                    }
                }
            }
        }
        assert!(lagged >= 3, "it was told {lagged} times");
        assert_eq!(heard, (1..=4_500).collect::<Vec<_>>());
    }
}
