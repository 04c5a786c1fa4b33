//! What the door says to gRPC callers. All that this crate's doors have of tonic's types is here.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use tonic::{Code, Status, metadata::MetadataValue, server::NamedService, transport::server::TcpConnectInfo};

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

pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

pub(super) fn answer(refused: &Refused) -> Response<Full<Bytes>> {
    status(refused).into_http()
}

/// The address of the caller, where tonic's server accepted the connection itself.
pub(super) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let connected = extensions.get::<TcpConnectInfo>()?.remote_addr()?;
    Some(connected.ip())
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
