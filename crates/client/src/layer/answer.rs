//! A refusal as the sender's protocol says it.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::Full;
use serde_json::json;

use super::grpc;
use crate::Refused;

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// In the words of whoever sent this.
pub(super) fn to(method: &Method, headers: &HeaderMap, refused: &Refused) -> Response<Full<Bytes>> {
    if grpc::is_grpc(method, headers) {
        return grpc::answer(refused);
    }
    http(refused)
}

/// Problem details (RFC 9457), with our reason beside them.
pub(super) fn http(refused: &Refused) -> Response<Full<Bytes>> {
    let told = refused.told();
    let problem = json!({
        "type": "about:blank",
        "title": told.status.canonical_reason(),
        "status": told.status.as_u16(),
        "detail": told.detail,
        "reason": told.reason,
    });
    let mut response = Response::new(Full::from(problem.to_string()));
    *response.status_mut() = told.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, PROBLEM);
    // A 404 may be kept otherwise, and the tenant come a moment later.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(pause) = told.retry_after {
        // Whole seconds, and never "at once".
        headers.insert(RETRY_AFTER, pause.as_secs().max(1).into());
    }
    if told.status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, challenge(refused));
    }
    response
}

fn challenge(refused: &Refused) -> HeaderValue {
    HeaderValue::from_static(match refused {
        Refused::TokenInvalid(_) => r#"Bearer error="invalid_token""#,
        _ => "Bearer",
    })
}
