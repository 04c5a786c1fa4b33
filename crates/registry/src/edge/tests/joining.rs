use reeve_proto::v1;
use reeve_proto::v1::access_service_client::AccessServiceClient;
use reeve_proto::v1::cluster_service_client::ClusterServiceClient;
use reeve_proto::v1::resolver_service_client::ResolverServiceClient;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::config::{Config, Identity, Seeds};
use crate::{join, rejoin};

#[tokio::test]
async fn without_a_certificate_only_joining_and_health_are_open() {
    let world = World::founded().await;
    let nobody = world.channel_as_nobody();
    let refused = AccessServiceClient::new(nobody.clone())
        .who_am_i(v1::WhoAmIRequest {})
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::Unauthenticated, "UNAUTHENTICATED")
    );
    let refused = ResolverServiceClient::new(nobody.clone())
        .resolve(v1::ResolveRequest::default())
        .await;
    assert_eq!(reason(&refused.unwrap_err()), "UNAUTHENTICATED");

    let healthy = HealthClient::new(nobody)
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    assert_eq!(healthy.into_inner().status, 1);
}

#[tokio::test]
async fn a_certificate_of_somebody_unknown_is_not_enough() {
    let world = World::founded().await;
    let stranger = world.channel_as("spiffe://hospital/svc/stranger");
    let refused = AccessServiceClient::new(stranger)
        .who_am_i(v1::WhoAmIRequest {})
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_token_brings_in_one_request_once_and_a_lost_answer_may_be_asked_again() {
    let world = World::founded().await;
    let wanted = v1::CreateJoinTokenRequest {
        role: v1::Role::Operator as i32,
        name: "lan".into(),
        ..Default::default()
    };
    let (token_id, token_secret) = token(&world, wanted).await;
    let ask = |csr_pem: String| v1::EnrollRequest {
        token_id: token_id.clone(),
        token_secret: token_secret.clone(),
        csr_pem,
    };
    let mut nobody = AccessServiceClient::new(world.channel_as_nobody());
    let (first, second) = (request().csr_pem, request().csr_pem);
    let enrolled = nobody.enroll(ask(first.clone())).await.unwrap().into_inner();
    assert_eq!(enrolled.principal_id, "spiffe://hospital/person/lan");
    assert_eq!(enrolled.api_addresses, ["127.0.0.1:7400"]);
    assert!(nobody.enroll(ask(first)).await.is_ok());
    let refused = nobody.enroll(ask(second)).await.unwrap_err();
    assert_eq!(reason(&refused), "TOKEN_USED");

    let mut lan = AccessServiceClient::new(world.channel_as(&enrolled.principal_id));
    let me = lan.who_am_i(v1::WhoAmIRequest {}).await.unwrap().into_inner();
    assert!(me.actions.contains(&"tenant.create".to_owned()));
    assert!(!me.actions.contains(&"credential.read".to_owned()));
    let refused = lan
        .list_principals(v1::ListPrincipalsRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::PermissionDenied, "PERMISSION_DENIED")
    );
}

/// A token that is spent is answered as it was the first time. A rejoin that was cut off, beside a request that the old
/// node left behind, must not take the old id for the new one.
#[tokio::test]
async fn a_rejoin_never_takes_an_id_that_the_node_had() {
    let world = World::founded().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let data = path("data");
    std::fs::create_dir(&data).unwrap();
    let config = Config {
        cluster: "hospital".into(),
        data_dir: data.clone(),
        identity: Identity {
            cert: path("node.crt"),
            key: path("node.pem"),
            ca: path("ca.crt"),
        },
        seeds: Seeds {
            api: vec![world.address.to_string()],
        },
        ..Config::default()
    };
    let mint = async |name: &str| {
        let wanted = v1::CreateJoinTokenRequest {
            role: v1::Role::Node as i32,
            ..Default::default()
        };
        let mut admin = AccessServiceClient::new(world.channel_as(ADMIN));
        let token = admin.create_join_token(wanted).await.unwrap().into_inner().token;
        std::fs::write(path(name), token).unwrap();
        path(name)
    };
    let shown = request();
    let leave_request = || {
        std::fs::write(data.join("join.key"), shown.key_pem.as_bytes()).unwrap();
        std::fs::write(data.join("join.csr"), &shown.csr_pem).unwrap();
    };
    let first = mint("first.token").await;
    leave_request();
    assert_eq!(join::join(&config, &first).await.unwrap().id, 2);

    // It was cut off before its request was gone.
    leave_request();
    let refused = rejoin::rejoin(&config, &first).await.unwrap_err();
    assert!(!data.join("owner.json").exists(), "{refused:#}");
    // That was cut off as well, in a release that left the request where it was.
    leave_request();
    let refused = format!("{:#}", rejoin::rejoin(&config, &first).await.unwrap_err());
    assert!(refused.contains("the id 2 again"), "{refused}");
    assert!(!data.join("owner.json").exists() && !data.join("join.key").exists());

    let second = mint("second.token").await;
    let done = rejoin::rejoin(&config, &second).await.unwrap();
    assert_eq!((done.id, done.was), (3, Some(2)));
    assert_eq!(rejoin::former(&data).unwrap(), [2].into());

    // Cut off between its new id and its end: nobody is asked again.
    let note = r#"{"was":2,"quarantine":"quarantine-1","former":[],"joined":3}"#;
    std::fs::write(data.join("rejoin.json"), note).unwrap();
    leave_request();
    let done = rejoin::rejoin(&config, &second).await.unwrap();
    assert_eq!((done.id, done.was), (3, Some(2)));
    assert!(!data.join("join.key").exists() && !data.join("rejoin.json").exists());
    assert!(data.join("owner.json").exists());
}

#[tokio::test]
async fn a_token_opens_only_the_door_it_was_made_for() {
    let world = World::founded().await;
    let wanted = v1::CreateJoinTokenRequest {
        role: v1::Role::Admin as i32,
        name: "second".into(),
        ..Default::default()
    };
    let (token_id, token_secret) = token(&world, wanted).await;
    let mut nobody = ClusterServiceClient::new(world.channel_as_nobody());
    let refused = nobody.join_node(v1::JoinNodeRequest {
        token_id,
        token_secret,
        csr_pem: request().csr_pem,
        api_address: "127.0.0.1:1".into(),
        peer_address: "127.0.0.1:2".into(),
        version_min: 1,
        version_max: 1,
    });
    assert_eq!(reason(&refused.await.unwrap_err()), "TOKEN_INVALID");
}

#[tokio::test]
async fn every_certificate_is_written_down_with_its_serial() {
    let world = World::founded().await;
    enrol(&world, v1::Role::Auditor, "minh", &[]).await;
    let records = world.rooms.archive.records("fleet", 1, 100).unwrap();
    let shown: Vec<_> = records
        .iter()
        .map(|r| reeve_domain::audit::decode(&r.canonical).unwrap())
        .collect();
    let issued = shown.iter().find(|s| s.action == "certificate.issue").unwrap();
    assert_eq!(issued.resource, "principal/spiffe://hospital/person/minh");
    assert!(
        issued.reason.starts_with("serial ") && issued.reason.ends_with(" client"),
        "{}",
        issued.reason
    );
    assert!(
        !issued.personal.is_empty(),
        "the source address is sealed into the record"
    );
}
