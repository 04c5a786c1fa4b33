//! Who would rather not be sent where nobody comes in hears one reason, whether for one tenant or for many.

use reeve_proto::v1::group_service_client::GroupServiceClient;
use reeve_proto::v1::resolver_service_client::ResolverServiceClient;
use reeve_proto::v1::session_request::{Health, Message as Up};

use super::hand::{Hand, ONBOARD, onboarding, said, wait_for};
use super::*;

/// What each call says of a tenant: a reason, or that it is there.
async fn told(world: &World, require_ready: bool) -> [&'static str; 2] {
    let mut resolver = ResolverServiceClient::new(world.channel_as(ADMIN));
    let alone = v1::ResolveRequest {
        claim: slug("cho-ray"),
        require_ready,
        ..Default::default()
    };
    let among = v1::BatchResolveRequest {
        claims: slug("cho-ray").into_iter().collect(),
        require_ready,
        ..Default::default()
    };
    let alone = resolver.resolve(alone).await;
    let among = resolver.batch_resolve(among).await.unwrap().into_inner();
    let item = &among.items[0];
    assert_ne!(item.resolution.is_some(), item.reason != 0, "{item:?}");
    let among = match &item.resolution {
        Some(there) if there.write.is_some() => "there",
        Some(_) => "there, without a host",
        None => reeve_proto::error::word(item.reason()),
    };
    [alone.map_or_else(|status| reason(&status), |_| "there"), among]
}

/// Says that the tenant's services are turned away, until it is written down.
async fn turned_away(world: &World, hand: &mut Hand, tenant: &str) {
    let not_ready = v1::NotReady {
        cause: v1::not_ready::Cause::TurnedAway.into(),
        detail: "28000".into(),
        ..Default::default()
    };
    let health = v1::TenantHealth {
        tenant_id: tenant.into(),
        tried: Some(prost_types::Duration::default()),
        not_ready: Some(not_ready),
        ..Default::default()
    };
    let health = Health {
        tenants: vec![health],
    };
    hand.up.send(said(Up::Health(health))).await.unwrap();
    wait_for(world, |state| {
        state.tenants.values().any(|tenant| tenant.unready.is_some())
    })
    .await;
}

#[tokio::test]
async fn one_tenant_has_one_reason_in_both_calls_and_not_serving_comes_first() {
    let (world, mut hand, created) = onboarding("cho-ray").await;
    // While it is made it does not serve yet.
    assert_eq!(told(&world, true).await, ["TENANT_NOT_SERVING"; 2]);
    hand.carry_out(&ONBOARD).await;
    wait_for(&world, |state| state.open.is_empty()).await;
    assert_eq!(told(&world, true).await, ["there"; 2]);

    turned_away(&world, &mut hand, &created.tenant.unwrap().id).await;
    assert_eq!(told(&world, false).await, ["there"; 2]);
    assert_eq!(told(&world, true).await, ["TENANT_NOT_READY"; 2]);

    let fence = v1::FenceGroupRequest {
        request_id: id(),
        group: "vn-1".into(),
        reason: "maintenance".into(),
        confirm: "vn-1".into(),
    };
    let mut groups = GroupServiceClient::new(world.channel_as(ADMIN));
    groups.fence_group(fence).await.unwrap();
    // It is not ready still, and that is not why nobody is sent there.
    assert!(
        world
            .state()
            .tenants
            .values()
            .any(|tenant| tenant.unready.is_some())
    );
    assert_eq!(told(&world, true).await, ["TENANT_NOT_SERVING"; 2]);
    let shown = told(&world, false).await;
    assert_eq!(shown, ["TENANT_NOT_SERVING", "there, without a host"]);
}
