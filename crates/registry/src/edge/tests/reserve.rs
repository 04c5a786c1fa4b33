//! A flood of services' calls keeps no agent's heartbeat, no renewal and no probe out.

use reeve_proto::error::info;
use reeve_proto::v1::cluster_service_client::ClusterServiceClient;
use reeve_proto::v1::group_service_client::GroupServiceClient;
use reeve_proto::v1::session_request::{Beat, Hello, Message as Up};
use reeve_proto::v1::session_response::Message as Down;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::bodies::Raw;
use super::hand::{Hand, said};
use super::*;
use crate::config::Limits;

const MOST: usize = 1 << 20;

/// A node with one place for calls, which a slow request has taken with nearly all bytes there are.
async fn flooded() -> (World, Raw, Channel, Hand) {
    let world = World::with_limits(Limits {
        calls: 1,
        request_ms: 600_000,
        request_bytes_per_principal: MOST,
        request_bytes_total: MOST,
        ..Limits::default()
    })
    .await;
    let agent = join_agent(&world, "vn-1").await;
    let hand = Hand::dial(agent.clone()).await;
    let path = "/reeve.v1.ResolverService/Resolve";
    // What comes behind it on the same connection finds it there.
    let channel = world.channel_as(ADMIN);
    let slow = Raw::announce(channel.clone(), path, MOST, MOST - 100).await;
    loop {
        let mut groups = GroupServiceClient::new(channel.clone());
        if let Err(refused) = groups.list_regions(v1::ListRegionsRequest::default()).await {
            assert_eq!(info(&refused).metadata["limit"], "limits.calls");
            return (world, slow, agent, hand);
        }
    }
}

#[tokio::test]
async fn an_agents_heartbeat_is_heard_and_another_session_begins() {
    let (_world, _slow, agent, mut hand) = flooded().await;
    let beat = Beat {
        sequence: 7,
        ..Default::default()
    };
    hand.up.send(said(Up::Beat(beat))).await.unwrap();
    loop {
        if let Down::BeatAck(ack) = hand.next().await {
            assert_eq!(ack.sequence, 7);
            break;
        }
    }
    drop(hand);
    let (up, requests) = mpsc::channel(1);
    let hello = Hello {
        held_epochs: vec![v1::HeldEpoch {
            group: "x".repeat(MOST / 2),
            ..Default::default()
        }],
        ..Default::default()
    };
    up.send(said(Up::Hello(hello))).await.unwrap();
    let mut again = AgentServiceClient::new(agent);
    let session = again.session(ReceiverStream::new(requests)).await;
    let first = session.unwrap().into_inner().message().await.unwrap();
    assert!(matches!(first.unwrap().message, Some(Down::Welcome(_))));
}

#[tokio::test]
async fn agents_and_nodes_renew_their_certificates_and_probes_are_answered() {
    let (world, _slow, agent, _hand) = flooded().await;
    let renewed = AgentServiceClient::new(agent)
        .renew(v1::RenewRequest {
            csr_pem: request().csr_pem,
            postgres_csr_pem: request().csr_pem,
            postgres_hosts: vec!["127.0.0.1".into()],
        })
        .await
        .unwrap()
        .into_inner();
    assert!(!renewed.certificate_chain_pem.is_empty());
    let node = world.channel_as("spiffe://hospital/node/1");
    let renewed = ClusterServiceClient::new(node)
        .renew_node(v1::RenewNodeRequest {
            csr_pem: request().csr_pem,
        })
        .await
        .unwrap()
        .into_inner();
    assert!(!renewed.certificate_chain_pem.is_empty());
    for caller in [world.channel_as_nobody(), world.channel_as(ADMIN)] {
        let healthy = HealthClient::new(caller)
            .check(HealthCheckRequest::default())
            .await;
        assert_eq!(healthy.unwrap().into_inner().status, 1);
    }
}

#[tokio::test]
async fn a_service_takes_no_place_that_is_kept_for_agents() {
    let world = World::with_limits(Limits {
        renewals: 1,
        ..Limits::default()
    })
    .await;
    let service = enrol(&world, v1::Role::Service, "ehr", &[]).await;
    let path = "/reeve.v1.AgentService/Renew";
    // It has no right to it, which is said before anything of its request was read.
    let mut denied = Raw::announce(service, path, 1_000, 1).await;
    assert_eq!(reason(&denied.status().await), "PERMISSION_DENIED");
}
