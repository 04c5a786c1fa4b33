//! Requests that come slowly, or say that they are long: they cost their caller and nobody else.

use std::convert::Infallible;
use std::pin::Pin;

use axum::body::Body;
use axum::http;
use bytes::Bytes;
use futures::StreamExt;
use http_body::Body as _;
use reeve_proto::error::{Reason, info};
use reeve_proto::v1::resolver_service_client::ResolverServiceClient;
use reeve_proto::v1::session_request::{Hello, Message as Up};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::GrpcService;
use tonic::{Code, Streaming};

use super::hand::said;
use super::*;
use crate::config::Limits;

const RESOLVE: &str = "/reeve.v1.ResolverService/Resolve";
const WATCH: &str = "/reeve.v1.ResolverService/Watch";
const WAIT: &str = "/reeve.v1.OperationService/WaitOperation";
const SESSION: &str = "/reeve.v1.AgentService/Session";
pub(super) const ENROLL: &str = "/reeve.v1.AccessService/Enroll";
/// Two of it are more than `MOST`.
const HALF: usize = 600_000;
const MOST: usize = 1 << 20;

/// A call whose body is sent by hand.
pub(super) struct Raw {
    body: mpsc::Sender<Bytes>,
    ended: JoinHandle<Status>,
}

impl Raw {
    pub(super) async fn begin(mut channel: Channel, path: &str) -> Raw {
        let (body, chunks) = mpsc::channel(1);
        let chunks = Body::from_stream(ReceiverStream::new(chunks).map(Ok::<_, Infallible>));
        let request = http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(tonic::body::Body::new(chunks))
            .unwrap();
        std::future::poll_fn(|cx| GrpcService::<tonic::body::Body>::poll_ready(&mut channel, cx))
            .await
            .unwrap();
        let answer = GrpcService::call(&mut channel, request);
        let ended = tokio::spawn(async move {
            let (head, mut body) = answer.await.unwrap().into_parts();
            if let Some(status) = Status::from_header_map(&head.headers) {
                return status;
            }
            while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                if let Ok(trailers) = frame.unwrap().into_trailers() {
                    return Status::from_header_map(&trailers).unwrap();
                }
            }
            panic!("it ended without a status")
        });
        Raw { body, ended }
    }

    /// Announces a message, and sends only the beginning of it.
    pub(super) async fn announce(channel: Channel, path: &str, announced: usize, sent: usize) -> Raw {
        let raw = Raw::begin(channel, path).await;
        let mut chunk = vec![0];
        chunk.extend((announced as u32).to_be_bytes());
        chunk.resize(5 + sent, 7);
        raw.body.send(chunk.into()).await.unwrap();
        raw
    }

    /// How it ended.
    pub(super) async fn status(&mut self) -> Status {
        let ended = tokio::time::timeout(PATIENCE, &mut self.ended).await;
        ended.expect("it goes on").unwrap()
    }
}

/// The first to end of those that are under way.
pub(super) async fn first_of(raws: &mut [Raw]) -> Status {
    let ended = raws.iter_mut().map(|raw| Box::pin(raw.status()));
    futures::future::select_all(ended).await.0
}

fn limit(status: &Status) -> String {
    assert_eq!(
        (status.code(), reason(status)),
        (Code::ResourceExhausted, "RATE_LIMITED"),
        "{status}"
    );
    let said = info(status);
    assert!(said.retry_after.is_some_and(|after| !after.is_zero()), "{status}");
    said.metadata["limit"].clone()
}

/// A request of half of all there is finds room, however long this machine takes to send it.
async fn finds_room(channel: Channel) {
    loop {
        let request = v1::ResolveRequest {
            claim: slug("x"),
            network: "n".repeat(HALF),
            ..Default::default()
        };
        let answer = ResolverServiceClient::new(channel.clone()).resolve(request).await;
        let refused = answer.unwrap_err();
        if reason(&refused) != "RATE_LIMITED" || limit(&refused) != "limits.request_ms" {
            assert_eq!(
                reason(&refused),
                "BAD_FIELD",
                "it was read, and is odd: {refused}"
            );
            return;
        }
    }
}

async fn narrow(request_ms: u64, per_principal: usize, total: usize) -> World {
    World::with_limits(Limits {
        request_ms,
        request_bytes_per_principal: per_principal,
        request_bytes_total: total,
        ..Limits::default()
    })
    .await
}

