//! Real gRPC servers over real TLS, whose answers a test writes.

#![allow(dead_code, reason = "each test file uses its own part of this")]

pub mod crowd;
pub mod postgres;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use reeve_client::{Credentials, KeyRequest};
use reeve_proto::identity::{
    Authority, Bounds, ClientAuth, Issuer, SpiffeId, Usage, ca, incoming, server_config,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Status,
    body::Body,
    codegen::http::{HeaderMap, Request, Response},
    transport::Server,
};

pub type BoxStream = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
pub type Answering = Pin<Box<dyn Future<Output = Result<BoxStream, Status>> + Send>>;
/// Path and message in, messages out.
pub type Handler = Arc<dyn Fn(&str, Bytes) -> Answering + Send + Sync>;

pub struct Cluster {
    pub root: Authority,
    issuing: Authority,
}

impl Cluster {
    pub fn new() -> Cluster {
        let root = ca::root("hospital", SystemTime::now()).unwrap();
        let issuing = ca::issuing(&root, "hospital", SystemTime::now()).unwrap();
        Cluster { root, issuing }
    }

    pub fn issue(&self, csr_pem: &str, who: &str, usage: &Usage) -> String {
        self.issue_for(Duration::from_secs(86_400), csr_pem, who, usage)
    }

    pub fn issue_for(&self, life: Duration, csr_pem: &str, who: &str, usage: &Usage) -> String {
        let issuer = Issuer::new(&self.issuing.cert_pem, &self.issuing.key_pem, &self.root.cert_pem).unwrap();
        let who = SpiffeId::parse(&format!("spiffe://hospital/{who}")).unwrap();
        issuer
            .issue(csr_pem, &who, usage, life, SystemTime::now())
            .unwrap()
            .chain_pem
    }

    pub fn credentials(&self, who: &str, usage: &Usage) -> Credentials {
        let own = KeyRequest::generate().unwrap();
        let chain = self.issue(&own.csr_pem, who, usage);
        Credentials::from_pem(&chain, &own.key_pem, &self.root.cert_pem).unwrap()
    }

    pub fn client(&self) -> Credentials {
        self.credentials("svc/ehr", &Usage::Client)
    }

    /// A node that answers by the handler until it is dropped.
    pub async fn node(&self, number: u64, handler: Handler) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let hosts = vec!["127.0.0.1".to_owned()];
        let credentials = self.credentials(&format!("node/{number}"), &Usage::Node { hosts });
        let config = server_config(&credentials, ClientAuth::Optional).unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let service = Scripted {
            handler,
            calls: calls.clone(),
        };
        let connections = incoming(listener, config, &credentials, Bounds::default());
        let task = tokio::spawn(async move {
            Server::builder()
                .serve_with_incoming(service, connections)
                .await
                .unwrap();
        });
        Node { addr, calls, task }
    }
}

pub struct Node {
    pub addr: SocketAddr,
    calls: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Node {
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address at which nobody listens.
pub async fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Answers every call of these paths with one message, and UNIMPLEMENTED to the rest.
pub fn table<M: Message>(answers: impl IntoIterator<Item = (&'static str, M)>) -> Handler {
    let answers: BTreeMap<&str, Bytes> = answers
        .into_iter()
        .map(|(method, message)| (method, frame(&message)))
        .collect();
    Arc::new(move |path, _| {
        let method = path.rsplit('/').next().unwrap();
        let answer = answers
            .get(method)
            .cloned()
            .ok_or_else(|| Status::unimplemented(method));
        Box::pin(async move { answer.map(one) })
    })
}

pub fn fails(status: impl Fn() -> Status + Send + Sync + 'static) -> Handler {
    Arc::new(move |_, _| {
        let status = status();
        Box::pin(async move { Err(status) })
    })
}

/// Takes calls and says nothing, like a stopped process.
pub fn frozen() -> Handler {
    Arc::new(|_, _| Box::pin(std::future::pending()))
}

/// Sends half of its answer and breaks off.
pub fn dies_half_way() -> Handler {
    Arc::new(|_, _| {
        let half = Bytes::from_static(&[0, 0, 0, 0, 9, 1]);
        let broken = stream::iter([Ok(half), Err(Status::internal("gone"))]);
        Box::pin(async move { Ok(Box::pin(broken) as BoxStream) })
    })
}

pub fn one(frame: Bytes) -> BoxStream {
    Box::pin(stream::iter([Ok(frame)]))
}

pub fn frame(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

#[derive(Clone)]
struct Scripted {
    handler: Handler,
    calls: Arc<AtomicUsize>,
}

impl tower::Service<Request<Body>> for Scripted {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let scripted = self.clone();
        scripted.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            match (scripted.handler)(&path, body.slice(5..)).await {
                Err(status) => Ok(status.into_http()),
                Ok(messages) => Ok(grpc_answer(messages)),
            }
        })
    }
}

/// Messages, and `grpc-status: 0` at the end of them.
pub fn grpc_answer(messages: BoxStream) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let end = stream::iter([Ok(http_body::Frame::trailers(trailers))]);
    let frames = messages
        .map(|message| message.map(http_body::Frame::data))
        .chain(end);
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    response
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    response
}
