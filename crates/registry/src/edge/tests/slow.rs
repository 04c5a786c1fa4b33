//! A watcher that does not read is told so once it does, loses nothing, and holds up nobody (etcd 17529).

use reeve_proto::v1::resolver_service_client::ResolverServiceClient;
use reeve_proto::v1::tenant_service_client::TenantServiceClient;
use reeve_proto::v1::watch_response::Event;
use tonic::Streaming;

use super::hand::onboarding;
use super::*;
use crate::hub::QUEUE_MAX;

/// More than a stream may be behind, and what waits for the network besides.
const CHANGES: usize = QUEUE_MAX + 400;

async fn watch(channel: Channel, after_revision: u64) -> Streaming<v1::WatchResponse> {
    let mut resolver = ResolverServiceClient::new(channel);
    let request = v1::WatchRequest {
        after_revision,
        ..Default::default()
    };
    resolver.watch(request).await.unwrap().into_inner()
}

/// Reads changes until one ends the stream, or so many new tenants have been heard of; the last word, if it came.
async fn read(
    watch: &mut Streaming<v1::WatchResponse>,
    heard: &mut Vec<(u64, String)>,
    wanted: usize,
) -> Option<u64> {
    while heard.len() < wanted {
        let message = tokio::time::timeout(PATIENCE, watch.message()).await;
        match message.expect("silence").unwrap().unwrap().event.unwrap() {
            Event::Delta(delta) => {
                assert_eq!((delta.changed.len(), delta.removed_tenant_ids.len()), (1, 0));
                heard.push((delta.revision, delta.changed[0].tenant_id.clone()));
            }
            Event::Lagged(lagged) => return Some(lagged.resume_after_revision),
            Event::Bookmark(_) => {}
            other => panic!("{other:?}"),
        }
    }
    None
}

#[tokio::test]
async fn a_slow_watcher_is_told_and_resumes_while_others_hear_everything() {
    let (world, _hand, _) = onboarding("t").await;
    let after = world.state().revision.0;
    let mut quick = watch(world.channel_as(ADMIN), after).await;
    let mut slow = watch(world.narrow_channel_as(ADMIN), after).await;

    let tenants = TenantServiceClient::new(world.channel_as(ADMIN));
    let creating = (0..CHANGES).map(|number| {
        let mut tenants = tenants.clone();
        async move { tenants.create_tenant(wanted(&format!("t-{number}"))).await }
    });
    let mut all = Vec::new();
    let (created, lagged) = tokio::join!(
        futures::future::try_join_all(creating),
        read(&mut quick, &mut all, CHANGES)
    );
    created.unwrap();
    assert_eq!(lagged, None, "nobody held it up");

    let mut heard = Vec::new();
    let resume_after = read(&mut slow, &mut heard, CHANGES)
        .await
        .expect("it was not told");
    assert_eq!(
        heard.last().map_or(after, |(revision, _)| *revision),
        resume_after
    );
    let mut again = watch(world.channel_as(ADMIN), resume_after).await;
    assert_eq!(read(&mut again, &mut heard, CHANGES).await, None);
    assert_eq!(heard, all, "nothing is missing, and nothing came twice");
}
