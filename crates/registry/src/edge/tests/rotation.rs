//! Changing a tenant's credential: who is given which password, and who counts as holding it.

use reeve_proto::v1::database_service_client::DatabaseServiceClient;
use reeve_proto::v1::resolver_service_client::ResolverServiceClient;

use super::hand::{ONBOARD, onboarding, resolve, wait_for};
use super::*;

fn ask(tenant: &str, slot: &str, version: u64, instance: &str) -> v1::GetCredentialRequest {
    v1::GetCredentialRequest {
        tenant_id: tenant.into(),
        version,
        slot: slot.into(),
        instance: instance.into(),
    }
}

fn rotate(tenant: &str, leaked: bool) -> v1::RotateCredentialRequest {
    v1::RotateCredentialRequest {
        request_id: id(),
        tenant: tenant.into(),
        leaked,
        ..Default::default()
    }
}

#[tokio::test]
async fn the_next_password_is_for_the_agent_alone_until_it_is_published_and_then_for_everybody() {
    let (world, mut hand, created) = onboarding("cho-ray").await;
    hand.carry_out(&ONBOARD).await;
    wait_for(&world, |state| state.open.is_empty()).await;
    let tenant = created.tenant.unwrap().id;
    let mut agent = ResolverServiceClient::new(world.channel_as("spiffe://hospital/agent/vn-1"));
    let mut service = ResolverServiceClient::new(enrol(&world, v1::Role::Service, "ehr", &[]).await);
    let mut admin = DatabaseServiceClient::new(world.channel_as(ADMIN));
    let first = service
        .get_credential(ask(&tenant, "", 0, "p1"))
        .await
        .unwrap()
        .into_inner();

    let mut both = rotate(&tenant, true);
    both.grace = Some(prost_types::Duration {
        seconds: 60,
        nanos: 0,
    });
    assert_eq!(
        reason(&admin.rotate_credential(both).await.unwrap_err()),
        "BAD_FIELD"
    );
    let mut service_databases =
        DatabaseServiceClient::new(enrol(&world, v1::Role::Service, "lab", &[]).await);
    assert_eq!(
        reason(
            &service_databases
                .rotate_credential(rotate(&tenant, true))
                .await
                .unwrap_err()
        ),
        "PERMISSION_DENIED"
    );
    admin.rotate_credential(rotate(&tenant, true)).await.unwrap();
    assert_eq!(
        reason(&admin.rotate_credential(rotate(&tenant, true)).await.unwrap_err()),
        "OPERATION_IN_PROGRESS"
    );

    let order = hand.order().await;
    assert_eq!(order.name, "prepare_login");
    let next = agent
        .get_credential(ask(&tenant, "b", 2, ""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((next.role.clone(), next.version), (format!("{tenant}_b"), 2));
    assert_ne!(next.password, first.password);
    for (slot, version) in [("a", 2), ("b", 3)] {
        let refused = agent
            .get_credential(ask(&tenant, slot, version, ""))
            .await
            .unwrap_err();
        assert_eq!(reason(&refused), "FENCED", "slot {slot} v{version}");
    }
    let refused = service
        .get_credential(ask(&tenant, "b", 2, "p1"))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "PERMISSION_DENIED");
    let in_force = service
        .get_credential(ask(&tenant, "", 0, "p1"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        in_force.password, first.password,
        "it is in force before it is published"
    );

    use reeve_proto::v1::step_report::Outcome;
    assert_eq!(hand.report(&order, Outcome::Done, order.epoch).await, "");
    let published = service
        .get_credential(ask(&tenant, "", 0, "p1"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (&published.password, &published.role, published.version),
        (&next.password, &next.role, 2)
    );
    let former = service
        .get_credential(ask(&tenant, "", 1, "p1"))
        .await
        .unwrap_err();
    assert_eq!(reason(&former), "FENCED");
    let resolution = service
        .resolve(resolve("cho-ray"))
        .await
        .unwrap()
        .into_inner()
        .resolution
        .unwrap();
    assert_eq!((resolution.role, resolution.credential_version), (next.role, 2));
    hand.carry_out(&["retire_login"]).await;
    wait_for(&world, |state| state.open.is_empty()).await;
}

#[tokio::test]
async fn who_holds_a_credential_is_listed_until_it_says_that_it_does_not() {
    let (world, mut hand, created) = onboarding("cho-ray").await;
    hand.carry_out(&ONBOARD).await;
    wait_for(&world, |state| state.open.is_empty()).await;
    let tenant = created.tenant.unwrap().id;
    let mut ehr = ResolverServiceClient::new(enrol(&world, v1::Role::Service, "ehr", &[]).await);
    let mut lab = ResolverServiceClient::new(enrol(&world, v1::Role::Service, "lab", &[]).await);
    let mut agent = ResolverServiceClient::new(world.channel_as("spiffe://hospital/agent/vn-1"));
    let mut admin = DatabaseServiceClient::new(world.channel_as(ADMIN));
    ehr.get_credential(ask(&tenant, "", 0, "p1")).await.unwrap();
    ehr.get_credential(ask(&tenant, "", 0, "p2")).await.unwrap();
    lab.get_credential(ask(&tenant, "", 0, "p1")).await.unwrap();
    agent.get_credential(ask(&tenant, "", 0, "")).await.unwrap();
    let odd = ehr.get_credential(ask(&tenant, "", 0, "a\nb")).await.unwrap_err();
    assert_eq!(reason(&odd), "BAD_FIELD");

    admin.rotate_credential(rotate("cho-ray", false)).await.unwrap();
    hand.carry_out(&["prepare_login"]).await;
    let mut list = async |include_clients| {
        let asked = v1::ListCredentialsRequest {
            tenant: "cho-ray".into(),
            include_clients,
            ..Default::default()
        };
        let mut answer = admin.list_credentials(asked).await.unwrap().into_inner();
        assert_eq!(answer.credentials.len(), 1);
        answer.credentials.remove(0)
    };
    let shown = list(true).await;
    assert_eq!(
        (shown.version, shown.client_count, shown.behind_count),
        (2, 3, 3),
        "agents are no holders"
    );
    assert!(!shown.operation.is_empty());
    let names: Vec<(&str, &str)> = shown
        .clients
        .iter()
        .map(|c| (c.principal.rsplit('/').next().unwrap(), c.instance.as_str()))
        .collect();
    assert_eq!(names, [("ehr", "p1"), ("ehr", "p2"), ("lab", "p1")]);

    let acknowledge = |instance: &str, version| v1::AcknowledgeCredentialRequest {
        tenant_id: tenant.clone(),
        version,
        instance: instance.into(),
    };
    ehr.acknowledge_credential(acknowledge("p1", 2)).await.unwrap();
    // What one says counts for itself alone.
    lab.acknowledge_credential(acknowledge("p2", 2)).await.unwrap();
    let shown = list(false).await;
    assert_eq!(
        (shown.client_count, shown.behind_count, shown.clients.len()),
        (2, 2, 0)
    );
    let early = ehr
        .acknowledge_credential(acknowledge("p2", 9))
        .await
        .unwrap_err();
    assert_eq!(reason(&early), "BAD_FIELD");
    ehr.acknowledge_credential(acknowledge("p2", 2)).await.unwrap();
    lab.acknowledge_credential(acknowledge("p1", 2)).await.unwrap();
    assert_eq!(list(false).await.client_count, 0);
}
