//! Listings go on where the page before ended: nothing is missing, nothing comes twice, whatever begins meanwhile.

use reeve_proto::error::info;
use reeve_proto::v1::group_service_client::GroupServiceClient;
use reeve_proto::v1::operation_service_client::OperationServiceClient;
use reeve_proto::v1::tenant_service_client::TenantServiceClient;

use super::hand::onboarding;
use super::*;

const MORE: usize = 10;

fn operations(page_token: String) -> v1::ListOperationsRequest {
    v1::ListOperationsRequest {
        page_size: 3,
        page_token,
        ..Default::default()
    }
}

#[tokio::test]
async fn operations_are_listed_once_the_newest_first_also_while_others_begin_and_end() {
    let (world, mut hand, _) = onboarding("t").await;
    let mut tenants = TenantServiceClient::new(world.channel_as(ADMIN));
    for number in 0..MORE {
        tenants
            .create_tenant(wanted(&format!("t-{number}")))
            .await
            .unwrap();
    }
    let mut known: Vec<_> = world.state().operations.values().cloned().collect();
    known.sort_by(|one, two| two.created.cmp(&one.created).then_with(|| one.id.cmp(&two.id)));
    let known: Vec<_> = known.iter().map(|operation| operation.id.to_string()).collect();

    let mut asked = OperationServiceClient::new(world.channel_as(ADMIN));
    let (mut seen, mut token) = (Vec::new(), String::new());
    let mut number = 0;
    loop {
        let page = asked
            .list_operations(operations(token))
            .await
            .unwrap()
            .into_inner();
        seen.extend(page.operations.into_iter().map(|operation| operation.id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        // What begins now is newer than all that is still to come; what goes on stays where it is.
        tenants
            .create_tenant(wanted(&format!("later-{number}")))
            .await
            .unwrap();
        let order = hand.order().await;
        hand.report(&order, v1::step_report::Outcome::Done, order.epoch)
            .await;
        number += 1;
    }
    // Two that began in one millisecond are in the order of their ids.
    seen.retain(|id| known.contains(id));
    assert_eq!(seen, known);

    let first = asked
        .list_operations(operations(String::new()))
        .await
        .unwrap()
        .into_inner();
    let newest = first.operations[0].id.clone();
    assert!(
        !known.contains(&newest),
        "a listing that begins now begins with the newest"
    );
    let other = v1::ListOperationsRequest {
        tenant: "t".into(),
        ..operations(first.next_page_token)
    };
    let refused = asked.list_operations(other).await.unwrap_err();
    assert_eq!(info(&refused).metadata["field"], "page_token");
}

#[tokio::test]
async fn groups_are_listed_once_in_order() {
    let world = World::founded().await;
    for name in ["vn-2", "vn-10", "vn-1", "a"] {
        join_agent(&world, name).await;
    }
    let mut asked = GroupServiceClient::new(world.channel_as(ADMIN));
    let page = |region: &str, page_token: String| v1::ListGroupsRequest {
        page_size: 1,
        page_token,
        region: region.into(),
        ..Default::default()
    };
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let shown = asked.list_groups(page("", token)).await.unwrap().into_inner();
        seen.extend(shown.groups.into_iter().map(|group| group.name));
        token = shown.next_page_token;
        if token.is_empty() {
            break;
        }
        if seen.len() == 2 {
            let refused = asked.list_groups(page("vn", token.clone())).await.unwrap_err();
            assert_eq!(info(&refused).metadata["field"], "page_token");
        }
    }
    assert_eq!(seen, ["a", "vn-1", "vn-10", "vn-2"]);
}
