//! One gRPC service over all nodes: asks one, and the next when that one is dead, frozen or not ready.
//!
//! ```text
//! generated client ─► Failover ─┬─► node 1   lazy channel, health
//!                               ├─► node 2
//!                               └─► node 3
//! ```
//! A request that may be repeated is buffered and sent again, byte for byte, until its deadline.
//! tonic's balanced channel is deliberately absent: it counts dead endpoints as ready.

mod deadline;
mod health;
mod method;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use parking_lot::Mutex;
use reeve_proto::identity::{self, Connector, Tuning};
use tonic::{
    Code, ConnectError, Status,
    body::Body,
    codegen::http::{Request, Response, request::Parts},
    transport::Channel,
};
use tower::{Service, ServiceExt};
use tracing::debug;

use self::{
    deadline::Deadline,
    health::Health,
    method::{Method, Shape},
};
use crate::Error;

const RESPONSE_BYTES_MAX: usize = 16 << 20;
/// Between two rounds over all nodes; doubled with each, up to the maximum.
const ROUND_PAUSE_MIN: Duration = Duration::from_millis(50);
const ROUND_PAUSE_MAX: Duration = Duration::from_secs(1);

/// A cloneable `tower::Service` that any generated client can stand on.
#[derive(Clone)]
pub struct Failover {
    nodes: Arc<Nodes>,
}

struct Nodes {
    list: Vec<Node>,
    /// The node that answered last; asked first.
    preferred: AtomicUsize,
}

struct Node {
    addr: String,
    channel: Channel,
    health: Mutex<Health>,
}

/// Which node answered; in the extensions of every response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnsweredBy(usize);

/// How one try ended when it did not succeed.
struct Failed {
    status: Status,
    /// The node cannot have seen the request.
    unsent: bool,
}

impl Failover {
    /// Makes a lazy channel to each address; nothing is dialled yet.
    pub fn new(addrs: &[String], connector: &Connector, tuning: &Tuning) -> Result<Failover, Error> {
        if addrs.is_empty() {
            return Err(Error::Invalid {
                what: "nodes",
                why: "name at least one host:port".to_owned(),
            });
        }
        let node = |addr: &String| {
            let channel = identity::channel(addr, connector.clone(), tuning).map_err(|_| Error::Invalid {
                what: "nodes",
                why: format!("{addr:?} is not host:port"),
            })?;
            Ok(Node {
                addr: addr.clone(),
                channel,
                health: Mutex::default(),
            })
        };
        let list = addrs.iter().map(node).collect::<Result<Vec<_>, Error>>()?;
        // Clients that start together spread over the nodes.
        let preferred = AtomicUsize::new(rand::random_range(0..list.len()));
        Ok(Failover {
            nodes: Arc::new(Nodes { list, preferred }),
        })
    }

    /// Over no node at all.
    #[cfg(feature = "mock")]
    pub(crate) fn nowhere() -> Failover {
        Failover {
            nodes: Arc::new(Nodes {
                list: Vec::new(),
                preferred: AtomicUsize::default(),
            }),
        }
    }

    /// Leaves a node alone for a while, for a reason that only the caller can see: a silent stream.
    pub fn blame(&self, node: AnsweredBy) {
        self.nodes.failed(node.0);
    }

    /// The address behind an answer.
    pub fn addr(&self, node: AnsweredBy) -> &str {
        self.nodes.list.get(node.0).map_or("", |node| node.addr.as_str())
    }
}

impl Nodes {
    fn order(&self) -> Vec<usize> {
        let healths: Vec<Health> = self.list.iter().map(|node| *node.health.lock()).collect();
        health::order(&healths, self.preferred.load(Ordering::Relaxed), Instant::now())
    }

    fn succeeded(&self, node: usize) {
        self.preferred.store(node, Ordering::Relaxed);
        self.list[node].health.lock().succeeded();
    }

    fn failed(&self, node: usize) {
        if let Some(node) = self.list.get(node) {
            node.health.lock().failed(Instant::now(), rand::random());
        }
    }

