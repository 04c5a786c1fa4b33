//! The door of a service: each request meets its own tenant, or an answer that says why not.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use http::{HeaderName, Request, Response};
use http_body_util::BodyExt;
use prost::Message;
use reeve_client::{
    Fleet, Refused, Selector, TenantDb, TenantLayer, TenantService,
    select::{Hosts, InvalidToken, Peer, Select, Verified, Verify},
    v1::{self, access_service_client::AccessServiceClient, tenant::State},
};
use reeve_proto::error;
use serde_json::{Map, Value, json};
use support::*;
use tonic::{Code, Status};
use tower::{Layer, Service, ServiceExt};

const TENANT: HeaderName = HeaderName::from_static("x-tenant");
const CHO_RAY: &str = "t_000000000001";
const CHARITE: &str = "t_000000000002";

/// A registry that knows two hospitals by several names, one that is suspended, and gives no answer about another.
fn registry() -> Handler {
    Arc::new(|path, message| {
        let path = path.to_owned();
        Box::pin(async move {
            if !path.ends_with("/Resolve") {
                return Err(Status::unimplemented(path));
            }
            let key = v1::ResolveRequest::decode(message).unwrap().claim.unwrap().key;
            let active = |tenant| Ok(one(frame(&answer(tenant, State::Active))));
            match key.as_str() {
                "cho-ray.example" | "x-tenant: cho-ray" | "cho-ray" => active(CHO_RAY),
                "charite.example" | "x-tenant: charite" | "charite" => active(CHARITE),
                "asleep.example" => Ok(one(frame(&answer("t_000000000003", State::Suspended)))),
                "down.example" => Err(Status::unavailable("no node is there")),
                _ => Err(error::status(
                    v1::ErrorReason::TenantNotFound,
                    "no such tenant",
                    &[],
                )),
            }
        })
    })
}

fn answer(tenant: &str, state: State) -> v1::ResolveResponse {
    let resolution = v1::Resolution {
        tenant_id: tenant.into(),
        state: state.into(),
        database: tenant.into(),
        write: Some(v1::Endpoint {
            network: "default".into(),
            host: "db".into(),
            port: 5432,
        }),
        ..Default::default()
    };
    let freshness = v1::Freshness {
        revision: 9,
        staleness: Duration::ZERO.try_into().ok(),
        ..Default::default()
    };
    v1::ResolveResponse {
        resolution: Some(resolution),
        freshness: Some(freshness),
        explanation: Vec::new(),
    }
}

/// Believes the slug that a token spells.
struct Spelled;

impl Verify for Spelled {
    fn verify(&self, token: &str) -> Result<Verified, InvalidToken> {
        Ok(Verified {
            tenant: Selector::slug(token).map_err(|_| InvalidToken::Malformed)?,
            claims: Map::from_iter([("sub".to_owned(), json!("dr-lan"))]),
        })
    }
}

struct House {
    fleet: Fleet,
    _node: Node,
}

impl House {
    async fn open() -> House {
        let cluster = Cluster::new();
        let node = cluster.node(1, registry()).await;
        let fleet = Fleet::builder()
            .nodes([node.addr()])
            .credentials(cluster.client())
            .watch(false)
            .build()
            .unwrap();
        House { fleet, _node: node }
    }

    /// By host, header or token; its only route says who was let in, and by whom.
    fn web(&self) -> Router {
        let select = Select::domain()
            .or(Select::header(TENANT))
            .or(Select::token(Spelled));
        self.web_by(select)
    }

    fn web_by(&self, select: Select) -> Router {
        let route = get(async |db: TenantDb, request: Request<Body>| {
            let doctor = request
                .extensions()
                .get::<Verified>()
                .map(|v| v.claims["sub"].clone());
            format!("{} {}", db.tenant().tenant, doctor.unwrap_or(Value::Null))
        });
        Router::new()
            .route("/", route)
            .layer(TenantLayer::new(self.fleet.clone(), select))
    }
}

