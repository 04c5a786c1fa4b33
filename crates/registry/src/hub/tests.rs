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

#[test]
fn an_event_is_encoded_once() {
    let batch = super::Batch::new(Revision(1), vec![Event::Node]);
    let first = batch.wire(0, |_| bytes::Bytes::from_static(b"once")).unwrap();
    let second = batch.wire(0, |_| unreachable!("encoded again")).unwrap();
    assert_eq!(
        (first.as_ptr(), batch.wire(1, |_| unreachable!()).is_none()),
        (second.as_ptr(), true)
    );
}
