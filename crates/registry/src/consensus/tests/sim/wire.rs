//! Calls between nodes in memory: the real client and the real door, with a network of the simulation between them.
//!
//! A call with one message each way can be late, lost, overtaken or doubled. A stream keeps its order, as TCP does: it
//! can be late, stand still, break, or die without a word.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, poll_fn};
use http_body::{Body as _, Frame};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::body::Body;
use tonic::codegen::{Service, StdError, http};
use tonic::transport::Channel;

use super::exec::{Owner, WORLD, here, now_ns};
use super::ground::time::{Sleep, now, sleep, sleep_until};
use super::net::{Fate, Net, PINGS};

type Request = http::Request<Body>;
type Response = http::Response<Body>;

/// What a client of another node sends its calls through.
#[derive(Clone)]
pub enum Wire {
    Real(Channel),
    Memory(Line),
}

/// One node's calls to another.
#[derive(Clone)]
pub struct Line {
    pub net: Net,
    pub from: u64,
    pub to: u64,
}

impl Service<Request> for Wire {
    type Response = Response;
    type Error = StdError;
    type Future = BoxFuture<'static, Result<Response, StdError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        match self {
            Wire::Real(channel) => channel.poll_ready(cx).map_err(Into::into),
            Wire::Memory(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self {
            Wire::Real(channel) => channel.call(request).map(|done| done.map_err(Into::into)).boxed(),
            Wire::Memory(line) => line.clone().call(request),
        }
    }
}

fn unreachable(why: &str) -> StdError {
    Box::new(tonic::Status::unavailable(why))
}

/// The call's name, and whether either side of it is a stream.
fn name(request: &Request) -> (&'static str, bool) {
    let path = request.uri().path();
    match path.rsplit('/').next().unwrap_or_default() {
        "AppendStream" => ("append stream", true),
        "InstallSnapshot" => ("snapshot", true),
        "FetchArchive" => ("archive", true),
        "Append" => ("append", false),
        "Vote" => ("vote", false),
        "PreVote" => ("pre-vote", false),
        "TransferLeader" => ("transfer", false),
        "ReadIndex" => ("read index", false),
        "Propose" => ("propose", false),
        "Lead" => ("lead", false),
        "SnapshotOffset" => ("offset", false),
        _ => ("another", false),
    }
}

