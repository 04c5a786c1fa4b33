//! What the door says to gRPC callers. All that this crate's doors have of tonic's types is here.

use std::net::IpAddr;

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
    server::NamedService,
};

use super::TenantService;
use crate::Refused;

/// So that it can be added to a tonic server beside services of no tenant, such as health.
impl<S: NamedService> NamedService for TenantService<S> {
    const NAME: &'static str = S::NAME;
}

/// The status, its message a fixed sentence; `reeve-reason` in its metadata is to decide by.
impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        status(&refused)
    }
}

/// Only what a gRPC caller sends: to anybody else an answer with status 200 would say that all went well.
pub(super) fn is_grpc(method: &Method, headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(GRPC));
    *method == Method::POST && matches!(rest, Some([] | [b'+' | b';', ..]))
}

pub(super) fn answer(refused: &Refused) -> Response<Full<Bytes>> {
    let mut response = status(refused).into_http();
    // It is a 200 to whoever does not know gRPC, a cache in between perhaps.
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The address of the caller, where tonic's server accepted the connection itself.
pub(super) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    // tonic knows where it has put it, with TLS of its own and without.
    let asked = tonic::Request::from_parts(MetadataMap::new(), extensions.clone(), ());
    Some(asked.remote_addr()?.ip())
}

fn status(refused: &Refused) -> Status {
    let told = refused.told();
    let mut status = Status::new(code(told.status), told.detail);
    let metadata = status.metadata_mut();
    metadata.insert("reeve-reason", MetadataValue::from_static(told.reason));
    if let Some(pause) = told.retry_after {
        // What gRPC's own retries wait for.
        metadata.insert("grpc-retry-pushback-ms", (pause.as_millis() as u64).into());
    }
    status
}

fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::MISDIRECTED_REQUEST => Code::InvalidArgument,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::Internal,
    }
}
