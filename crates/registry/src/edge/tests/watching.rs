use reeve_proto::v1::access_service_client::AccessServiceClient;
use reeve_proto::v1::group_service_client::GroupServiceClient;
use reeve_proto::v1::resolver_service_client::ResolverServiceClient;
use reeve_proto::v1::watch_response::Event;
use tonic::Streaming;

use super::hand::{ONBOARD, onboarding, resolve, wait_for};
use super::*;

async fn next(watch: &mut Streaming<v1::WatchResponse>) -> Result<Event, Status> {
    let message = tokio::time::timeout(PATIENCE, watch.message())
        .await
        .expect("the stream is silent")?;
    Ok(message.expect("the stream goes on").event.expect("an event"))
}

/// The next event that is no bookmark.
async fn news(watch: &mut Streaming<v1::WatchResponse>) -> Event {
    loop {
        match next(watch).await.unwrap() {
            Event::Bookmark(_) => {}
            event => return event,
        }
    }
}

#[tokio::test]
async fn a_stream_that_resumes_gets_everything_after_and_nothing_twice() {
    let (world, mut hand, _) = onboarding("cho-ray").await;
    let mut resolver = ResolverServiceClient::new(world.channel_as(ADMIN));
    let mut first = resolver
        .watch(v1::WatchRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(matches!(next(&mut first).await.unwrap(), Event::Initial(_)));
    let Event::InitialDone(done) = next(&mut first).await.unwrap() else {
        panic!("the state has no end")
    };
    drop(first);

    hand.carry_out(&ONBOARD).await;
    let mut groups = GroupServiceClient::new(world.channel_as(ADMIN));
    let fence = v1::FenceGroupRequest {
        request_id: id(),
        group: "vn-1".into(),
        reason: "maintenance".into(),
        confirm: "vn-1".into(),
    };
    let fenced = groups
        .fence_group(fence)
        .await
        .unwrap()
        .into_inner()
        .group
        .unwrap();
    assert_eq!((fenced.fenced, fenced.epoch), (true, 2));

    let again = v1::WatchRequest {
        after_revision: done.revision,
        ..Default::default()
    };
    let mut second = resolver.watch(again).await.unwrap().into_inner();
    let (mut last, mut hosts) = (done.revision, Vec::new());
    loop {
        let Event::Delta(delta) = news(&mut second).await else {
            panic!("something other than a change")
        };
        assert!(delta.revision > last);
        last = delta.revision;
        let resolution = &delta.changed[0];
        hosts.push(resolution.write.is_some());
        if resolution.epoch == 2 {
            break;
        }
    }
    assert_eq!(
        hosts.iter().filter(|named| **named).count(),
        1,
        "named while it served, and not when fenced"
    );
    assert_eq!(hosts.last(), Some(&false));
    let refused = resolver.resolve(resolve("cho-ray")).await.unwrap_err();
    assert_eq!(reason(&refused), "TENANT_NOT_SERVING");

    // What is shown as delivered can be resumed from.
    let bookmark = loop {
        if let Event::Bookmark(bookmark) = next(&mut second).await.unwrap() {
            let freshness = bookmark.freshness.unwrap();
            assert_eq!(freshness.stale, freshness.staleness.is_none());
            // While another change is on its way, nobody knows yet.
            if !freshness.stale {
                break freshness;
            }
        }
    };
    assert!(bookmark.revision >= last);
    wait_for(&world, |state| state.revision.0 >= last).await;
}

#[tokio::test]
async fn a_start_behind_the_history_is_told_to_begin_again() {
    let world = World::founded().await;
    world.rooms.hub.restart_after(reeve_domain::Revision(50));
    let mut resolver = ResolverServiceClient::new(world.channel_as(ADMIN));
    let old = v1::WatchRequest {
        after_revision: 7,
        ..Default::default()
    };
    let mut watch = resolver.watch(old).await.unwrap().into_inner();
    let Event::Compacted(compacted) = next(&mut watch).await.unwrap() else {
        panic!("it was not told")
    };
    assert_eq!(compacted.oldest_revision, 51);
    assert!(watch.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_revoked_watcher_hears_so_and_no_more() {
    let world = World::founded().await;
    let mut resolver = ResolverServiceClient::new(enrol(&world, v1::Role::Service, "ehr", &[]).await);
    let mut watch = resolver
        .watch(v1::WatchRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(matches!(
        watch.message().await.unwrap().unwrap().event,
        Some(Event::InitialDone(_))
    ));
    let mut access = AccessServiceClient::new(world.channel_as(ADMIN));
    let revoke = |who: &str| v1::RevokePrincipalRequest {
        request_id: id(),
        principal_id: who.into(),
        reason: "left".into(),
        confirm: who.into(),
    };
    access
        .revoke_principal(revoke("spiffe://hospital/svc/ehr"))
        .await
        .unwrap();
    let ended = loop {
        match tokio::time::timeout(PATIENCE, watch.message())
            .await
            .expect("the stream goes on")
        {
            Ok(message) => assert!(matches!(message.unwrap().event, Some(Event::Bookmark(_)))),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&ended), "PRINCIPAL_REVOKED");
    assert_eq!(
        reason(&resolver.resolve(resolve("x")).await.unwrap_err()),
        "PRINCIPAL_REVOKED"
    );
    assert_eq!(
        reason(&access.revoke_principal(revoke(ADMIN)).await.unwrap_err()),
        "LAST_ADMIN"
    );
}

/// etcd 20221, and a node that lags behind the one that was watched before: nothing old is told, and the watcher hears
/// that this node is not there yet.
#[tokio::test]
async fn a_start_ahead_of_this_node_is_sent_elsewhere() {
    let world = World::founded().await;
    let mut resolver = ResolverServiceClient::new(world.channel_as(ADMIN));
    let ahead = v1::WatchRequest {
        after_revision: world.state().revision.0 + 1_000,
        ..Default::default()
    };
    let mut watch = resolver.watch(ahead).await.unwrap().into_inner();
    let refused = next(&mut watch).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_CAUGHT_UP");
    assert!(reeve_proto::error::info(&refused).retry_after.is_some());
}

/// GHSA-xg4h-6gfc-h4m8 and what is like it: rights are looked at when a change is delivered, and they are those of the
/// change's own moment even when watchers are told of it before State is published.
#[tokio::test]
async fn a_change_that_comes_with_a_revocation_is_not_delivered() {
    let world = World::founded().await;
    let mut resolver = ResolverServiceClient::new(enrol(&world, v1::Role::Service, "ehr", &[]).await);
    let mut watch = resolver
        .watch(v1::WatchRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(matches!(next(&mut watch).await.unwrap(), Event::InitialDone(_)));

    // The next change is told, and its State is not published yet.
    let gone = reeve_domain::TenantId::parse("t_000000000000").unwrap();
    let upcoming = world.state().revision.next();
    world
        .rooms
        .hub
        .publish(upcoming, vec![reeve_domain::Event::Gone(gone)]);
    let mut groups = GroupServiceClient::new(world.channel_as(ADMIN));
    for _ in 0..20 {
        groups
            .list_regions(v1::ListRegionsRequest::default())
            .await
            .unwrap();
    }
    // It takes the rights away.
    let mut access = AccessServiceClient::new(world.channel_as(ADMIN));
    let revoke = v1::RevokePrincipalRequest {
        request_id: id(),
        principal_id: "spiffe://hospital/svc/ehr".into(),
        reason: "left".into(),
        confirm: "spiffe://hospital/svc/ehr".into(),
    };
    access.revoke_principal(revoke).await.unwrap();
    let ended = loop {
        match next(&mut watch).await {
            Ok(Event::Bookmark(bookmark)) => assert!(bookmark.freshness.unwrap().revision < upcoming.0),
            Ok(event) => panic!("it was told {event:?}"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&ended), "PRINCIPAL_REVOKED");
}

/// etcd 15220, from the other side: what concerns others does not keep a stream silent.
#[tokio::test]
async fn a_stream_that_sees_nothing_hears_how_far_it_has_come_while_others_change() {
    let world = World::founded().await;
    let mut groups = GroupServiceClient::new(world.channel_as(ADMIN));
    for number in 0..10 {
        let region = v1::CreateRegionRequest {
            request_id: id(),
            region: Some(v1::Region {
                name: format!("r-{number}"),
                ..Default::default()
            }),
        };
        groups.create_region(region).await.unwrap();
    }
    let created = world.state().revision;
    let mut resolver = ResolverServiceClient::new(world.channel_as(ADMIN));
    let behind = v1::WatchRequest {
        after_revision: 2,
        bookmark_interval: prost_types::Duration::try_from(Duration::from_millis(100)).ok(),
        ..Default::default()
    };
    let mut watch = resolver.watch(behind).await.unwrap().into_inner();
    loop {
        match next(&mut watch).await.unwrap() {
            Event::Bookmark(bookmark) if bookmark.freshness.unwrap().revision >= created.0 => break,
            Event::Bookmark(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Those who see everything share what is encoded once; who sees some of it gets its own, and only that.
#[tokio::test]
async fn a_limited_watcher_hears_of_its_own_tenants_beside_those_who_hear_of_all() {
    let (world, mut hand, _) = onboarding("cho-ray").await;
    let scoped = enrol(&world, v1::Role::Service, "ehr", &["cho-ray"]).await;
    let whole = enrol(&world, v1::Role::Service, "lab", &[]).await;
    let after_revision = world.state().revision.0;
    let mut streams = Vec::new();
    for channel in [scoped, whole, world.channel_as(ADMIN)] {
        let request = v1::WatchRequest {
            after_revision,
            ..Default::default()
        };
        let mut resolver = ResolverServiceClient::new(channel);
        streams.push(resolver.watch(request).await.unwrap().into_inner());
    }
    let mut tenants =
        reeve_proto::v1::tenant_service_client::TenantServiceClient::new(world.channel_as(ADMIN));
    hand.carry_out(&ONBOARD).await;
    tenants.create_tenant(wanted("bach-mai")).await.unwrap();
    let suspend = v1::SuspendTenantRequest {
        request_id: id(),
        tenant: "cho-ray".into(),
        ..Default::default()
    };
    tenants.suspend_tenant(suspend).await.unwrap();

    let mut heard = Vec::new();
    for stream in &mut streams {
        let (mut slugs, mut has_served) = (Vec::new(), false);
        loop {
            let Event::Delta(delta) = news(stream).await else {
                panic!("something other than a change")
            };
            let changed = &delta.changed[0];
            slugs.push(changed.slug.clone());
            if changed.slug == "cho-ray" {
                if has_served && changed.write.is_none() {
                    break;
                }
                has_served |= changed.write.is_some();
            }
        }
        heard.push(slugs);
    }
    assert!(heard[0].iter().all(|slug| slug == "cho-ray"), "{heard:?}");
    assert!(heard[1].contains(&"bach-mai".to_owned()));
    assert_eq!(heard[1], heard[2]);
}
