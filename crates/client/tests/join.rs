//! The first certificate: from the pinned root, for the right key, or not at all.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::sync::{Arc, Mutex};

use prost::Message;
use reeve_client::{
    Api, Error, JoinToken, KeyRequest,
    join::{enroll, join_agent, pin_of},
    v1,
};
use reeve_proto::identity::Usage;
use support::*;
use tonic::Status;

/// A node that signs whatever it is asked to, with the authority of `signer`.
async fn signing(cluster: &Cluster, signer: Arc<Cluster>, says_cluster: &'static str) -> Node {
    let handler: Handler = Arc::new(move |path, message| {
        let answer = match path.rsplit('/').next() {
            Some("Enroll") => {
                let order = v1::EnrollRequest::decode(message).unwrap();
                let chain = signer.issue(&order.csr_pem, "svc/ehr", &Usage::Client);
                frame(&v1::EnrollResponse {
                    principal_id: "spiffe://hospital/svc/ehr".into(),
                    cluster: says_cluster.into(),
                    certificate_chain_pem: chain,
                    api_addresses: vec!["n1:7400".into()],
                })
            }
            _ => {
                let order = v1::JoinRequest::decode(message).unwrap();
                let hosts = order.postgres_hosts.clone();
                let own = signer.issue(&order.csr_pem, "agent/vn-1", &Usage::Client);
                let usage = Usage::Postgres { hosts };
                frame(&v1::JoinResponse {
                    agent: "vn-1".into(),
                    cluster: says_cluster.into(),
                    certificate_chain_pem: own,
                    postgres_certificate_chain_pem: signer.issue(
                        &order.postgres_csr_pem,
                        "agent/vn-1",
                        &usage,
                    ),
                    ..Default::default()
                })
            }
        };
        Box::pin(async move { Ok(one(answer)) })
    });
    cluster.node(1, handler).await
}

#[tokio::test]
async fn a_service_enrolls_and_can_call_at_once() {
    let cluster = Arc::new(Cluster::new());
    let node = signing(&cluster, cluster.clone(), "hospital").await;
    let token = JoinToken::mint(pin_of(&cluster.root.cert_pem).unwrap()).unwrap();
    let own = KeyRequest::generate().unwrap();
    let enrolled = enroll(&[dead().await, node.addr()], &token, &own).await.unwrap();
    assert_eq!(enrolled.identity.root_pem.trim(), cluster.root.cert_pem.trim());
    assert_eq!(
        enrolled.identity.credentials.spiffe().to_string(),
        enrolled.principal_id
    );
    Api::connect(&enrolled.nodes, &enrolled.identity.credentials).unwrap();
}

#[tokio::test]
async fn an_agent_gets_both_certificates() {
    let cluster = Arc::new(Cluster::new());
    let node = signing(&cluster, cluster.clone(), "hospital").await;
    let token = JoinToken::mint(pin_of(&cluster.root.cert_pem).unwrap()).unwrap();
    let (own, postgres) = (KeyRequest::generate().unwrap(), KeyRequest::generate().unwrap());
    let hosts = ["db.example.org".to_owned()];
    let joined = join_agent(&[node.addr()], &token, &own, &postgres, &hosts)
        .await
        .unwrap();
    assert_eq!(joined.agent, "vn-1");
    assert_ne!(joined.postgres_chain_pem, joined.identity.chain_pem);
}

#[tokio::test]
async fn the_token_is_never_shown_to_a_cluster_with_another_root() {
    let cluster = Arc::new(Cluster::new());
    let node = signing(&cluster, cluster.clone(), "hospital").await;
    let token = JoinToken::mint(pin_of(&Cluster::new().root.cert_pem).unwrap()).unwrap();
    let own = KeyRequest::generate().unwrap();
    let refused = tokio::time::timeout(
        std::time::Duration::from_secs(2),
        enroll(&[node.addr()], &token, &own),
    )
    .await;
    assert!(!matches!(refused, Ok(Ok(_))));
    assert_eq!(node.calls(), 0);
}

#[tokio::test]
async fn a_certificate_from_elsewhere_is_refused() {
    let cluster = Arc::new(Cluster::new());
    let token = JoinToken::mint(pin_of(&cluster.root.cert_pem).unwrap()).unwrap();
    let own = KeyRequest::generate().unwrap();
    let foreign = signing(&cluster, Arc::new(Cluster::new()), "hospital").await;
    let refused = enroll(&[foreign.addr()], &token, &own).await.map(drop);
    assert!(matches!(refused, Err(Error::Answer(_))), "{refused:?}");
    let renamed = signing(&cluster, cluster.clone(), "clinic").await;
    let refused = enroll(&[renamed.addr()], &token, &own).await.map(drop);
    assert!(matches!(refused, Err(Error::Answer(_))), "{refused:?}");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_request() {
    let cluster = Arc::new(Cluster::new());
    let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let (note, signer) = (heard.clone(), cluster.clone());
    let handler: Handler = Arc::new(move |_, message| {
        let mut heard = note.lock().unwrap();
        heard.push(message.to_vec());
        if heard.len() == 1 {
            return Box::pin(async { Err(Status::unavailable("the leader is gone")) });
        }
        let order = v1::EnrollRequest::decode(message).unwrap();
        let answer = frame(&v1::EnrollResponse {
            cluster: "hospital".into(),
            certificate_chain_pem: signer.issue(&order.csr_pem, "svc/ehr", &Usage::Client),
            ..Default::default()
        });
        Box::pin(async move { Ok(one(answer)) })
    });
    let node = cluster.node(1, handler).await;
    let token = JoinToken::mint(pin_of(&cluster.root.cert_pem).unwrap()).unwrap();
    enroll(&[node.addr()], &token, &KeyRequest::generate().unwrap())
        .await
        .unwrap();
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[0], heard[1]);
}
