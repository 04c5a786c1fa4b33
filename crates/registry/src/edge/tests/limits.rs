//! Each limit at the real door: what is too much is refused by its name, and told when to come back.

use std::pin::Pin;

use reeve_proto::error::info;
use reeve_proto::v1::agent_service_client::AgentServiceClient;
use reeve_proto::v1::audit_service_client::AuditServiceClient;
use reeve_proto::v1::group_service_client::GroupServiceClient;
use reeve_proto::v1::resolver_service_client::ResolverServiceClient;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;

use super::bodies::{ENROLL, Raw, first_of};
use super::*;
use crate::config::{Config, Limits, Rate, Rates};

const ANN: &str = ADMIN;

/// What a caller can have too much of.
type Much = for<'a> fn(&'a World) -> Pin<Box<dyn Future<Output = Status> + 'a>>;

/// A call that is under way until what is returned is dropped: its body never ends.
struct Pending {
    _task: tokio::task::JoinHandle<Result<(), Status>>,
    _body: mpsc::Sender<v1::ResolveRequest>,
}

async fn begin(channel: Channel, request: v1::ResolveRequest) -> (Pending, mpsc::Receiver<Status>) {
    let (body, messages) = mpsc::channel(1);
    let (tell, told) = mpsc::channel(1);
    body.send(request).await.unwrap();
    let task = tokio::spawn(async move {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let path = axum::http::uri::PathAndQuery::from_static("/reeve.v1.ResolverService/Resolve");
        let codec: ProstCodec<v1::ResolveRequest, v1::ResolveResponse> = ProstCodec::default();
        let messages = tonic::Request::new(ReceiverStream::new(messages));
        let ended = client.client_streaming(messages, path, codec).await.map(drop);
        if let Err(status) = &ended {
            let _ = tell.send(status.clone()).await;
        }
        ended
    });
    let pending = Pending {
        _task: task,
        _body: body,
    };
    (pending, told)
}

/// Begins calls that stay until one is refused.
async fn calls(channels: Vec<Channel>, bytes: usize) -> Status {
    let mut held = Vec::new();
    for channel in channels {
        let request = v1::ResolveRequest {
            claim: slug("x"),
            network: "n".repeat(bytes),
            ..Default::default()
        };
        held.push(begin(channel, request).await);
    }
    let refused = held.iter_mut().map(|(_, told)| Box::pin(told.recv()));
    let (first, _, _) = tokio::time::timeout(PATIENCE, futures::future::select_all(refused))
        .await
        .expect("none was refused");
    first.expect("the call ended otherwise")
}

/// Three who show a token, and do not end their sentence.
async fn joins(world: &World) -> Status {
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(Raw::announce(world.channel_as_nobody(), ENROLL, 1_000, 1).await);
    }
    first_of(&mut held).await
}

async fn watch(channel: Channel) -> Result<Streaming<v1::WatchResponse>, Status> {
    let mut resolver = ResolverServiceClient::new(channel);
    Ok(resolver.watch(v1::WatchRequest::default()).await?.into_inner())
}

fn ann(world: &World) -> Channel {
    world.channel_as(ANN)
}

async fn regions(channel: Channel) -> Result<(), Status> {
    let mut groups = GroupServiceClient::new(channel);
    groups
        .list_regions(v1::ListRegionsRequest::default())
        .await
        .map(drop)
}

async fn watch_health(channel: Channel) -> Result<Streaming<HealthCheckResponse>, Status> {
    let watched = HealthClient::new(channel)
        .watch(HealthCheckRequest::default())
        .await?;
    Ok(watched.into_inner())
}

async fn service(world: &World, name: &str) -> Channel {
    enrol(world, v1::Role::Service, name, &[]).await
}

/// A session that stays open: its first message does not come.
async fn session(channel: Channel) -> Result<Streaming<v1::SessionResponse>, Status> {
    let (up, requests) = mpsc::channel(1);
    tokio::spawn(async move { up.closed().await });
    let mut agent = AgentServiceClient::new(channel);
    Ok(agent.session(ReceiverStream::new(requests)).await?.into_inner())
}

/// The second of two connections is told that the door is full.
async fn second_connection(first: Channel, second: Channel) -> Status {
    regions(first.clone()).await.unwrap();
    let refused = regions(second).await.unwrap_err();
    regions(first).await.expect("the first one goes on");
    refused
}

