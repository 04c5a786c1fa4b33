//! Everybody lists at once after a restart: so many at a time, and whoever does not read gives up its turn.

use reeve_proto::v1::resolver_service_client::ResolverServiceClient;
use reeve_proto::v1::tenant_service_client::TenantServiceClient;
use reeve_proto::v1::watch_response::Event;
use tonic::Streaming;

use super::hand::onboarding_in;
use super::*;
use crate::config::Limits;

/// More than fit into what waits for the network of one watcher: a queue of 64, and a chunk of 32 KiB.
const TENANTS: usize = 400;

async fn watch(channel: Channel) -> Streaming<v1::WatchResponse> {
    let request = v1::WatchRequest {
        bookmark_interval: prost_types::Duration::try_from(Duration::from_millis(100)).ok(),
        ..Default::default()
    };
    let mut resolver = ResolverServiceClient::new(channel);
    resolver.watch(request).await.unwrap().into_inner()
}

async fn next(watch: &mut Streaming<v1::WatchResponse>) -> Event {
    let message = tokio::time::timeout(PATIENCE, watch.message()).await;
    let message = message.expect("the stream is silent").unwrap();
    message.expect("the stream goes on").event.unwrap()
}

/// Reads a listing to its end; how many tenants were in it.
async fn list(watch: &mut Streaming<v1::WatchResponse>) -> usize {
    let mut listed = 0;
    loop {
        match next(watch).await {
            Event::Initial(_) => listed += 1,
            Event::InitialDone(_) => return listed,
            Event::Bookmark(bookmark) => assert_eq!(bookmark.freshness.unwrap().revision, 0),
            other => panic!("{other:?} in a listing"),
        }
    }
}

async fn world(listings: usize, listings_per_principal: usize) -> World {
    let limits = Limits {
        listings,
        listings_per_principal,
        ..Limits::default()
    };
    let (world, _hand, _) = onboarding_in(World::with_limits(limits).await, "t-0").await;
    let mut tenants = TenantServiceClient::new(world.channel_as(ADMIN));
    for number in 1..TENANTS {
        tenants
            .create_tenant(wanted(&format!("t-{number}")))
            .await
            .unwrap();
    }
    world
}

#[tokio::test]
async fn many_who_list_at_once_all_get_their_turn() {
    let world = world(1, 1).await;
    let channel = world.channel_as(ADMIN);
    let listing = (0..40).map(|_| async {
        let mut stream = watch(channel.clone()).await;
        list(&mut stream).await
    });
    for listed in futures::future::join_all(listing).await {
        assert_eq!(listed, TENANTS);
    }
}

#[tokio::test]
async fn who_waits_for_a_turn_hears_that_the_node_lives_and_who_does_not_read_loses_it() {
    let world = world(1, 1).await;
    let mut idle = watch(world.narrow_channel_as(ADMIN)).await;
    assert!(matches!(next(&mut idle).await, Event::Initial(_)));

    // The turn is taken: this one waits, and hears so.
    let mut waiting = watch(world.channel_as(ADMIN)).await;
    let Event::Bookmark(bookmark) = next(&mut waiting).await else {
        panic!("it did not wait")
    };
    assert_eq!(bookmark.freshness.unwrap().revision, 0);
    assert_eq!(list(&mut waiting).await, TENANTS);

    // By then the other one has lost its turn, and is told to begin again.
    loop {
        match next(&mut idle).await {
            Event::Initial(_) => {}
            Event::Lagged(lagged) => {
                assert_eq!(lagged.resume_after_revision, 0);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn one_principal_does_not_take_all_turns_and_another_lists_at_once() {
    let world = world(2, 1).await;
    let other = enrol(&world, v1::Role::Service, "ehr", &[]).await;
    // It reads nothing more, and keeps its turn for a while; what comes behind it waits in its own line.
    let mut idle = watch(world.narrow_channel_as(ADMIN)).await;
    assert!(matches!(next(&mut idle).await, Event::Initial(_)));
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut more = watch(world.narrow_channel_as(ADMIN)).await;
        assert!(matches!(next(&mut more).await, Event::Bookmark(_)));
        waiting.push(more);
    }
    let mut quick = watch(other).await;
    let first = next(&mut quick).await;
    assert!(matches!(first, Event::Initial(_)), "it waits: {first:?}");
    assert_eq!(list(&mut quick).await, TENANTS - 1);
}
