//! A call finds a node that serves, and is never done twice by accident.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use prost::Message;
use reeve_client::{AnsweredBy, Api, Error, v1};
use support::*;
use tonic::{Request, Status};

fn whoami() -> Handler {
    table([(
        "WhoAmI",
        v1::WhoAmIResponse {
            actions: vec!["tenant.get".into()],
            ..Default::default()
        },
    )])
}

fn api(cluster: &Cluster, nodes: &[String]) -> Api {
    Api::connect(nodes, &cluster.client()).unwrap()
}

#[tokio::test]
async fn a_dead_node_is_passed_over() {
    let cluster = Cluster::new();
    let alive = cluster.node(1, whoami()).await;
    // Several clients, because each prefers another node at first.
    for _ in 0..6 {
        let api = api(&cluster, &[dead().await, alive.addr(), dead().await]);
        for _ in 0..5 {
            let answer = api.access().who_am_i(v1::WhoAmIRequest {}).await.unwrap();
            let by = *answer.extensions().get::<AnsweredBy>().unwrap();
            assert_eq!(api.channel().addr(by), alive.addr());
        }
    }
}

#[tokio::test]
async fn a_frozen_node_is_asked_once_and_not_for_the_next_read() {
    let cluster = Cluster::new();
    let (alive, frozen) = (cluster.node(1, whoami()).await, cluster.node(2, frozen()).await);
    // Each client draws the node it begins with; sooner or later one draws the frozen node.
    while frozen.calls() == 0 {
        let api = api(&cluster, &[alive.addr(), frozen.addr()]);
        for _ in 0..6 {
            api.access().who_am_i(v1::WhoAmIRequest {}).await.unwrap();
        }
    }
    assert_eq!(frozen.calls(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_fetched_elsewhere() {
    let cluster = Cluster::new();
    let (alive, dying) = (
        cluster.node(1, whoami()).await,
        cluster.node(2, dies_half_way()).await,
    );
    while dying.calls() == 0 {
        let api = api(&cluster, &[alive.addr(), dying.addr()]);
        api.access().who_am_i(v1::WhoAmIRequest {}).await.unwrap();
    }
}

/// A node that notes every message it gets and then pleads to be not available.
async fn unwilling(cluster: &Cluster, number: u64, heard: &Arc<Mutex<Vec<Vec<u8>>>>) -> Node {
    let heard = heard.clone();
    let handler: Handler = Arc::new(move |_, message| {
        heard.lock().unwrap().push(message.to_vec());
        Box::pin(async { Err(Status::unavailable("no leader")) })
    });
    cluster.node(number, handler).await
}

#[tokio::test]
async fn a_change_is_sent_again_only_under_its_request_id() {
    let cluster = Cluster::new();
    let heard = Arc::default();
    let one = unwilling(&cluster, 1, &heard).await;
    let two = unwilling(&cluster, 2, &heard).await;
    let api = api(&cluster, &[one.addr(), two.addr()]);

    let anonymous = v1::CreateTenantRequest {
        slug: "cho-ray".into(),
        ..Default::default()
    };
    let error = api.tenants().create_tenant(anonymous.clone()).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::Unavailable);
    assert_eq!(heard.lock().unwrap().len(), 1, "it may have been done");

    heard.lock().unwrap().clear();
    let named = v1::CreateTenantRequest {
        request_id: "r-1".into(),
        ..anonymous
    };
    let mut request = Request::new(named.clone());
    request.set_timeout(Duration::from_millis(500));
    assert!(api.tenants().create_tenant(request).await.is_err());
    let heard = heard.lock().unwrap();
    assert!(heard.len() > 1 && one.calls() > 0 && two.calls() > 0);
    assert!(heard.iter().all(|message| *message == named.encode_to_vec()));
}

#[tokio::test]
async fn a_change_that_reached_nobody_is_sent_to_the_next() {
    let cluster = Cluster::new();
    let answer = v1::TransferLeaderResponse {};
    let alive = cluster.node(1, table([("TransferLeader", answer)])).await;
    for _ in 0..6 {
        let api = api(&cluster, &[dead().await, dead().await, alive.addr()]);
        api.cluster()
            .transfer_leader(v1::TransferLeaderRequest::default())
            .await
            .unwrap();
    }
    assert_eq!(alive.calls(), 6);
}

#[tokio::test]
async fn the_callers_deadline_ends_the_search() {
    let cluster = Cluster::new();
    let frozen = cluster.node(1, frozen()).await;
    let api = api(&cluster, &[dead().await, frozen.addr()]);
    let mut request = Request::new(v1::WhoAmIRequest {});
    request.set_timeout(Duration::from_millis(700));
    let error = Error::from(api.access().who_am_i(request).await.unwrap_err());
    assert!(matches!(error, Error::Retry(_)), "{error:?}");
}

#[tokio::test]
async fn a_refusal_is_final() {
    let cluster = Cluster::new();
    let refusing = cluster
        .node(1, fails(|| Status::permission_denied("not you")))
        .await;
    let api = api(&cluster, &[refusing.addr()]);
    let error = Error::from(api.access().who_am_i(v1::WhoAmIRequest {}).await.unwrap_err());
    assert!(matches!(error, Error::Denied(_)), "{error:?}");
    assert_eq!(refusing.calls(), 1);
}