fn of(limits: impl FnOnce(&mut Limits)) -> Limits {
    let mut own = Limits {
        // Bodies that never end are what these calls are held with.
        request_ms: 60_000,
        ..Limits::default()
    };
    limits(&mut own);
    own
}

fn rates(rates: impl FnOnce(&mut Rates, Rate)) -> Limits {
    of(|limits| rates(&mut limits.rates, Rate::new(1, 1)))
}

#[tokio::test]
async fn too_much_of_anything_is_refused_by_its_name_and_told_when_to_come_back() {
    let cases: Vec<(&str, Limits, Much)> = vec![
        ("limits.calls", of(|l| l.calls = 2), |world| {
            Box::pin(async move {
                let other = world.channel_as("spiffe://hospital/svc/other");
                calls(vec![world.channel_as(ANN), world.channel_as(ANN), other], 1).await
            })
        }),
        (
            "limits.calls_per_principal",
            of(|l| l.calls_per_principal = 2),
            |world| Box::pin(async move { calls((0..3).map(|_| world.channel_as(ANN)).collect(), 1).await }),
        ),
        (
            "limits.request_bytes_total",
            of(|l| l.request_bytes_total = 1 << 20),
            |world| Box::pin(async move { calls(vec![world.channel_as(ANN); 3], 500_000).await }),
        ),
        (
            "limits.request_bytes_per_principal",
            of(|l| l.request_bytes_per_principal = 1 << 20),
            |world| Box::pin(async move { calls(vec![world.channel_as(ANN); 3], 500_000).await }),
        ),
        ("limits.joins", of(|l| l.joins = 2), |world| {
            Box::pin(joins(world))
        }),
        (
            "limits.joins_per_address",
            of(|l| l.joins_per_address = 2),
            |world| Box::pin(joins(world)),
        ),
        ("limits.probes", of(|l| l.probes = 1), |world| {
            Box::pin(async move {
                let _first = watch_health(ann(world)).await.unwrap();
                watch_health(world.channel_as_nobody()).await.unwrap_err()
            })
        }),
        (
            "limits.probes_per_caller",
            of(|l| l.probes_per_caller = 1),
            |world| {
                Box::pin(async move {
                    let _first = watch_health(ann(world)).await.unwrap();
                    let refused = watch_health(ann(world)).await.unwrap_err();
                    watch_health(world.channel_as_nobody())
                        .await
                        .expect("another caller's");
                    refused
                })
            },
        ),
        (
            "limits.streams_per_principal",
            of(|l| l.streams_per_principal = 1),
            |world| {
                Box::pin(async move {
                    let _first = watch(world.channel_as(ANN)).await.unwrap();
                    let refused = watch(world.channel_as(ANN)).await.unwrap_err();
                    watch(service(world, "other").await)
                        .await
                        .expect("another principal's");
                    refused
                })
            },
        ),
        (
            "limits.streams_per_principal",
            of(|l| l.streams_per_principal = 1),
            |world| {
                Box::pin(async move {
                    let follow = |channel: Channel| async {
                        let tail = v1::TailRecordsRequest {
                            shard: "fleet".into(),
                            from_sequence: 1,
                            follow: true,
                            ..Default::default()
                        };
                        AuditServiceClient::new(channel).tail_records(tail).await
                    };
                    let _first = follow(ann(world)).await.unwrap();
                    follow(ann(world)).await.unwrap_err()
                })
            },
        ),
        ("limits.streams", of(|l| l.streams = 1), |world| {
            Box::pin(async move {
                let other = service(world, "other").await;
                let _first = watch(world.channel_as(ANN)).await.unwrap();
                watch(other).await.unwrap_err()
            })
        }),
        (
            "limits.sessions_per_agent",
            of(|l| l.sessions_per_agent = 1),
            |world| {
                Box::pin(async move {
                    let agent = join_agent(world, "vn-1").await;
                    let _first = session(agent.clone()).await.unwrap();
                    session(agent).await.unwrap_err()
                })
            },
        ),
        ("limits.sessions", of(|l| l.sessions = 1), |world| {
            Box::pin(async move {
                let (one, two) = (join_agent(world, "vn-1").await, join_agent(world, "vn-2").await);
                let _first = session(one).await.unwrap();
                session(two).await.unwrap_err()
            })
        }),
        ("limits.connections", of(|l| l.connections = 1), |world| {
            Box::pin(second_connection(world.channel_as(ANN), world.channel_as(ANN)))
        }),
        (
            "limits.connections_per_address",
            of(|l| l.connections_per_address = 1),
            |world| Box::pin(second_connection(world.channel_as(ANN), world.channel_as(ANN))),
        ),
        (
            "limits.connections_per_principal",
            of(|l| l.connections_per_principal = 1),
            |world| Box::pin(second_connection(world.channel_as(ANN), world.channel_as(ANN))),
        ),
        (
            "limits.connections_nameless",
            of(|l| l.connections_nameless = 1),
            |world| {
                Box::pin(async move {
                    let first = regions(world.channel_as_nobody()).await.unwrap_err();
                    assert_eq!(reason(&first), "UNAUTHENTICATED");
                    let held = world.channel_as_nobody();
                    drop(regions(held.clone()).await);
                    loop {
                        // The first connection may not be closed yet, or be closed already.
                        let refused = regions(world.channel_as_nobody()).await.unwrap_err();
                        drop(regions(held.clone()).await);
                        if reason(&refused) != "UNAUTHENTICATED" {
                            return refused;
                        }
                    }
                })
            },
        ),
    ];
    for (name, limits, much) in cases {
        let world = World::with_limits(limits).await;
        let refused = tokio::time::timeout(PATIENCE, much(&world)).await.expect(name);
        assert_eq!(refused.code(), Code::ResourceExhausted, "{name}: {refused}");
        let said = info(&refused);
        assert_eq!(reason(&refused), "RATE_LIMITED", "{name}");
        assert_eq!(
            said.metadata.get("limit").map(String::as_str),
            Some(name),
            "{refused}"
        );
        assert!(said.retry_after.is_some_and(|after| !after.is_zero()), "{name}");
        assert!(refused.message().contains(name), "{refused}");
        assert!(
            world.rooms.metrics.ratelimit_rejections.get() >= 1 || name.starts_with("limits.request_bytes"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn each_class_of_calls_has_a_rate_of_its_own() {
    let cases: Vec<(&str, Limits, Much)> = vec![
        ("read", rates(|r, one| r.read = one), |world| {
            Box::pin(async move {
                let ann = world.channel_as(ANN);
                regions(ann.clone()).await.unwrap();
                regions(ann).await.unwrap_err()
            })
        }),
        ("write", rates(|r, one| r.write = one), |world| {
            Box::pin(async move {
                let mut groups = GroupServiceClient::new(world.channel_as(ANN));
                let region = |name: &str| v1::CreateRegionRequest {
                    request_id: id(),
                    region: Some(v1::Region {
                        name: name.into(),
                        ..Default::default()
                    }),
                };
                groups.create_region(region("eu")).await.unwrap();
                groups.create_region(region("us")).await.unwrap_err()
            })
        }),
        ("secret", rates(|r, one| r.secret = one), |world| {
            Box::pin(async move {
                let mut admin = AccessServiceClient::new(world.channel_as(ANN));
                let wanted = || v1::CreateJoinTokenRequest {
                    role: v1::Role::Node as i32,
                    ..Default::default()
                };
                admin.create_join_token(wanted()).await.unwrap();
                admin.create_join_token(wanted()).await.unwrap_err()
            })
        }),
        ("join", rates(|r, one| r.join = one), |world| {
            Box::pin(async move {
                let mut nobody = AccessServiceClient::new(world.channel_as_nobody());
                let odd = nobody.enroll(v1::EnrollRequest::default()).await.unwrap_err();
                assert_ne!(odd.code(), Code::ResourceExhausted);
                nobody.enroll(v1::EnrollRequest::default()).await.unwrap_err()
            })
        }),
    ];
    for (name, limits, much) in cases {
        let world = World::with_limits(limits).await;
        let refused = tokio::time::timeout(PATIENCE, much(&world)).await.expect(name);
        assert_eq!(
            (refused.code(), reason(&refused)),
            (Code::ResourceExhausted, "RATE_LIMITED"),
            "{name}"
        );
        assert!(info(&refused).retry_after.is_some(), "{name}");
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_told_how_much_is_right() {
    let world = World::with_limits(of(|l| l.request_bytes = 10_000)).await;
    let mut resolver = ResolverServiceClient::new(world.channel_as(ANN));
    let large = v1::ResolveRequest {
        claim: slug("x"),
        network: "n".repeat(10_000),
        ..Default::default()
    };
    let refused = resolver.resolve(large).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::InvalidArgument, "BAD_FIELD")
    );
    assert_eq!(info(&refused).metadata["field"], "request");
    assert!(refused.message().contains("10000 bytes"), "{refused}");

    let claims = vec![slug("x").unwrap(); 1_001];
    let batch = v1::BatchResolveRequest {
        claims,
        ..Default::default()
    };
    let world = World::founded().await;
    let mut resolver = ResolverServiceClient::new(world.channel_as(ANN));
    let refused = resolver.batch_resolve(batch).await.unwrap_err();
    assert_eq!(info(&refused).metadata["field"], "claims");
}

#[tokio::test]
async fn what_ends_makes_room() {
    let world = World::with_limits(of(|l| (l.streams, l.calls) = (1, 1))).await;
    let ann = world.channel_as(ANN);
    for _ in 0..3 {
        let first = watch(ann.clone()).await.unwrap();
        assert!(watch(ann.clone()).await.is_err());
        drop(first);
        // The server hears of it a moment later.
        while watch(ann.clone()).await.is_err() {}
        tokio::time::timeout(PATIENCE, async { while watch(ann.clone()).await.is_err() {} })
            .await
            .expect("a place");
        regions(ann.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn half_open_handshakes_are_dropped_and_keep_nobody_out() {
    let world = World::with_limits(of(|l| {
        (l.handshakes, l.handshakes_per_address, l.handshake_ms) = (1, 1, 300)
    }))
    .await;
    let mut half_open = Vec::new();
    for _ in 0..3 {
        half_open.push(TcpStream::connect(world.address).await.unwrap());
    }
    for mut tcp in half_open {
        let mut said = Vec::new();
        let closed = tcp.read_to_end(&mut said);
        drop(
            tokio::time::timeout(PATIENCE, closed)
                .await
                .expect("it stays open"),
        );
        assert!(said.is_empty());
    }
    regions(world.channel_as(ANN)).await.unwrap();
}

#[tokio::test]
async fn who_connects_and_says_nothing_takes_no_turn_and_makes_room_for_the_next() {
    let world = World::with_limits(of(|l| {
        (l.handshakes, l.handshakes_per_address, l.handshake_ms) = (1, 1, 600_000);
        l.connections_silent = 4;
    }))
    .await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(world.address).await.unwrap());
    }
    let ann = world.channel_as(ANN);
    tokio::time::timeout(PATIENCE, regions(ann.clone()))
        .await
        .expect("they keep it out")
        .unwrap();
    // With the one that spoke there were five, so the first has left.
    let first = silent[0].read_u8();
    let closed = tokio::time::timeout(PATIENCE, first)
        .await
        .expect("it stays open");
    assert!(closed.is_err());
    for still in &silent[1..] {
        let nothing = still.try_read(&mut [0]).unwrap_err();
        assert_eq!(
            nothing.kind(),
            std::io::ErrorKind::WouldBlock,
            "it makes room for nobody"
        );
    }
    regions(ann).await.unwrap();
}

#[tokio::test]
async fn a_connection_has_so_many_streams_and_http2_holds_back_more() {
    let world = World::with_limits(of(|l| l.streams_per_connection = 1)).await;
    let one = world.channel_as(ANN);
    let first = watch(one.clone()).await.unwrap();
    let mut second = tokio::spawn(regions(one));
    let other = world.channel_as(ANN);
    for _ in 0..20 {
        tokio::select! {
            biased;
            _ = &mut second => panic!("it went past the first stream"),
            asked = regions(other.clone()) => asked.unwrap(),
        }
    }
    drop(first);
    tokio::time::timeout(PATIENCE, second)
        .await
        .expect("its turn")
        .unwrap()
        .unwrap();
}

#[test]
fn every_limit_is_written_down_with_its_default() {
    const DOC: &str = include_str!("../../../../../docs/limits.md");
    let defaults = toml::Table::try_from(Config::default().limits).unwrap();
    let mut missing = Vec::new();
    for (name, value) in &defaults {
        match value {
            toml::Value::Table(rates) => {
                for (class, rate) in rates {
                    let row = format!(
                        "| `limits.rates.{class}` | {} a second, {} at once |",
                        rate["per_second"], rate["burst"]
                    );
                    missing.extend((!DOC.contains(&row)).then_some(row));
                }
            }
            value => {
                let row = format!("| `limits.{name}` | {value} |");
                missing.extend((!DOC.contains(&row)).then_some(row));
            }
        }
    }
    assert!(missing.is_empty(), "docs/limits.md lacks {missing:#?}");
}
