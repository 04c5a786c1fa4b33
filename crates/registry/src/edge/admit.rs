//! The first thing that happens to a call: which RPC it is, who calls, how fast, and until when.
//!
//! ```text
//! path ─► Rpc ─► action ─► Peer ─► bucket ─► seat ─► known, with a role for it ─► handler (parse, permit, …)
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use reeve_domain::policy::Action;
use reeve_proto::Rpc;
use reeve_proto::identity::{Peer, network};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::edge::desk::Desk;
use crate::edge::leaving;
use crate::edge::room::{self, Kind, Place};
use crate::edge::status;
use crate::mutant::Mutant;
use crate::policy::{self, Caller, Denied};

/// A call without a deadline of its own ends after this.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// The longest deadline that is honoured.
const DEADLINE_MAX: Duration = Duration::from_secs(30);
/// The same for calls that wait on purpose.
const WAIT_MAX: Duration = Duration::from_secs(65);
/// How long a planted fault keeps a thread: a handful of such calls is longer than followers wait for a heartbeat.
const HEAVY: Duration = Duration::from_millis(50);
/// Where a status keeps its reason.
const DETAILS: &str = "grpc-status-details-bin";
/// Open to everybody: load balancers show no certificate.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// A call that was let in. Handlers find it in the request; without it they refuse.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub rpc: Rpc,
    pub caller: Caller,
    pub deadline: Instant,
    /// Ties the audit record to the caller's trace; empty without one.
    pub trace_id: String,
    /// Whether another node took it at its door, for this one to carry out.
    pub is_carried: bool,
}

impl Call {
    /// What this call is to policy.
    pub(super) fn action(&self) -> Action {
        policy::action(self.rpc)
    }
}

/// Stands before every handler.
pub(super) async fn door(State(desk): State<Desk>, mut request: Request, next: Next) -> Response {
    if let Some(status) = no_call(&request) {
        return status.into_response();
    }
    if let Some(full) = excess(&request) {
        desk.rooms.metrics.ratelimit_rejections.inc();
        return full.into_http();
    }
    let path = request.uri().path();
    let Some(rpc) = Rpc::from_path(path) else {
        return unlisted(&desk, request, next).await;
    };
    let begun = Instant::now();
    let call = call(rpc, &request);
    let (response, code) = match enter(&desk, call).await {
        Ok((call, mut place)) => {
            request.extensions_mut().insert(call);
            if Mutant::HeavyCalls.is_planted() {
                std::thread::sleep(HEAVY);
            }
            let run = next.run(place.let_in(request));
            let response = match leaving::is_open_ended(rpc) {
                true => leaving::attend(run, &desk.leaving).await,
                false => run.await,
            };
            let response = read_or_told(response);
            let code = code_of(response.headers());
            (place.hold(response), code)
        }
        Err(status) => {
            let code = status.code();
            (status.into_http(), code)
        }
    };
    let method = rpc.path().trim_start_matches('/');
    desk.rooms.metrics.call(method, word(code), begun.elapsed());
    response
}

/// Health, for everybody; reflection, and what does not exist, only for those who are somebody here.
async fn unlisted(desk: &Desk, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Peer>().map(Caller::of);
    let (kind, caller) = match caller {
        Some(caller) if request.uri().path().starts_with(HEALTH) => (Kind::Health, caller),
        Some(caller) if caller.spiffe().is_some() => (Kind::Reflection, caller),
        _ => return Status::from(Denied::NoIdentity).into_http(),
    };
    match desk.counted(desk.room.enter(kind, &holder(&caller))) {
        Ok(mut place) => {
            let run = next.run(place.let_in(request));
            let response = leaving::attend(run, &desk.leaving).await;
            place.hold(read_or_told(response))
        }
        Err(status) => status.into_http(),
    }
}

/// Whose seat a call takes: its principal's, or that of the address of one who has no name.
fn holder(caller: &Caller) -> Arc<str> {
    match caller.spiffe() {
        Some(_) => caller.id().clone(),
        None => network(caller.address.ip()).to_string().into(),
    }
}

/// What is known of a call before anything is decided.
fn call(rpc: Rpc, request: &Request) -> Result<Call, Denied> {
    let peer = request.extensions().get::<Peer>().ok_or(Denied::NoIdentity)?;
    Ok(Call {
        rpc,
        caller: Caller::of(peer),
        deadline: Instant::now() + patience(rpc, request.headers()),
        trace_id: trace_id(request.headers()),
        is_carried: false,
    })
}

