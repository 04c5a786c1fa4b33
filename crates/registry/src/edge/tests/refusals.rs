use std::num::NonZeroU32;

use reeve_proto::v1;
use reeve_proto::v1::access_service_client::AccessServiceClient;
use reeve_proto::v1::group_service_client::GroupServiceClient;
use reeve_proto::v1::resolver_service_client::ResolverServiceClient;
use reeve_proto::v1::tenant_service_client::TenantServiceClient;
use tonic::Code;

use super::hand::{Hand, wait_for};
use super::*;
use crate::config::{Rate, Rates};

#[tokio::test]
async fn a_bad_word_is_named_by_its_field() {
    let world = World::founded().await;
    let mut tenants = TenantServiceClient::new(world.channel_as(ADMIN));
    let field = |status: Status| {
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        reeve_proto::error::info(&status).metadata["field"].clone()
    };
    let mut odd = wanted("cho-ray");
    odd.request_id = String::new();
    assert_eq!(field(tenants.create_tenant(odd).await.unwrap_err()), "request_id");
    // Made on the first of January 2024; what it did then may be forgotten by now.
    odd = wanted("cho-ray");
    odd.request_id = "018cc251-f400-7000-8000-000000000000".into();
    assert_eq!(field(tenants.create_tenant(odd).await.unwrap_err()), "request_id");
    let mut odd = wanted("Chợ Rẫy");
    odd.slug = "Chợ Rẫy".into();
    assert_eq!(field(tenants.create_tenant(odd).await.unwrap_err()), "slug");
    let odd = v1::ListTenantsRequest {
        state: v1::tenant::State::Deleted as i32,
        ..Default::default()
    };
    assert_eq!(field(tenants.list_tenants(odd).await.unwrap_err()), "state");
    let odd = v1::UpdateTenantRequest {
        request_id: id(),
        ..Default::default()
    };
    assert_eq!(field(tenants.update_tenant(odd).await.unwrap_err()), "tenant");

    let mut resolver = ResolverServiceClient::new(world.channel_as(ADMIN));
    assert_eq!(
        field(resolver.resolve(v1::ResolveRequest::default()).await.unwrap_err()),
        "claim"
    );
    let mut groups = GroupServiceClient::new(world.channel_as(ADMIN));
    let odd = v1::CreateRegionRequest {
        request_id: id(),
        region: Some(v1::Region {
            name: "Việt".into(),
            ..Default::default()
        }),
    };
    assert_eq!(field(groups.create_region(odd).await.unwrap_err()), "region.name");
}

#[tokio::test]
async fn a_page_token_is_good_for_its_own_query() {
    let world = World::founded().await;
    enrol(&world, v1::Role::Service, "ehr", &[]).await;
    let mut access = AccessServiceClient::new(world.channel_as(ADMIN));
    let page = |page_token: String| v1::ListPrincipalsRequest {
        page_size: 1,
        page_token,
        ..Default::default()
    };
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let shown = access
            .list_principals(page(token.clone()))
            .await
            .unwrap()
            .into_inner();
        seen.extend(shown.principals.into_iter().map(|p| p.id));
        if shown.next_page_token.is_empty() {
            break;
        }
        token = shown.next_page_token;
    }
    assert_eq!(seen.len(), world.state().principals.len());

    let mut groups = GroupServiceClient::new(world.channel_as(ADMIN));
    let other = v1::ListGroupsRequest {
        page_token: token,
        ..Default::default()
    };
    let refused = groups.list_groups(other).await.unwrap_err();
    assert_eq!(reeve_proto::error::info(&refused).metadata["field"], "page_token");
}

#[tokio::test]
async fn where_nothing_can_be_placed_each_group_says_why() {
    let world = World::founded().await;
    let mut tenants = TenantServiceClient::new(world.channel_as(ADMIN));
    let refused = tenants.create_tenant(wanted("cho-ray")).await.unwrap_err();
    assert_eq!(reason(&refused), "NO_CAPACITY");
    assert_eq!(refused.message(), "region vn has no group; add an agent there");
    let channel = join_agent(&world, "vn-1").await;
    let first = wanted("cho-ray");
    let refused = tenants.create_tenant(first.clone()).await.unwrap_err();
    assert_eq!(reeve_proto::error::info(&refused).metadata["region"], "vn");
    assert_eq!(
        refused.message(),
        "no group in region vn takes a shared tenant: vn-1 is not ready yet; mend that, or add an agent there"
    );
    let mut rehearsed = wanted("cho-ray");
    rehearsed.validate_only = true;
    let rehearsed = tenants.create_tenant(rehearsed).await.unwrap_err();
    assert_eq!(rehearsed.message(), refused.message());

    let _hand = Hand::dial(channel).await;
    wait_for(&world, |state| {
        let mut members = state.groups.values().flat_map(|group| &group.members);
        members.any(|member| member.facts.postgres_up)
    })
    .await;
    let again = tenants.create_tenant(first).await.unwrap_err();
    assert!(again.message().contains("ask with a new request_id"), "{again}");
    assert!(tenants.create_tenant(wanted("cho-ray")).await.is_ok());
}

#[tokio::test]
async fn who_comes_too_fast_is_told_when_to_come_back() {
    let one = NonZeroU32::MIN;
    let world = World::with_rates(Rates {
        read: Rate {
            per_second: one,
            burst: one,
        },
        ..Rates::default()
    })
    .await;
    let mut groups = GroupServiceClient::new(world.channel_as(ADMIN));
    assert!(
        groups
            .list_regions(v1::ListRegionsRequest::default())
            .await
            .is_ok()
    );
    let refused = groups
        .list_regions(v1::ListRegionsRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::ResourceExhausted, "RATE_LIMITED")
    );
    assert!(reeve_proto::error::info(&refused).retry_after.is_some());
    assert_eq!(world.rooms.metrics.ratelimit_rejections.get(), 1);
}