#[tokio::test]
async fn a_request_that_does_not_come_whole_in_time_ends_and_makes_room() {
    let world = narrow(500, MOST, MOST).await;
    for path in [RESOLVE, WATCH, WAIT] {
        let mut slow = Raw::announce(world.channel_as(ADMIN), path, 900_000, HALF).await;
        assert_eq!(limit(&slow.status().await), "limits.request_ms", "{path}");
        finds_room(world.channel_as(ADMIN)).await;
    }
    let mut slow = Raw::announce(world.channel_as_nobody(), ENROLL, 60_000, 1_000).await;
    assert_eq!(limit(&slow.status().await), "limits.request_ms");
    let mut silent = Raw::begin(world.channel_as(ADMIN), RESOLVE).await;
    assert_eq!(limit(&silent.status().await), "limits.request_ms");
}

#[tokio::test]
async fn whoever_sends_slowly_uses_up_its_own_share_and_nobody_elses() {
    let world = narrow(600_000, MOST, 2 * MOST).await;
    let other = enrol(&world, v1::Role::Service, "other", &[]).await;
    let mut slow = Vec::new();
    for path in [RESOLVE, WATCH] {
        slow.push(Raw::announce(world.channel_as(ADMIN), path, 900_000, HALF).await);
    }
    assert_eq!(
        limit(&first_of(&mut slow).await),
        "limits.request_bytes_per_principal"
    );
    finds_room(other).await;
}

#[tokio::test]
async fn a_session_weighs_what_of_a_message_is_there_and_nothing_once_it_is_whole() {
    let world = narrow(600_000, MOST, MOST).await;
    let agent = join_agent(&world, "vn-1").await;
    let mut open: Vec<(_, Streaming<v1::SessionResponse>)> = Vec::new();
    for _ in 0..2 {
        let (up, requests) = mpsc::channel(1);
        let hello = Hello {
            held_epochs: vec![v1::HeldEpoch {
                group: "x".repeat(HALF),
                ..Default::default()
            }],
            ..Default::default()
        };
        up.send(said(Up::Hello(hello))).await.unwrap();
        let mut client = AgentServiceClient::new(agent.clone());
        let mut down = client
            .session(ReceiverStream::new(requests))
            .await
            .unwrap()
            .into_inner();
        down.message().await.unwrap().expect("a welcome");
        open.push((up, down));
    }
    drop(open);
    let mut slow = Vec::new();
    for _ in 0..2 {
        slow.push(Raw::announce(agent.clone(), SESSION, 900_000, HALF).await);
    }
    assert_eq!(
        limit(&first_of(&mut slow).await),
        "limits.request_bytes_per_principal"
    );
}

#[tokio::test]
async fn one_without_a_name_may_send_little() {
    let world = World::founded().await;
    let nobody = world.channel_as_nobody();
    let told = |status: &Status| {
        assert_eq!(
            (status.code(), reason(status)),
            (Code::InvalidArgument, "BAD_FIELD"),
            "{status}"
        );
        assert_eq!(info(status).metadata["field"], "request");
        assert!(
            status
                .message()
                .contains("65536 bytes (limits.request_bytes_joiner)"),
            "{status}"
        );
    };
    let mut announced = Raw::announce(nobody.clone(), ENROLL, 65_537, 0).await;
    told(&announced.status().await);
    // Many short messages are as long as a long one.
    let mut many = Raw::begin(nobody, ENROLL).await;
    let short = [0, 0, 0, 0, 2, 10, 0];
    many.body.send(Bytes::from(short.repeat(10_000))).await.unwrap();
    told(&many.status().await);
}

#[tokio::test]
async fn a_body_that_is_packed_is_refused_and_told_what_to_do() {
    let world = World::founded().await;
    let mut channel = world.channel_as(ADMIN);
    let request = http::Request::post(RESOLVE)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", "gzip")
        .body(tonic::body::Body::empty())
        .unwrap();
    std::future::poll_fn(|cx| GrpcService::<tonic::body::Body>::poll_ready(&mut channel, cx))
        .await
        .unwrap();
    let answer = GrpcService::call(&mut channel, request).await.unwrap();
    let refused = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(
        (refused.code(), info(&refused).reason),
        (Code::Unimplemented, Reason::NotOffered)
    );
    assert!(
        refused.message().ends_with("send it without compression"),
        "{refused:?}"
    );
    // What the node does read stands beside it, as gRPC asks for.
    assert_eq!(answer.headers()["grpc-accept-encoding"], "identity");
}
