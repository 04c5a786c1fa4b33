//! One gRPC service over all nodes: asks one, and the next when that one is dead, frozen or not ready.
//!
//! ```text
//! generated client ─► Failover ─┬─► node 1   lazy channel, health
//!                               ├─► node 2
//!                               └─► node 3
//! ```
//! While a node takes longer over a resolve than is usual, a second one is asked, and the first good answer counts.
//! A request that may be repeated is buffered and sent again, byte for byte, until its deadline.
//! tonic's balanced channel is deliberately absent: it counts dead endpoints as ready.

mod deadline;
mod health;
mod hedge;
mod method;

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::{Either, select};
use http_body_util::{BodyExt, Full, Limited};
use parking_lot::Mutex;
use reeve_proto::{
    error::info,
    identity::{self, Connector, Tuning},
};
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
    hedge::Hedge,
    method::{Method, Shape},
};
use crate::Error;

const RESPONSE_BYTES_MAX: usize = 16 << 20;
/// Between two rounds over all nodes; doubled with each, up to the maximum.
const ROUND_PAUSE_MIN: Duration = Duration::from_millis(50);
const ROUND_PAUSE_MAX: Duration = Duration::from_secs(1);
/// For nodes that ask for a pause without saying how long.
const PEACE: Duration = Duration::from_secs(1);

/// A cloneable `tower::Service` that any generated client can stand on.
#[derive(Clone)]
pub struct Failover {
    nodes: Arc<Nodes>,
}

struct Nodes {
    list: Vec<Node>,
    /// The node that answered last; asked first.
    preferred: AtomicUsize,
    hedge: Mutex<Hedge>,
    /// Calls for which a second node was asked, and those of them that it answered.
    hedged: AtomicU64,
    hedges_won: AtomicU64,
}

struct Node {
    addr: String,
    channel: Channel,
    health: Mutex<Health>,
}

/// Which node answered; in the extensions of every response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnsweredBy(usize);

/// What one call asks of whichever node.
struct Question<'a> {
    head: &'a Parts,
    body: &'a Bytes,
    method: Method,
    deadline: Deadline,
}

/// What a node said that did not do what it was asked.
#[derive(Clone)]
struct Refusal(Status);

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
            nodes: Arc::new(Nodes {
                list,
                preferred,
                hedge: Mutex::default(),
                hedged: AtomicU64::default(),
                hedges_won: AtomicU64::default(),
            }),
        })
    }

    /// Over no node at all.
    #[cfg(feature = "mock")]
    pub(crate) fn nowhere() -> Failover {
        Failover {
            nodes: Arc::new(Nodes {
                list: Vec::new(),
                preferred: AtomicUsize::default(),
                hedge: Mutex::default(),
                hedged: AtomicU64::default(),
                hedges_won: AtomicU64::default(),
            }),
        }
    }

    /// Leaves a node alone for a while, for a reason that only the caller can see: a silent stream.
    pub fn blame(&self, node: AnsweredBy) {
        self.nodes.failed(node.0);
    }

    /// Calls for which a second node was asked, and those of them that it answered.
    #[cfg(feature = "metrics")]
    pub(crate) fn hedges(&self) -> [u64; 2] {
        [&self.nodes.hedged, &self.nodes.hedges_won].map(|count| count.load(Ordering::Relaxed))
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
        let question = Question {
            head: &head,
            body: &body,
            method,
            deadline,
        };
        if method.is_hedged
            && let [one, two, ..] = self.order()[..]
            && let Ok(response) = self.first_of(one, two, &question).await
        {
            return Ok(response);
        }
        let mut pause = ROUND_PAUSE_MIN;
        let mut last = Status::deadline_exceeded("the deadline passed before any node was asked");
        loop {
            for node in self.order() {
                if deadline.left(Instant::now()).is_zero() {
                    return Err(last);
                }
                match self.try_node(node, &question).await {
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

    /// The answer of one node, or of another one when the first is slow. What both fail at is left to the usual rounds.
    async fn first_of(
        &self,
        one: usize,
        two: usize,
        question: &Question<'_>,
    ) -> Result<Response<Body>, Failed> {
        let begun = Instant::now();
        let alone = self.hedge.lock().begins();
        let mut first = pin!(self.try_node(one, question));
        let answer = match tokio::time::timeout(alone, first.as_mut()).await {
            Ok(answer) => answer,
            Err(_) if !self.hedge.lock().may_ask(Instant::now()) => first.await,
            Err(_) => {
                debug!(node = %self.list[two].addr, "another node is asked as well");
                self.hedged.fetch_add(1, Ordering::Relaxed);
                let answer = match select(first, pin!(self.try_node(two, question))).await {
                    Either::Left((Err(_), second)) => second.await,
                    Either::Left((answer, _)) => answer,
                    Either::Right((Ok(answer), _)) if is_good(&answer) => Ok(answer),
                    // Who was asked first may know better.
                    Either::Right((other, first)) => first.await.or(other),
                };
                let by = answer.as_ref().ok().and_then(|answer| answer.extensions().get());
                if by == Some(&AnsweredBy(two)) {
                    self.hedges_won.fetch_add(1, Ordering::Relaxed);
                }
                answer
            }
        };
        if answer.is_ok() {
            self.hedge.lock().answered(begun.elapsed());
        }
        answer
    }

    /// One try at one node; an answer of UNAVAILABLE counts as a failure like a dead connection.
    async fn try_node(&self, node: usize, question: &Question<'_>) -> Result<Response<Body>, Failed> {
        let (head, body, method) = (question.head, question.body, question.method);
        let (shape, left) = (method.shape, question.deadline.left(Instant::now()));
        let patience = method.patience.unwrap_or(left).min(left);
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
                if let Some(Refusal(status)) = response.extensions().get() {
                    self.listen(status);
                }
                response.extensions_mut().insert(AnsweredBy(node));
                Ok(response)
            }
            Err(failed) => {
                debug!(node = %self.list[node].addr, error = %failed.status, "a node did not serve");
                self.failed(node);
                self.listen(&failed.status);
                Err(failed)
            }
        }
    }

    /// Who asks for a pause is not asked for more than it must.
    fn listen(&self, status: &Status) {
        let asked = info(status).retry_after;
        let full = (status.code() == Code::ResourceExhausted).then_some(PEACE);
        if let Some(pause) = asked.or(full) {
            self.hedge.lock().pushed_back(Instant::now(), pause);
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
    let (mut head, body) = response.into_parts();
    let body = Limited::new(body, RESPONSE_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| Failed {
            status: Status::from_error(error),
            unsent: false,
        })?;
    let refused = turned_away(&head.headers).or_else(|| body.trailers().and_then(turned_away));
    let status = Status::from_header_map(&head.headers)
        .or_else(|| Status::from_header_map(body.trailers()?))
        .filter(|status| status.code() != Code::Ok);
    if let Some(status) = status {
        head.extensions.insert(Refusal(status));
    }
    refused.map_or(Ok(Response::from_parts(head, Body::new(body))), Err)
}

fn is_good(answer: &Response<Body>) -> bool {
    answer.extensions().get::<Refusal>().is_none()
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
        let cause_said = cause.to_string();
        // One error often says no more than the one that it hides.
        if !story.ends_with(&cause_said) {
            story = format!("{story}: {cause_said}");
        }
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
