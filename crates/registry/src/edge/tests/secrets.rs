use reeve_proto::error::Reason;
use reeve_proto::v1::audit_service_client::AuditServiceClient;
use reeve_proto::v1::resolver_service_client::ResolverServiceClient;
use reeve_proto::v1::tenant_service_client::TenantServiceClient;
use reeve_proto::v1::watch_response::Event;

use super::hand::{ONBOARD, onboarding, resolve, wait_for};
use super::*;

#[tokio::test]
async fn a_password_leaves_only_after_its_record() {
    let (world, mut hand, created) = onboarding("cho-ray").await;
    let tenant = created.tenant.unwrap().id;
    let ask = |slot: &str| v1::GetCredentialRequest {
        tenant_id: tenant.clone(),
        version: 0,
        slot: slot.into(),
        instance: String::new(),
    };
    let mut agent = ResolverServiceClient::new(world.channel_as("spiffe://hospital/agent/vn-1"));
    let mut service = ResolverServiceClient::new(enrol(&world, v1::Role::Service, "ehr", &[]).await);
    let a = agent.get_credential(ask("a")).await.unwrap().into_inner();
    let b = agent.get_credential(ask("b")).await.unwrap().into_inner();
    assert_eq!(
        (a.role.clone(), a.password.len(), a.version),
        (format!("{tenant}_a"), 43, 1)
    );
    assert_ne!(a.password, b.password);
    assert_eq!(a.server_ca_sha256.len(), 32);
    assert_eq!(
        reason(&service.get_credential(ask("")).await.unwrap_err()),
        "TENANT_NOT_SERVING"
    );

    hand.carry_out(&ONBOARD).await;
    wait_for(&world, |state| state.open.is_empty()).await;
    assert_eq!(
        service
            .get_credential(ask(""))
            .await
            .unwrap()
            .into_inner()
            .password,
        a.password
    );
    assert_eq!(
        reason(&service.get_credential(ask("b")).await.unwrap_err()),
        "PERMISSION_DENIED"
    );
    let mut older = ask("");
    older.version = 9;
    assert_eq!(
        reason(&service.get_credential(older).await.unwrap_err()),
        "FENCED"
    );
    let mut admin = ResolverServiceClient::new(world.channel_as(ADMIN));
    assert_eq!(
        reason(&admin.get_credential(ask("")).await.unwrap_err()),
        "PERMISSION_DENIED"
    );

    let mut audit = AuditServiceClient::new(world.channel_as(ADMIN));
    let tail = v1::TailRecordsRequest {
        shard: tenant.clone(),
        ..Default::default()
    };
    let mut records = audit.tail_records(tail).await.unwrap().into_inner();
    let mut verifier = reeve_domain::audit::Verifier::new(&tenant);
    let mut reads = Vec::new();
    while let Some(answer) = records.message().await.unwrap() {
        let record = reeve_proto::convert::record_from_wire(answer.record.unwrap()).unwrap();
        let shown = verifier.check(&record).unwrap();
        if shown.action == "credential.read" {
            reads.push((shown.actor, shown.reason));
        }
    }
    let by = |who: &str, what: &str| (format!("spiffe://hospital/{who}"), what.to_owned());
    assert_eq!(
        reads,
        [
            by("agent/vn-1", "v1 slot a"),
            by("agent/vn-1", "v1 slot b"),
            by("svc/ehr", "v1 slot a")
        ]
    );
}

#[tokio::test]
async fn what_a_service_may_not_see_is_answered_as_what_is_not_there() {
    let (world, mut hand, created) = onboarding("cho-ray").await;
    hand.carry_out(&ONBOARD).await;
    wait_for(&world, |state| state.open.is_empty()).await;
    let own = created.tenant.unwrap().id;
    let mut tenants = TenantServiceClient::new(world.channel_as(ADMIN));
    let foreign = tenants
        .create_tenant(wanted("bach-mai"))
        .await
        .unwrap()
        .into_inner()
        .tenant
        .unwrap()
        .id;
    hand.carry_out(&ONBOARD).await;

    let scoped = enrol(&world, v1::Role::Service, "ehr", &["cho-ray"]).await;
    let mut resolver = ResolverServiceClient::new(scoped);
    assert!(resolver.resolve(resolve("cho-ray")).await.is_ok());
    let told = |status: Status, name: &str| {
        (
            status.code(),
            status.message().replace(name, "*"),
            reeve_proto::error::info(&status),
        )
    };
    let there = resolver.resolve(resolve("bach-mai")).await.unwrap_err();
    let nowhere = resolver.resolve(resolve("nowhere")).await.unwrap_err();
    assert_eq!(told(there, "bach-mai"), told(nowhere, "nowhere"));
    let missing = "t_0123456789ab";
    let mut ask = async |tenant: &str| {
        let request = v1::GetCredentialRequest {
            tenant_id: tenant.into(),
            ..Default::default()
        };
        resolver.get_credential(request).await
    };
    let there = ask(&foreign).await.unwrap_err();
    let nowhere = ask(missing).await.unwrap_err();
    assert_eq!(told(there, &foreign), told(nowhere, missing));
    assert!(ask(&own).await.is_ok());

    let both = v1::BatchResolveRequest {
        claims: [slug("cho-ray"), slug("bach-mai")]
            .into_iter()
            .flatten()
            .collect(),
        ..Default::default()
    };
    let items = resolver.batch_resolve(both).await.unwrap().into_inner().items;
    assert_eq!(
        (items[0].resolution.is_some(), items[1].resolution.is_some()),
        (true, false)
    );
    let reasons = (items[0].reason(), items[1].reason());
    assert_eq!(reasons, (Reason::Unspecified, Reason::TenantNotFound));
    let mut watch = resolver
        .watch(v1::WatchRequest::default())
        .await
        .unwrap()
        .into_inner();
    let Some(Event::Initial(first)) = watch.message().await.unwrap().unwrap().event else {
        panic!("no initial state")
    };
    assert_eq!(first.tenant_id, own);
    assert!(matches!(
        watch.message().await.unwrap().unwrap().event,
        Some(Event::InitialDone(_))
    ));
}