impl Line {
    fn call(self, request: Request) -> BoxFuture<'static, Result<Response, StdError>> {
        let Some(core) = here() else {
            return std::future::ready(Err(unreachable("no simulation runs here"))).boxed();
        };
        let (call, streams) = name(&request);
        let (answer, answered) = oneshot::channel();
        let caller = core.current();
        let life = Life {
            given_up: CancellationToken::new(),
            ends_in_silence: core.chance.lock().percent(40),
        };
        match streams {
            true => {
                let (parts, body) = request.into_parts();
                let (there, inbound) = pipe(&self, &life, None);
                core.spawn(caller, pump(body, there));
                let request = http::Request::from_parts(parts, inbound);
                core.spawn(WORLD, self.stream(call, request, answer, life.clone()));
            }
            false => core.spawn(WORLD, self.unary(call, request, answer)),
        }
        let calls = life.given_up.clone().drop_guard();
        async move {
            // Whoever drops this has given the call up.
            let calls = calls;
            // A call that nobody answers waits until its caller gives up.
            match answered.await {
                Ok(answer) => {
                    if streams {
                        // From now on the answer's body says whether anybody still listens.
                        calls.disarm();
                    }
                    answer
                }
                Err(_) => std::future::pending().await,
            }
        }
        .boxed()
    }

    async fn unary(
        self,
        call: &'static str,
        request: Request,
        answer: oneshot::Sender<Result<Response, StdError>>,
    ) {
        let (parts, body) = request.into_parts();
        let Ok(frames) = collect(body).await else { return };
        let data: Vec<Bytes> = frames
            .into_iter()
            .filter_map(|frame| frame.into_data().ok())
            .collect();
        let copy = || http::Request::from_parts(parts.clone(), replay(data.clone()));
        match self.net.carry(self.from, self.to, call).await {
            Fate::Lost => return,
            Fate::Refused => return drop(answer.send(Err(unreachable("refused")))),
            Fate::Arrives => {}
        }
        if self.net.doubles() {
            let (line, twin) = (self.clone(), copy());
            let long = here().map_or(0, |core| core.chance.lock().between(0..300));
            let later = async move {
                sleep(Duration::from_millis(long)).await;
                let _ = line.deliver(twin).await;
            };
            here().inspect(|core| core.spawn(WORLD, later));
        }
        let Some(response) = self.deliver(copy()).await else {
            return self.hang_up(answer);
        };
        let (parts, frames) = response;
        let sent = self.net.carry(self.to, self.from, call).await;
        if sent == Fate::Arrives {
            // The caller may have given up.
            let _ = answer.send(Ok(http::Response::from_parts(parts, Body::new(Frames(frames)))));
        }
    }

    /// The other side is gone: sometimes the caller hears of it.
    fn hang_up(&self, answer: oneshot::Sender<Result<Response, StdError>>) {
        let hears = here().is_some_and(|core| core.chance.lock().percent(60));
        if hears && self.net.is_open(self.to, self.from) {
            let _ = answer.send(Err(unreachable("the connection was reset")));
        }
    }

    /// Lets the other node answer, as long as it lives.
    async fn deliver(&self, request: Request) -> Option<(http::response::Parts, VecDeque<Frame<Bytes>>)> {
        let door = self.net.door(self.to)?;
        let (sender, receiver) = oneshot::channel();
        let mut service = door.service;
        here()?.spawn(door.owner, async move {
            let answered: Result<Response, Infallible> = service.call(request).await;
            let Ok(response) = answered;
            let (parts, body) = response.into_parts();
            if let Ok(frames) = collect(body).await {
                let _ = sender.send((parts, frames));
            }
        });
        receiver.await.ok()
    }

    async fn stream(
        self,
        call: &'static str,
        request: Request,
        answer: oneshot::Sender<Result<Response, StdError>>,
        life: Life,
    ) {
        match self.net.carry(self.from, self.to, call).await {
            Fate::Lost => return notice(answer).await,
            Fate::Refused => return drop(answer.send(Err(unreachable("refused")))),
            Fate::Arrives => {}
        }
        let (Some(door), Some(core)) = (self.net.door(self.to), here()) else {
            return self.hang_up(answer);
        };
        let (sender, receiver) = oneshot::channel();
        let mut service = door.service;
        let guard = life.given_up.clone().drop_guard();
        let (there, outbound) = pipe(&self, &life, Some(guard));
        core.spawn(door.owner, async move {
            let answered: Result<Response, Infallible> = service.call(request).await;
            let Ok(response) = answered;
            let (parts, body) = response.into_parts();
            let _ = sender.send(parts);
            pump(body, there).await;
        });
        let Ok(parts) = receiver.await else {
            return self.hang_up(answer);
        };
        let sent = self.net.carry(self.to, self.from, call).await;
        match sent {
            Fate::Arrives => drop(answer.send(Ok(http::Response::from_parts(parts, outbound)))),
            _ => notice(answer).await,
        }
    }
}

