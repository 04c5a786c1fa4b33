//! How much a node takes at once: calls under way and their bytes, open streams, agents' sessions.
//!
//! ```text
//! door ─► which kind? ─► a seat for its principal ─► handler          full ─► RESOURCE_EXHAUSTED, and when to come back
//!            └ a call: its bytes are counted as they come in      a stream keeps its seat until its last message
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use reeve_proto::Rpc;
use reeve_proto::error::{self, Reason};
use reeve_proto::seats::{Bound, Full, Seat, Seats};
use tonic::Status;

use crate::config::Limits;
use crate::edge::weigh::{Terms, Weight};

/// Calls end soon, so a place is free soon.
pub(super) const CALL_PAUSE: Duration = Duration::from_millis(100);
/// Streams and connections stay.
const STREAM_PAUSE: Duration = Duration::from_secs(2);

/// What a call takes while it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    /// Shows a join token, and perhaps no certificate.
    Join,
    /// Asks for health, by anybody's probe.
    Health,
    /// Asks what can be called, or for what cannot be.
    Reflection,
    /// Keeps an agent or a node among those who are let in.
    Renewal,
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
            | Rpc::ClusterSaveSnapshot
            | Rpc::AuditTailRecords => Kind::Stream,
            Rpc::AgentJoin | Rpc::ClusterJoinNode | Rpc::AccessEnroll => Kind::Join,
            Rpc::AgentRenew | Rpc::ClusterRenewNode => Kind::Renewal,
            _ => Kind::Call,
        }
    }

    /// Whether its place is free again with the last word of the answer, and not with the first.
    fn stays(self) -> bool {
        match self {
            Kind::Call | Kind::Join | Kind::Renewal => false,
            // Health can be watched, and reflection is asked question by question.
            Kind::Health | Kind::Reflection | Kind::Stream | Kind::Session => true,
        }
    }
}

/// All seats of one node.
pub(super) struct Room {
    calls: Seats<Arc<str>>,
    joins: Seats<Arc<str>>,
    probes: Seats<Arc<str>>,
    renewals: Seats<Arc<str>>,
    streams: Seats<Arc<str>>,
    sessions: Seats<Arc<str>>,
    /// Of requests on their way in.
    bytes: Seats<Arc<str>>,
    /// The same of agents and nodes: no flood of other callers' requests takes them.
    bytes_of_agents: Seats<Arc<str>>,
    bytes_each: Bound,
    bytes_joiner: Bound,
    patience: Bound,
}

/// A place in the room, until it is dropped.
pub(super) struct Place {
    kind: Kind,
    terms: Terms,
    _seat: Seat<Arc<str>>,
}

impl Room {
    pub(super) fn new(limits: &Limits) -> Room {
        let bound = |setting, most| Bound { setting, most };
        let seats = |all, all_most, each, each_most| Seats::new(bound(all, all_most), bound(each, each_most));
        Room {
            calls: seats(
                "limits.calls",
                limits.calls,
                "limits.calls_per_principal",
                limits.calls_per_principal,
            ),
            joins: seats(
                "limits.joins",
                limits.joins,
                "limits.joins_per_address",
                limits.joins_per_address,
            ),
            probes: seats(
                "limits.probes",
                limits.probes,
                "limits.probes_per_caller",
                limits.probes_per_caller,
            ),
            renewals: seats(
                "limits.renewals",
                limits.renewals,
                "limits.renewals_per_principal",
                limits.renewals_per_principal,
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
            bytes: seats(
                "limits.request_bytes_total",
                limits.request_bytes_total,
                "limits.request_bytes_per_principal",
                limits.request_bytes_per_principal,
            ),
            bytes_of_agents: seats(
                "limits.request_bytes_agents",
                limits.request_bytes_agents,
                "limits.request_bytes_per_principal",
                limits.request_bytes_per_principal,
            ),
            bytes_each: bound("limits.request_bytes", limits.request_bytes),
            bytes_joiner: bound("limits.request_bytes_joiner", limits.request_bytes_joiner),
            patience: bound("limits.request_ms", limits.request_ms as usize),
        }
    }

    /// A place for a caller's call: a principal's, or that of the address of one who has no name.
    pub(super) fn enter(&self, kind: Kind, who: &Arc<str>) -> Result<Place, Status> {
        let seats = match kind {
            Kind::Call => &self.calls,
            Kind::Join => &self.joins,
            Kind::Health | Kind::Reflection => &self.probes,
            Kind::Renewal => &self.renewals,
            Kind::Stream => &self.streams,
            Kind::Session => &self.sessions,
        };
        let pause = match kind.stays() {
            false => CALL_PAUSE,
            true => STREAM_PAUSE,
        };
        let seat = seats.take(who.clone()).map_err(|full| refuse(full, pause))?;
        Ok(Place {
            kind,
            terms: self.terms(kind, who),
            _seat: seat,
        })
    }

    fn terms(&self, kind: Kind, who: &Arc<str>) -> Terms {
        let counted = |bytes: &Seats<Arc<str>>| Some(Weight::new(Mutex::new(bytes.none(who.clone()))));
        let (message, weight) = match kind {
            // So few are let in, and none may be long.
            Kind::Join | Kind::Health | Kind::Reflection => (self.bytes_joiner, None),
            Kind::Renewal | Kind::Session => (self.bytes_each, counted(&self.bytes_of_agents)),
            Kind::Call | Kind::Stream => (self.bytes_each, counted(&self.bytes)),
        };
        let patience = match kind {
            Kind::Call | Kind::Join | Kind::Health | Kind::Renewal | Kind::Stream => Some(self.patience),
            // A session bounds the time between two messages itself; reflection waits for the next question.
            Kind::Reflection | Kind::Session => None,
        };
        Terms {
            message,
            patience,
            weight,
        }
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
    /// Lets a request in on the terms of its kind. What it weighs is given back with the place, or, where that stays
    /// taken, as soon as it was read.
    pub(super) fn let_in(&mut self, request: Request) -> Request {
        let terms = match self.kind.stays() {
            true => Terms {
                weight: self.terms.weight.take(),
                ..self.terms.clone()
            },
            false => self.terms.clone(),
        };
        request.map(|body| terms.hold(body))
    }

    /// Keeps the place of what goes on until its last word was sent, or its caller is gone.
    pub(super) fn hold(self, response: Response) -> Response {
        match self.kind.stays() {
            true => response.map(|body| axum::body::Body::new(Held { body, _place: self })),
            false => response,
        }
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
