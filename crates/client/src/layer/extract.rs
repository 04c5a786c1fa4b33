//! `TenantDb` as an argument of axum's handlers, and refusals as their answers.

use axum::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use tracing::error;

use super::answer;
use crate::{Refused, TenantDb};

impl<S: Sync> FromRequestParts<S> for TenantDb {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<TenantDb, StatusCode> {
        let found = parts.extensions.get::<TenantDb>().cloned();
        found.ok_or_else(|| {
            error!("a handler wants a TenantDb, and its route has no TenantLayer");
            StatusCode::INTERNAL_SERVER_ERROR
        })
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        answer::http(&self).map(Body::new)
    }
}