/// A stream that leads nowhere is noticed by its pings, mostly: what stands between two nodes may answer them.
async fn notice(answer: oneshot::Sender<Result<Response, StdError>>) {
    let is_noticed = here().is_some_and(|core| core.chance.lock().percent(90));
    if is_noticed {
        sleep(PINGS).await;
        // The caller may have given up.
        let _ = answer.send(Err(unreachable("the connection is dead")));
    }
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, tonic::Status>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

async fn collect(mut body: Body) -> Result<VecDeque<Frame<Bytes>>, tonic::Status> {
    let mut frames = VecDeque::new();
    while let Some(frame) = next(&mut body).await {
        frames.push_back(frame?);
    }
    Ok(frames)
}

fn replay(data: Vec<Bytes>) -> Body {
    Body::new(Frames(data.into_iter().map(Frame::data).collect()))
}

/// A body that is all there.
struct Frames(VecDeque<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

enum Item {
    Frame(Frame<Bytes>),
    Failed(tonic::Status),
    End,
}

/// The sending end of one way of a stream.
struct There {
    net: Net,
    from: u64,
    to: u64,
    /// Back to the caller.
    is_back: bool,
    last: u64,
    queue: mpsc::UnboundedSender<(u64, Item)>,
    life: Life,
}

/// What both ways of a stream share.
#[derive(Clone)]
struct Life {
    /// Its caller does not listen any more.
    given_up: CancellationToken,
    /// When the other node dies, nobody hears of it: as a machine without power, not as a process that is killed.
    ends_in_silence: bool,
}

/// One way of a stream; the way back holds a guard, with which its caller gives up.
fn pipe(line: &Line, life: &Life, back: Option<DropGuard>) -> (There, Body) {
    let is_back = back.is_some();
    let (from, to) = match is_back {
        true => (line.to, line.from),
        false => (line.from, line.to),
    };
    let (queue, items) = mpsc::unbounded_channel();
    let here = Here {
        net: line.net.clone(),
        from,
        to,
        epoch: line.net.epoch(from, to),
        items,
        head: None,
        sleep: None,
        ended: false,
        ends_in_silence: life.ends_in_silence,
        _back: back,
    };
    let there = There {
        net: line.net.clone(),
        from,
        to,
        is_back,
        last: 0,
        queue,
        life: life.clone(),
    };
    (there, Body::new(here))
}

/// Sends a body's frames as they come. It ends with its node, or when the other side has hung up; but what a caller
/// sends goes on when it has given the answers up, as it does over HTTP/2 until the caller ends it.
async fn pump(mut body: Body, mut there: There) {
    loop {
        let item = tokio::select! {
            biased;
            () = there.life.given_up.cancelled(), if there.is_back => return,
            () = there.queue.closed(), if !there.life.ends_in_silence => return,
            frame = next(&mut body) => match frame {
                Some(Ok(frame)) => Item::Frame(frame),
                Some(Err(status)) => Item::Failed(status),
                None => Item::End,
            },
        };
        let is_last = !matches!(item, Item::Frame(_));
        there.last = there.net.arrival(there.from, there.to, there.last);
        // Into a silence one can talk for long.
        let is_heard = there.queue.send((there.last, item)).is_ok() || there.life.ends_in_silence;
        if is_last || !is_heard {
            return;
        }
    }
}

/// The receiving end of one way of a stream.
struct Here {
    net: Net,
    from: u64,
    to: u64,
    epoch: u64,
    items: mpsc::UnboundedReceiver<(u64, Item)>,
    head: Option<(u64, Item)>,
    sleep: Option<Sleep>,
    ended: bool,
    ends_in_silence: bool,
    _back: Option<DropGuard>,
}

impl http_body::Body for Here {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            if self.net.is_dead(self.from, self.to, self.epoch) {
                // Half open: nothing comes any more, and nobody says so.
                return Poll::Pending;
            }
            if self.head.is_none() {
                self.head = match self.items.poll_recv(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(item)) => Some(item),
                    Poll::Ready(None) => {
                        let reset = Item::Failed(tonic::Status::unavailable("the stream was reset"));
                        match self.ends_in_silence {
                            false => Some((now_ns(), reset)),
                            true => {
                                self.epoch = u64::MAX;
                                return Poll::Pending;
                            }
                        }
                    }
                };
            }
            let at = self.head.as_ref().map_or(0, |(at, _)| *at);
            let late = at.saturating_sub(now_ns());
            let is_open = self.net.is_open(self.from, self.to);
            if late == 0 && is_open {
                break;
            }
            let wait = match late {
                0 => Duration::from_millis(40),
                late => Duration::from_nanos(late),
            };
            let sleep = self.sleep.insert(sleep_until(now() + wait));
            if sleep.poll_unpin(cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.sleep = None;
        match self.head.take() {
            Some((_, Item::Frame(frame))) => Poll::Ready(Some(Ok(frame))),
            Some((_, Item::Failed(status))) => {
                self.ended = true;
                Poll::Ready(Some(Err(status)))
            }
            _ => {
                self.ended = true;
                Poll::Ready(None)
            }
        }
    }
}

/// Runs something as another.
pub fn spawn_as(owner: Owner, future: impl Future<Output = ()> + Send + 'static) {
    here().inspect(|core| core.spawn(owner, future));
}
