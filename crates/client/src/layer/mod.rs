//! The door of a service: finds the tenant of each request before anything else happens to it.
//!
//! ```text
//! request ─► Select::read ─► resolve ─► agree ─┬─► inner service, with TenantDb in the request's extensions
//!                                              └─► 400 · 401 · 403 · 404 · 421 · 503, as problem+json or as a gRPC status
//! ```
//! It is a `tower::Layer`, for axum, hyper and tonic servers alike. tonic's interceptors are not offered: they cannot
//! wait, and to find a tenant is to wait for the registry when memory does not have it.

mod answer;
#[cfg(feature = "axum")]
mod extract;
mod grpc;
mod peer;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, Response};
use http_body_util::{Either, Full};
use tower::{Layer, Service};
use tracing::{debug, warn};

use crate::{
    Error, Fleet, Refused, TenantDb,
    select::{Head, Kind, Mismatch, Select, Wish, agree},
};

/// The answer's body: the inner service's, or ours.
pub type Body<B> = Either<B, Full<Bytes>>;

/// Puts a [`TenantDb`] into each request, or answers in the service's stead.
///
/// What a verified token said is put beside it as a [`Verified`](crate::select::Verified): with axum, take
/// `Extension<Verified>`.
#[derive(Clone)]
pub struct TenantLayer {
    door: Arc<Door>,
}

/// A service behind a [`TenantLayer`].
#[derive(Clone)]
pub struct TenantService<S> {
    inner: S,
    door: Arc<Door>,
}

struct Door {
    fleet: Fleet,
    select: Select,
}

impl TenantLayer {
    /// Tenants of this fleet, named as described.
    pub fn new(fleet: Fleet, select: Select) -> TenantLayer {
        TenantLayer {
            door: Arc::new(Door { fleet, select }),
        }
    }
}

impl<S> Layer<S> for TenantLayer {
    type Service = TenantService<S>;

    fn layer(&self, inner: S) -> TenantService<S> {
        TenantService {
            inner,
            door: self.door.clone(),
        }
    }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for TenantService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone + Send + 'static,
    S::Future: Send,
    ReqB: Send + 'static,
{
    type Response = Response<Body<ResB>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let door = self.door.clone();
        // The one that was asked whether it is ready is the one that is called.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let wishes = door.read(&request);
        Box::pin(async move {
            let outer = request.extensions().get::<TenantDb>().cloned();
            match door.admit(wishes, outer.as_ref()).await {
                Ok((tenant, wishes)) => {
                    request.extensions_mut().insert(tenant);
                    if let Some(verified) = wishes.into_iter().find_map(|wish| wish.token) {
                        request.extensions_mut().insert(verified);
                    }
                    Ok(inner.call(request).await?.map(Either::Left))
                }
                Err(refused) => {
                    Ok(answer::to(request.method(), request.headers(), &refused).map(Either::Right))
                }
            }
        })
    }
}

/// A layer around this one has found a tenant, too: the same, or the request is refused.
fn beside(outer: Option<&TenantDb>, found: TenantDb, wishes: &[Wish]) -> Result<TenantDb, Refused> {
    let (one, other) = (outer.map(|outer| &outer.tenant().tenant), &found.tenant().tenant);
    match (one, wishes.first()) {
        (Some(one), Some(wish)) if one != other => Err(Refused::Mismatch(Mismatch {
            one: (Kind::Layer, one.clone()),
            other: (wish.kind, Some(other.clone())),
        })),
        _ => Ok(found),
    }
}

impl Door {
    fn read<B>(&self, request: &Request<B>) -> Result<Vec<Wish>, Refused> {
        self.select.read(&Head {
            uri: request.uri(),
            headers: request.headers(),
            peer: peer::of(request.extensions()),
        })
    }

    async fn admit(
        &self,
        wishes: Result<Vec<Wish>, Refused>,
        outer: Option<&TenantDb>,
    ) -> Result<(TenantDb, Vec<Wish>), Refused> {
        let admitted = match wishes {
            Ok(wishes) => self
                .find(&wishes)
                .await
                .and_then(|tenant| beside(outer, tenant, &wishes))
                .map(|tenant| (tenant, wishes)),
            Err(refused) => Err(refused),
        };
        admitted.inspect_err(|refused| self.note(refused))
    }

    async fn find(&self, wishes: &[Wish]) -> Result<TenantDb, Refused> {
        let asked = wishes
            .iter()
            .map(async |wish| (wish.kind, self.fleet.resolve(&wish.selector).await));
        let resolution = agree(join_all(asked).await)?;
        Ok(TenantDb::new(self.fleet.clone(), resolution))
    }

    /// Counts and logs a refusal: ids and kinds, never what was sent.
    fn note(&self, refused: &Refused) {
        match refused {
            Refused::Mismatch(Mismatch { one, other }) => {
                self.fleet.count_mismatch();
                let (first, tenant) = one;
                let (second, elsewhere) = other;
                let elsewhere = elsewhere.as_ref().map(tracing::field::display);
                warn!(%first, %tenant, %second, elsewhere, "a request names two tenants and is refused");
            }
            // What these say repeats what was sent.
            Refused::Failed(Error::Unknown(_) | Error::NotServing { .. }) => {
                debug!(reason = refused.reason(), "a request's tenant is not served");
            }
            Refused::Failed(error) => {
                warn!(%error, reason = refused.reason(), "a request's tenant cannot be found out");
            }
            _ => debug!(%refused, reason = refused.reason(), "a request is refused"),
        }
    }
}