async fn enter(desk: &Desk, call: Result<Call, Denied>) -> Result<(Call, Place), Status> {
    let call = call?;
    let action = call.action();
    let kind = Kind::of(call.rpc);
    if action == Action::Join {
        let network = network(call.caller.address.ip());
        desk.counted(desk.pace.check_address(network))?;
        let place = desk.counted(desk.room.enter(kind, &network.to_string().into()))?;
        return Ok((call, place));
    }
    if call.caller.spiffe().is_none() {
        return Err(Denied::NoIdentity.into());
    }
    desk.counted(desk.pace.check_principal(call.caller.id(), action))?;
    let place = desk.counted(desk.room.enter(kind, call.caller.id()))?;
    desk.recognise(&call).await?;
    Ok((call, place))
}

/// Only what is sent as gRPC is a call. A page of somebody else's can make a browser send a form or plain text here, with
/// its user's certificate and without asking first; of this content it has to ask, and nobody answers.
fn no_call(request: &Request) -> Option<StatusCode> {
    if request.method() != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let content = request
        .headers()
        .get(CONTENT_TYPE)
        .map(|content| content.as_bytes());
    let rest = content.and_then(|content| content.strip_prefix(b"application/grpc"));
    match rest {
        Some([] | [b'+' | b';', ..]) => None,
        _ => Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

/// A connection that came when the door was full has its calls refused, whatever they are.
fn excess(request: &Request) -> Option<Status> {
    let peer = request.extensions().get::<Peer>()?;
    peer.excess.map(room::refuse_connection)
}

/// How long this call may take: the caller's own wish, within bounds.
fn patience(rpc: Rpc, headers: &HeaderMap) -> Duration {
    let waits = rpc == Rpc::OperationWaitOperation;
    let (default, max) = match waits {
        true => (WAIT_MAX, WAIT_MAX),
        false => (DEADLINE_DEFAULT, DEADLINE_MAX),
    };
    let wish = headers
        .get("grpc-timeout")
        .and_then(|value| timeout(value.to_str().ok()?));
    wish.map_or(default, |wish| wish.min(max))
}

/// Reads `grpc-timeout`: up to eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// The trace of a W3C `traceparent`: `00-<32 hex digits>-…`.
fn trace_id(headers: &HeaderMap) -> String {
    let parent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let trace = parent.and_then(|text| text.split('-').nth(1));
    let good = trace.filter(|trace| trace.len() == 32 && trace.bytes().all(|b| b.is_ascii_hexdigit()));
    good.unwrap_or_default().to_owned()
}

/// A request that was not even read is refused as all others are: whatever a handler refuses has its details.
fn read_or_told(response: Response) -> Response {
    let is_bare = code_of(response.headers()) != Code::Ok && !response.headers().contains_key(DETAILS);
    match Status::from_header_map(response.headers()) {
        Some(status) if is_bare => status::unreadable(status).into_http(),
        _ => response,
    }
}

/// How a call ended, as far as its head tells: a refusal is all head, and a stream that began is fine.
fn code_of(headers: &HeaderMap) -> Code {
    let status = headers
        .get("grpc-status")
        .map(|value| Code::from_bytes(value.as_bytes()));
    status.unwrap_or(Code::Ok)
}

fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_the_callers_within_bounds() {
        let ask = |text: &str| {
            let headers = HeaderMap::from_iter([(
                axum::http::HeaderName::from_static("grpc-timeout"),
                text.parse().unwrap(),
            )]);
            patience(Rpc::TenantGetTenant, &headers)
        };
        assert_eq!(ask("250m"), Duration::from_millis(250));
        assert_eq!(ask("5S"), Duration::from_secs(5));
        assert_eq!(ask("99999999H"), DEADLINE_MAX);
        for odd in ["", "S", "5", "123456789S", "-1S", "5s", "ü"] {
            assert_eq!(timeout(odd), None, "{odd}");
        }
        assert_eq!(
            patience(Rpc::TenantGetTenant, &HeaderMap::new()),
            DEADLINE_DEFAULT
        );
        assert_eq!(patience(Rpc::OperationWaitOperation, &HeaderMap::new()), WAIT_MAX);
    }
}
