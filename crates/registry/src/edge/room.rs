//! How much a node takes at once: calls under way and their bytes, open streams, agents' sessions.
//!
//! ```text
//! door ─► which kind? ─► a seat for its principal ─► handler          full ─► RESOURCE_EXHAUSTED, and when to come back
//!            └ a call: its bytes are counted as they come in      a stream keeps its seat until its last message
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reeve_proto::Rpc;
use reeve_proto::error::{self, Reason};
use reeve_proto::seats::{Bound, Full, Seat, Seats};
use tonic::Status;

use crate::config::Limits;

/// Calls end soon, so a place is free soon.
const CALL_PAUSE: Duration = Duration::from_millis(100);
/// Streams and connections stay.
const STREAM_PAUSE: Duration = Duration::from_secs(2);

/// What a call takes while it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    /// Open for as long as its caller likes.
    Stream,
    Session,
}

impl Kind {
    pub(super) fn of(rpc: Rpc) -> Kind {
        match rpc {
            Rpc::AgentSession => Kind::Session,
            Rpc::ResolverWatch
            | Rpc::OperationWatchOperation
            | Rpc::OperationWaitOperation
            | Rpc::ClusterSaveSnapshot => Kind::Stream,
            _ => Kind::Call,
        }
    }
}

/// All seats of one node.
pub(super) struct Room {
    calls: Seats<Arc<str>>,
    streams: Seats<Arc<str>>,
    sessions: Seats<Arc<str>>,
    bytes: Arc<AtomicUsize>,
    bytes_each: usize,
    bytes_all: Bound,
}

/// A place in the room, until it is dropped.
pub(super) struct Place {
    _seat: Seat<Arc<str>>,
    weight: Option<Arc<Weight>>,
}

impl Room {
    pub(super) fn new(limits: &Limits) -> Room {
        let seats = |all, all_most, each, each_most| {
            let bound = |setting, most| Bound { setting, most };
            Seats::new(bound(all, all_most), bound(each, each_most))
        };
        Room {
            calls: seats(
                "limits.calls",
                limits.calls,
                "limits.calls_per_principal",
                limits.calls_per_principal,
            ),
            streams: seats(
                "limits.streams",
                limits.streams,
                "limits.streams_per_principal",
                limits.streams_per_principal,
            ),
            sessions: seats(
                "limits.sessions",
                limits.sessions,
                "limits.sessions_per_agent",
                limits.sessions_per_agent,
            ),
            bytes: Arc::default(),
            bytes_each: limits.request_bytes,
            bytes_all: Bound {
                setting: "limits.request_bytes_total",
                most: limits.request_bytes_total,
            },
        }
    }

    /// A place for a caller's call.
    pub(super) fn enter(&self, kind: Kind, who: &Arc<str>) -> Result<Place, Status> {
        let seats = match kind {
            Kind::Call => &self.calls,
            Kind::Stream => &self.streams,
            Kind::Session => &self.sessions,
        };
        let pause = match kind {
            Kind::Call => CALL_PAUSE,
            Kind::Stream | Kind::Session => STREAM_PAUSE,
        };
        let seat = seats.take(who.clone()).map_err(|full| refuse(full, pause))?;
        let weight = (kind == Kind::Call).then(|| {
            Arc::new(Weight {
                own: AtomicUsize::new(0),
                all: self.bytes.clone(),
                bound: self.bytes_all,
            })
        });
        Ok(Place { _seat: seat, weight })
    }

    /// What tonic says of a request that is too large, in our own words.
    pub(super) fn too_large(&self) -> Status {
        let most = self.bytes_each;
        error::field(
            "request",
            format!("is larger than {most} bytes (limits.request_bytes); send less at once"),
        )
    }
}

/// Too many at once; what stands against it, and when to come back. Not all come back at the same moment.
pub(super) fn refuse(full: Full, pause: Duration) -> Status {
    let after = pause.mul_f64(0.5 + rand::random::<f64>());
    let message = format!(
        "{} is {}, and all are taken; end some, or come back later",
        full.setting, full.most
    );
    let most = full.most.to_string();
    let metadata = [("limit", full.setting), ("most", most.as_str())];
    error::retry_with(Reason::RateLimited, message, after, &metadata)
}

/// The same for a connection that found the door full.
pub(super) fn refuse_connection(full: Full) -> Status {
    refuse(full, STREAM_PAUSE)
}

impl Place {
    /// Counts a request's bytes as they come in; they are given back with the place.
    pub(super) fn count(&self, request: Request) -> Request {
        match self.weight.clone() {
            Some(weight) => request.map(|body| axum::body::Body::new(Counted { body, weight })),
            None => request,
        }
    }

    /// Keeps the place until the last of a stream was sent, or its caller is gone.
    pub(super) fn hold(self, response: Response) -> Response {
        response.map(|body| axum::body::Body::new(Held { body, _place: self }))
    }
}

/// The bytes of one request that are in memory.
struct Weight {
    own: AtomicUsize,
    all: Arc<AtomicUsize>,
    bound: Bound,
}

impl Weight {
    fn add(&self, bytes: usize) -> Result<(), Status> {
        self.own.fetch_add(bytes, Ordering::Relaxed);
        let all = self.all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        match all > self.bound.most {
            true => Err(refuse(self.bound, CALL_PAUSE)),
            false => Ok(()),
        }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.all
            .fetch_sub(self.own.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

struct Counted {
    body: axum::body::Body,
    weight: Arc<Weight>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let Some(frame) = frame else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        self.weight.add(frame.data_ref().map_or(0, Bytes::len))?;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Held {
    body: axum::body::Body,
    _place: Place,
}

impl Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