async fn ask(web: &Router, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    web.clone().oneshot(request).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Status and reason, after a look whether the problem is told as one.
async fn problem(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].clone();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let problem: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(kind, "application/problem+json");
    assert_eq!(problem["status"], status);
    (status, problem["reason"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn each_request_meets_its_own_tenant() {
    let house = House::open().await;
    let web = house.web();
    let host = |name| ("host", name);
    for (headers, tenant) in [
        (vec![host("cho-ray.example")], CHO_RAY),
        (vec![host("charite.example:443")], CHARITE),
        (vec![host("cho-ray.example"), ("x-tenant", "cho-ray")], CHO_RAY),
        (vec![("x-tenant", "charite")], CHARITE),
    ] {
        let response = ask(&web, &headers).await;
        assert_eq!(text(response).await, format!("{tenant} null"), "{headers:?}");
    }
    let signed = [host("cho-ray.example"), ("authorization", "Bearer cho-ray")];
    assert_eq!(
        text(ask(&web, &signed).await).await,
        format!("{CHO_RAY} \"dr-lan\"")
    );
    assert_eq!(house.fleet.mismatches(), 0);
}

#[tokio::test]
async fn a_request_of_two_tenants_is_refused_and_counted() {
    let house = House::open().await;
    let web = house.web();
    let host = ("host", "cho-ray.example");
    for (nth, other) in [
        ("authorization", "Bearer charite"),
        ("x-tenant", "charite"),
        ("authorization", "Bearer nobody"),
        ("x-tenant", "nobody"),
    ]
    .into_iter()
    .enumerate()
    {
        let refused = problem(ask(&web, &[host, other]).await).await;
        assert_eq!(refused, (403, "TENANT_MISMATCH".to_owned()), "{other:?}");
        assert_eq!(house.fleet.mismatches(), nth as u64 + 1);
    }
}

#[tokio::test]
async fn doors_behind_one_another_find_the_same_tenant() {
    let house = House::open().await;
    let outer = TenantLayer::new(house.fleet.clone(), Select::domain().or(Select::token(Spelled)));
    let web = house.web_by(Select::header(TENANT)).layer(outer);
    let host = ("host", "cho-ray.example");
    let token = ("authorization", "Bearer cho-ray");
    let let_in = ask(&web, &[host, token, ("x-tenant", "cho-ray")]).await;
    assert_eq!(text(let_in).await, format!("{CHO_RAY} \"dr-lan\""));
    let refused = problem(ask(&web, &[host, token, ("x-tenant", "charite")]).await).await;
    assert_eq!(
        (refused, house.fleet.mismatches()),
        ((403, "TENANT_MISMATCH".to_owned()), 1)
    );
}

#[tokio::test]
async fn only_who_speaks_grpc_is_answered_in_it() {
    let house = House::open().await;
    let web = house.web();
    for (method, kind) in [
        ("GET", "application/grpc"),
        ("POST", "application/grpcfoo"),
        ("POST", "application/grpc-web"),
        ("POST", "application/json"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri("/")
            .header("content-type", kind);
        let request = request
            .header("host", "nobody.example")
            .body(Body::empty())
            .unwrap();
        let refused = problem(web.clone().oneshot(request).await.unwrap()).await;
        assert_eq!(refused, (404, "TENANT_NOT_FOUND".to_owned()), "{method} {kind}");
    }
    for kind in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc;x=y",
    ] {
        let request = Request::post("/").header("content-type", kind);
        let request = request
            .header("host", "nobody.example")
            .body(Body::empty())
            .unwrap();
        let response = web.clone().oneshot(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["grpc-status"]),
            (200, &"5".parse().unwrap())
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn what_is_refused_says_why_and_when_to_come_back() {
    let house = House::open().await;
    let web = house.web();
    let host = |name| vec![("host", name)];
    for (headers, status, reason) in [
        (host("nobody.example"), 404, "TENANT_NOT_FOUND"),
        (host("10.0.0.1"), 421, "HOST_IS_ADDRESS"),
        (host("a..b"), 400, "TENANT_UNREADABLE"),
        (host("asleep.example"), 503, "TENANT_NOT_SERVING"),
        (host("down.example"), 503, "REGISTRY_UNAVAILABLE"),
        (vec![("authorization", "Bearer ???")], 401, "TOKEN_INVALID"),
        (vec![], 401, "TOKEN_MISSING"),
    ] {
        let response = ask(&web, &headers).await;
        let has = |name: &str| {
            response
                .headers()
                .get(name)
                .map(|v| v.to_str().unwrap().to_owned())
        };
        let (pause, challenge) = (has("retry-after"), has("www-authenticate"));
        assert_eq!(
            problem(response).await,
            (status, reason.to_owned()),
            "{headers:?}"
        );
        assert_eq!(pause.is_some(), status == 503, "{headers:?}: {pause:?}");
        let expected = match reason {
            "TOKEN_INVALID" => Some(r#"Bearer error="invalid_token""#),
            "TOKEN_MISSING" => Some("Bearer"),
            _ => None,
        };
        assert_eq!(challenge.as_deref(), expected, "{headers:?}");
    }
    assert_eq!(house.fleet.mismatches(), 0);
}

#[tokio::test]
async fn who_sent_it_is_found_where_the_server_said_it() {
    let house = House::open().await;
    let hosts = Hosts::default().behind("10.0.0.0/8").unwrap();
    let web = house.web_by(Select::domain_of(hosts));
    let proxy: SocketAddr = "10.0.0.1:999".parse().unwrap();
    let request = || {
        let request = Request::get("/")
            .header("host", "proxy.example")
            .header("x-forwarded-host", "cho-ray.example");
        request.body(Body::empty()).unwrap()
    };
    let mut by_axum = request();
    by_axum.extensions_mut().insert(axum::extract::ConnectInfo(proxy));
    let mut by_us = request();
    by_us.extensions_mut().insert(Peer(proxy.ip()));
    for request in [by_axum, by_us] {
        let response = web.clone().oneshot(request).await.unwrap();
        assert_eq!(text(response).await, format!("{CHO_RAY} null"));
    }
    let unknown = web.clone().oneshot(request()).await.unwrap();
    assert_eq!(
        problem(unknown).await,
        (400, "TENANT_UNREADABLE".to_owned()),
        "nobody knows who forwarded it"
    );
}

#[tokio::test]
async fn a_handler_without_a_door_and_one_whose_database_fails_answer_for_themselves() {
    let house = House::open().await;
    let bare = Router::new().route("/", get(async |_: TenantDb| "in"));
    assert_eq!(ask(&bare, &[]).await.status(), 500);

    let failing = get(async |db: TenantDb| -> Result<&str, Refused> {
        // The registry of this test gives no credentials.
        db.read().await?;
        db.write().await?;
        Ok("in")
    });
    let layer = TenantLayer::new(house.fleet.clone(), Select::domain());
    let web = Router::new().route("/", failing).layer(layer);
    let refused = problem(ask(&web, &[("host", "cho-ray.example")]).await).await;
    assert_eq!(refused, (500, "INTERNAL".to_owned()));
}

/// Answers every gRPC call with the tenant that it was let in for.
#[derive(Clone)]
struct Named;

impl tonic::server::NamedService for Named {
    const NAME: &'static str = "reeve.v1.AccessService";
}

impl Service<Request<tonic::body::Body>> for Named {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let tenant = request.extensions().get::<TenantDb>().unwrap().tenant();
        let name = tenant.tenant.to_string();
        let said = v1::WhoAmIResponse {
            actions: vec![name],
            ..Default::default()
        };
        Box::pin(async move { Ok(grpc_answer(one(frame(&said)))) })
    }
}

#[tokio::test]
async fn a_tonic_server_behind_the_door_serves_its_tenants_and_refuses_in_grpc() {
    let house = House::open().await;
    // tonic says who is connected; its word is taken for a proxy's address.
    let hosts = Hosts::default().behind("127.0.0.1").unwrap();
    let select = Select::domain_of(hosts).or(Select::header(TENANT));
    let service: TenantService<Named> = TenantLayer::new(house.fleet.clone(), select).layer(Named);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connections = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(service);
    let serving = tokio::spawn(server.serve_with_incoming(connections));

    let channel = tonic::transport::Endpoint::from_shared(format!("http://localhost:{}", addr.port()))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let call = async |forwarded: &'static str, header: &'static str| {
        let mut request = tonic::Request::new(v1::WhoAmIRequest {});
        let metadata = request.metadata_mut();
        metadata.insert("x-forwarded-host", forwarded.parse().unwrap());
        metadata.insert("x-tenant", header.parse().unwrap());
        AccessServiceClient::new(channel.clone()).who_am_i(request).await
    };
    let met = call("charite.example", "charite").await.unwrap().into_inner();
    assert_eq!(met.actions, [CHARITE]);
    let reason = |status: &Status| status.metadata().get("reeve-reason").cloned();
    let refused = call("charite.example", "cho-ray").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(reason(&refused).unwrap(), "TENANT_MISMATCH");
    for (host, code) in [
        ("nobody.example", Code::NotFound),
        ("10.0.0.1", Code::InvalidArgument),
        ("asleep.example", Code::Unavailable),
    ] {
        let refused = call(host, "nobody").await.unwrap_err();
        assert_eq!(refused.code(), code, "{host}");
        let pushback = refused.metadata().get("grpc-retry-pushback-ms").is_some();
        assert_eq!(pushback, code == Code::Unavailable, "{host}");
    }
    serving.abort();
}

#[test]
fn what_a_handler_fails_with_is_a_grpc_status_too() {
    let code = |refused: Refused| Status::from(refused).code();
    assert_eq!(code(Refused::TokenMissing), Code::Unauthenticated);
    let answer = reeve_client::Error::Answer("x".into());
    assert_eq!(code(Refused::from(answer)), Code::Internal);
}
