use futures::StreamExt;
use reeve_proto::v1::operation_service_client::OperationServiceClient;
use reeve_proto::v1::resolver_service_client::ResolverServiceClient;
use reeve_proto::v1::session_request::{Beat, Message as Up};
use reeve_proto::v1::session_response::Message as Down;
use reeve_proto::v1::step_report::Outcome;
use reeve_proto::v1::tenant_service_client::TenantServiceClient;
use reeve_proto::v1::watch_response::Event;
use tonic::Code;

use super::hand::{ONBOARD, onboarding, resolve, said, wait_for};
use super::*;

#[tokio::test]
async fn a_tenant_is_onboarded_resolved_suspended_and_taken_out() {
    let (world, mut hand, created) = onboarding("cho-ray").await;
    let (tenant, operation) = (created.tenant.unwrap(), created.operation.unwrap());
    let service = enrol(&world, v1::Role::Service, "ehr", &[]).await;
    let mut resolver = ResolverServiceClient::new(service);
    let refused = resolver.resolve(resolve("cho-ray")).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::FailedPrecondition, "TENANT_NOT_SERVING")
    );
    let mut watch = resolver
        .watch(v1::WatchRequest::default())
        .await
        .unwrap()
        .into_inner();

    hand.carry_out(&ONBOARD).await;
    let mut operations = OperationServiceClient::new(world.channel_as(ADMIN));
    let waited = operations.wait_operation(v1::WaitOperationRequest {
        operation: operation.id.clone(),
        timeout: None,
    });
    let done = waited.await.unwrap().into_inner().operation.unwrap();
    assert_eq!(done.state(), v1::operation::State::Done);

    let found = resolver.resolve(resolve("cho-ray")).await.unwrap().into_inner();
    let resolution = found.resolution.unwrap();
    assert_eq!(resolution.database, tenant.id);
    assert_eq!(resolution.write.unwrap().port, 54321);
    assert!(!found.freshness.unwrap().stale);
    let elsewhere = v1::ResolveRequest {
        network: "vpn".into(),
        ..resolve("cho-ray")
    };
    assert_eq!(
        reason(&resolver.resolve(elsewhere).await.unwrap_err()),
        "BAD_FIELD"
    );

    // The watcher hears of it, in order, and never of a host that does not serve.
    let mut last = 0;
    loop {
        let event = tokio::time::timeout(PATIENCE, watch.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .event
            .unwrap();
        let Event::Delta(delta) = event else { continue };
        assert!(delta.revision > last);
        last = delta.revision;
        let changed = &delta.changed[0];
        assert_eq!(
            changed.write.is_some(),
            changed.state() == v1::tenant::State::Active
        );
        if changed.state() == v1::tenant::State::Active {
            break;
        }
    }

    let mut tenants = TenantServiceClient::new(world.channel_as(ADMIN));
    let suspend = v1::SuspendTenantRequest {
        request_id: id(),
        tenant: "cho-ray".into(),
        ..Default::default()
    };
    let suspended = tenants
        .suspend_tenant(suspend.clone())
        .await
        .unwrap()
        .into_inner()
        .tenant
        .unwrap();
    assert_eq!(suspended.state(), v1::tenant::State::Suspended);
    assert!(
        tenants.suspend_tenant(suspend).await.is_ok(),
        "said twice, done once"
    );
    assert_eq!(
        reason(&resolver.resolve(resolve("cho-ray")).await.unwrap_err()),
        "TENANT_NOT_SERVING"
    );

    let delete = |confirm: &str| v1::DeleteTenantRequest {
        request_id: id(),
        tenant: tenant.id.clone(),
        confirm: confirm.into(),
        ..Default::default()
    };
    assert_eq!(
        reason(&tenants.delete_tenant(delete("nope")).await.unwrap_err()),
        "CONFIRMATION_MISSING"
    );
    tenants.delete_tenant(delete("cho-ray")).await.unwrap();
    hand.carry_out(&["close_doors", "drop_database", "drop_roles", "prove_absence"])
        .await;
    wait_for(&world, |state| state.tenants.is_empty()).await;
    assert_eq!(
        reason(&resolver.resolve(resolve("cho-ray")).await.unwrap_err()),
        "TENANT_NOT_FOUND"
    );
}

#[tokio::test]
async fn the_same_request_makes_the_same_tenant_and_a_rehearsal_makes_none() {
    let (world, _hand, _) = onboarding("cho-ray").await;
    let mut tenants = TenantServiceClient::new(world.channel_as(ADMIN));
    let rehearsal = v1::CreateTenantRequest {
        validate_only: true,
        ..wanted("bach-mai")
    };
    let revision = world.state().revision;
    assert!(
        tenants
            .create_tenant(rehearsal)
            .await
            .unwrap()
            .into_inner()
            .tenant
            .is_some()
    );
    assert_eq!(
        (world.state().revision, world.state().tenants.len()),
        (revision, 1)
    );
    let taken = v1::CreateTenantRequest {
        validate_only: true,
        ..wanted("cho-ray")
    };
    assert_eq!(
        reason(&tenants.create_tenant(taken).await.unwrap_err()),
        "CLAIM_TAKEN"
    );

    let mut order = wanted("bach-mai");
    order.labels = (0..16).map(|i| (format!("k{i}"), i.to_string())).collect();
    let first = tenants.create_tenant(order.clone()).await.unwrap().into_inner();
    let again = tenants.create_tenant(order.clone()).await.unwrap().into_inner();
    assert_eq!(first.operation.unwrap().id, again.operation.unwrap().id);
    assert_eq!(world.state().tenants.len(), 2);
    order.display_name = "another".into();
    assert_eq!(
        reason(&tenants.create_tenant(order).await.unwrap_err()),
        "REQUEST_ID_REUSED"
    );
}

#[tokio::test]
async fn an_agent_hears_what_is_fenced_and_what_is_fresh() {
    let (_world, mut hand, _) = onboarding("cho-ray").await;
    let order = hand.order().await;
    assert_eq!(order.tenant.clone().unwrap().schema_channel, "ehr");
    let refused = hand.report(&order, Outcome::Done, order.epoch + 1).await;
    assert!(refused.contains("epoch"), "{refused}");
    let beat = Beat {
        sequence: 9,
        ..Default::default()
    };
    hand.up.send(said(Up::Beat(beat))).await.unwrap();
    let Down::BeatAck(ack) = hand.next().await else {
        panic!("no answer to a beat")
    };
    assert!(ack.leader_heard && !ack.freshness.unwrap().stale);
    assert_eq!(ack.sequence, 9);
    assert_eq!(hand.report(&order, Outcome::Done, order.epoch).await, "");
    assert_eq!(
        hand.report(&order, Outcome::Done, order.epoch).await,
        "",
        "said twice, counted once"
    );
    assert_eq!(hand.order().await.name, "create_database");
}
