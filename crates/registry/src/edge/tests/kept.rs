//! What an agent is told to keep, and what it is not told again.

use reeve_domain::record::Said;
use reeve_domain::words::Name;
use reeve_domain::{Revision, State, TenantId};
use reeve_proto::v1::tenant_service_client::TenantServiceClient;

use super::hand::{ONBOARD, onboarding, wait_for};
use super::*;
use crate::edge::agent::records::Told;

/// The tenants that a look finds to be told anew, each with its revision.
fn look(told: &mut Told, state: &State) -> Vec<(TenantId, Revision)> {
    let agent = Name::parse("vn-1").unwrap();
    let group = state.group_of_agent(&agent).unwrap();
    let lacking = told.lacking(state, group, &agent).into_iter().flatten();
    let tenants = lacking.filter_map(|(revision, said)| match said {
        Said::Hosts(hosted) => Some((hosted.id, revision)),
        Said::Group(_) | Said::Gone(_) => None,
    });
    tenants.collect()
}

#[tokio::test]
async fn a_host_is_told_again_only_of_what_its_record_holds() {
    let (world, mut hand, created) = onboarding("cho-ray").await;
    hand.carry_out(&ONBOARD).await;
    let id = TenantId::parse(&created.tenant.unwrap().id).unwrap();
    let is_free = |state: &State| state.tenants[&id].operation.is_none();
    wait_for(&world, is_free).await;
    let mut told = Told::parse(&[]).unwrap();
    assert_eq!(
        look(&mut told, &world.state()).len(),
        1,
        "the first look tells all"
    );
    assert!(look(&mut told, &world.state()).is_empty());

    let mut tenants = TenantServiceClient::new(world.channel_as(ADMIN));
    let renamed = v1::UpdateTenantRequest {
        request_id: super::id(),
        tenant: Some(v1::Tenant {
            id: id.to_string(),
            display_name: "Chợ Rẫy".into(),
            ..Default::default()
        }),
        update_mask: vec!["display_name".into()],
    };
    let before = world.state().tenants[&id].modified;
    tenants.update_tenant(renamed).await.unwrap();
    assert!(world.state().tenants[&id].modified > before);
    assert!(
        look(&mut told, &world.state()).is_empty(),
        "no record has its display name"
    );

    let suspended = v1::SuspendTenantRequest {
        request_id: super::id(),
        tenant: id.to_string(),
        reason: "its contract ended".into(),
        ..Default::default()
    };
    tenants.suspend_tenant(suspended).await.unwrap();
    let now = world.state().tenants[&id].modified;
    assert_eq!(look(&mut told, &world.state()), [(id.clone(), now)]);
}