    async fn carry(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        #[cfg(feature = "mock")]
        if self.list.is_empty() {
            return Err(Status::unavailable("this fleet has no registry"));
        }
        let method = Method::of(request.uri().path());
        if method.shape == Shape::ClientStream {
            return self.carry_once(request, &method).await;
        }
        let (head, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|e| Status::internal(e.to_string()))?
            .to_bytes();
        let may_repeat = method.may_repeat(&body);
        let deadline = Deadline::of(&head.headers, Instant::now());
        let mut pause = ROUND_PAUSE_MIN;
        let mut last = Status::deadline_exceeded("the deadline passed before any node was asked");
        loop {
            for node in self.order() {
                let left = deadline.left(Instant::now());
                if left.is_zero() {
                    return Err(last);
                }
                let patience = method.patience.unwrap_or(left).min(left);
                match self.try_node(node, &head, &body, method.shape, patience).await {
                    Ok(response) => return Ok(response),
                    Err(failed) if failed.unsent || may_repeat => last = failed.status,
                    Err(failed) => return Err(failed.status),
                }
            }
            let jittered = pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
            tokio::time::sleep(jittered.min(deadline.left(Instant::now()))).await;
            pause = (pause * 2).min(ROUND_PAUSE_MAX);
        }
    }

    /// One try at one node; an answer of UNAVAILABLE counts as a failure like a dead connection.
    async fn try_node(
        &self,
        node: usize,
        head: &Parts,
        body: &Bytes,
        shape: Shape,
        patience: Duration,
    ) -> Result<Response<Body>, Failed> {
        let mut request = Request::new(Body::new(Full::new(body.clone())));
        *request.uri_mut() = head.uri.clone();
        *request.method_mut() = head.method.clone();
        *request.headers_mut() = head.headers.clone();
        if shape == Shape::Unary {
            deadline::announce(request.headers_mut(), patience);
        }
        let answered = async {
            let response = self.ask(node, request).await?;
            match shape {
                Shape::Unary => whole(response).await,
                _ => turned_away(response.headers()).map_or(Ok(response), Err),
            }
        };
        let result = tokio::time::timeout(patience, answered)
            .await
            .unwrap_or_else(|_| Err(frozen()));
        self.judge(node, result)
    }

    /// For streams of the caller's own messages: one healthy node, one try.
    async fn carry_once(&self, request: Request<Body>, method: &Method) -> Result<Response<Body>, Status> {
        let deadline = match method.patience {
            Some(_) => Deadline::NEVER,
            None => Deadline::of(request.headers(), Instant::now()),
        };
        let patience = method.patience.unwrap_or(deadline.left(Instant::now()));
        let node = self.order().first().copied().unwrap_or_default();
        let result = tokio::time::timeout(patience, self.ask(node, request)).await;
        self.judge(node, result.unwrap_or_else(|_| Err(frozen())))
            .map_err(|failed| failed.status)
    }

    async fn ask(&self, node: usize, request: Request<Body>) -> Result<Response<Body>, Failed> {
        let mut channel = self.list[node].channel.clone();
        let ready = channel.ready().await.map_err(|e| failed_transport(&e))?;
        ready.call(request).await.map_err(|e| failed_transport(&e))
    }

    fn judge(&self, node: usize, result: Result<Response<Body>, Failed>) -> Result<Response<Body>, Failed> {
        match result {
            Ok(mut response) => {
                self.succeeded(node);
                response.extensions_mut().insert(AnsweredBy(node));
                Ok(response)
            }
            Err(failed) => {
                debug!(node = %self.list[node].addr, error = %failed.status, "a node did not serve");
                self.failed(node);
                Err(failed)
            }
        }
    }
}

impl Service<Request<Body>> for Failover {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let nodes = self.nodes.clone();
        Box::pin(async move { nodes.carry(request).await })
    }
}

/// Waits for the last byte, so that a node that dies in the middle of its answer is noticed here.
async fn whole(response: Response<Body>) -> Result<Response<Body>, Failed> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, RESPONSE_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| Failed {
            status: Status::from_error(error),
            unsent: false,
        })?;
    let refused = turned_away(&head.headers).or_else(|| body.trailers().and_then(turned_away));
    refused.map_or(Ok(Response::from_parts(head, Body::new(body))), Err)
}

/// The node's own word that another should be asked.
fn turned_away(headers: &tonic::codegen::http::HeaderMap) -> Option<Failed> {
    let status = Status::from_header_map(headers)?;
    (status.code() == Code::Unavailable).then_some(Failed {
        status,
        unsent: false,
    })
}

fn failed_transport(error: &tonic::transport::Error) -> Failed {
    let mut story = error.to_string();
    let mut unsent = false;
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        unsent |= cause.is::<ConnectError>();
        story = format!("{story}: {cause}");
        source = cause.source();
    }
    Failed {
        status: Status::unavailable(story),
        unsent,
    }
}

fn frozen() -> Failed {
    Failed {
        status: Status::deadline_exceeded("the node did not answer in time"),
        unsent: false,
    }
}
