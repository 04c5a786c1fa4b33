//! ResolverService: where a tenant lives. Served by any node, from memory.

mod bookmark;
mod credential;
mod watch;
mod wire;

use std::time::Duration;

use futures::stream::BoxStream;
use reeve_domain::words::Claim;
use reeve_domain::{Resolution, State, resolve, tenant};
use reeve_proto::convert::{self, BadField};
use reeve_proto::error::{self, Reason};
use reeve_proto::v1;
use reeve_proto::v1::resolver_service_server::ResolverService;
use tonic::{Request, Response, Status};

use crate::edge::desk::{Desk, Reading};
use crate::edge::read::{self, Level};
use crate::edge::{find, parse, status};
use crate::policy;

/// How stale an answer may be when the caller does not say.
const BOUND_DEFAULT: Duration = Duration::from_secs(10);
/// How long active tenants are still resolved, flagged, without word from a quorum.
const STALE_MAX: Duration = Duration::from_secs(15 * 60);
/// Claims in one batch.
const BATCH_MAX: usize = 1_000;

pub(super) use wire::route;

pub(super) struct Resolver {
    pub desk: Desk,
}

#[tonic::async_trait]
impl ResolverService for Resolver {
    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::ResolveResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Bounded(BOUND_DEFAULT))?;
        let claim = convert::claim_from_wire("claim", wire.claim.as_ref())?;
        let network = parse::network(wire.network)?;
        let reading = self.desk.read(&call, level).await?;
        check_staleness(&reading, level)?;
        let state = &reading.state;
        let standing = policy::standing(state, &call.caller, call.action())?;
        let known = find::by_claim(state, &standing, &claim);
        let tenant = known
            .map_err(|_| status::no_tenant_at(&claim.to_string(), state.revision, reading.freshness.stale))?;
        let resolution = resolve::of(state, tenant);
        let explanation = match wire.explain {
            true => resolve::explain(state, &claim),
            false => Vec::new(),
        };
        check_serving(&resolution, &reading, &explanation)?;
        check_ready(&resolution, wire.require_ready)?;
        check_network(&resolution, &network)?;
        Ok(Response::new(v1::ResolveResponse {
            resolution: Some(shown(state, &resolution, &network)),
            freshness: Some(reading.freshness),
            explanation,
        }))
    }

    async fn batch_resolve(
        &self,
        request: Request<v1::BatchResolveRequest>,
    ) -> Result<Response<v1::BatchResolveResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Bounded(BOUND_DEFAULT))?;
        if wire.claims.len() > BATCH_MAX {
            let why = format!("has {}; at most {BATCH_MAX} are allowed", wire.claims.len());
            return Err(BadField::new("claims", why).into());
        }
        let mut claims = Vec::with_capacity(wire.claims.len());
        for (i, claim) in wire.claims.iter().enumerate() {
            claims.push(convert::claim_from_wire(&format!("claims[{i}]"), Some(claim))?);
        }
        let network = parse::network(wire.network)?;
        let reading = self.desk.read(&call, level).await?;
        check_staleness(&reading, level)?;
        let state = &reading.state;
        let standing = policy::standing(state, &call.caller, call.action())?;
        let found = |claim: &Claim| {
            let tenant = find::by_claim(state, &standing, claim).map_err(|_| Reason::TenantNotFound)?;
            if reading.freshness.stale && tenant.status != tenant::Status::Active {
                return Err(Reason::TenantNotServing);
            }
            let resolution = resolve::of(state, tenant);
            match wire.require_ready {
                // As Resolve says it: who does not serve is not asked whether services would come in.
                true if !resolution.serves() => Err(Reason::TenantNotServing),
                true if resolution.unready.is_some() => Err(Reason::TenantNotReady),
                _ => Ok(shown(state, &resolution, &network)),
            }
        };
        let item = |claim: &Claim| {
            let found = found(claim);
            v1::batch_resolve_response::Item {
                claim: Some(convert::claim(claim)),
                reason: found.as_ref().err().map_or(0, |reason| *reason as i32),
                resolution: found.ok(),
            }
        };
        Ok(Response::new(v1::BatchResolveResponse {
            items: claims.iter().map(item).collect(),
            freshness: Some(reading.freshness),
        }))
    }

    type WatchStream = BoxStream<'static, Result<v1::WatchResponse, Status>>;

    async fn watch(
        &self,
        _request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        // Its own route stands before this one.
        Err(Status::unimplemented("watches are served elsewhere"))
    }

    async fn get_credential(
        &self,
        request: Request<v1::GetCredentialRequest>,
    ) -> Result<Response<v1::GetCredentialResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let given = credential::give(&self.desk, &call, wire).await?;
        Ok(Response::new(given))
    }

    async fn acknowledge_credential(
        &self,
        request: Request<v1::AcknowledgeCredentialRequest>,
    ) -> Result<Response<v1::AcknowledgeCredentialResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        credential::acknowledge(&self.desk, &call, wire).await?;
        Ok(Response::new(v1::AcknowledgeCredentialResponse {}))
    }
}

/// A resolution as one network sees it. What does not serve names no host.
fn shown(state: &State, resolution: &Resolution, network: &str) -> v1::Resolution {
    let mut shown = convert::resolution(resolution, network, &state.cluster.root_ca_pem);
    if !resolution.serves() {
        shown.write = None;
    }
    shown
}

/// Beyond the grace, or without any word from a quorum, only a caller that asked for STALE gets an answer, or for a
/// revision that this node has; both are flagged.
fn check_staleness(reading: &Reading, level: Level) -> Result<(), Status> {
    let within = reading.staleness.is_some_and(|staleness| staleness <= STALE_MAX);
    let takes_any = matches!(level, Level::Stale | Level::AtLeast(_));
    if !reading.freshness.stale || within || takes_any {
        return Ok(());
    }
    Err(status::behind(
        "this node has heard no quorum for too long; ask another node",
    ))
}

/// Only an active tenant with a place to write is resolved.
fn check_serving(resolution: &Resolution, reading: &Reading, explanation: &[String]) -> Result<(), Status> {
    if resolution.serves() {
        return Ok(());
    }
    let state = match resolution.status {
        tenant::Status::Active => "without a place to write: its group is fenced or not ready",
        status => status.word(),
    };
    let message = format!("tenant {} is {state}", resolution.slug);
    let explanation = explanation.join("; ");
    let revision = reading.state.revision.to_string();
    let mut metadata = vec![
        ("revision", revision.as_str()),
        ("tenant", resolution.tenant.as_str()),
        ("state", resolution.status.word()),
    ];
    metadata.extend(reading.freshness.stale.then_some(status::STALE));
    if !explanation.is_empty() {
        metadata.push(("explanation", &explanation));
    }
    Err(error::status(Reason::TenantNotServing, message, &metadata))
}

/// Who asks for it is not sent where nobody comes in.
fn check_ready(resolution: &Resolution, required: bool) -> Result<(), Status> {
    let Some(unready) = resolution.unready.as_ref().filter(|_| required) else {
        return Ok(());
    };
    let message = format!(
        "tenant {} is not ready: {}; ask again, or without require_ready",
        resolution.slug,
        unready.cause.word()
    );
    let metadata = [
        ("tenant", resolution.tenant.as_str()),
        ("cause", convert::cause(unready.cause).as_str_name()),
    ];
    Err(error::status(Reason::TenantNotReady, message, &metadata))
}

fn check_network(resolution: &Resolution, network: &str) -> Result<(), BadField> {
    if resolution.endpoint(network).is_some() {
        return Ok(());
    }
    let mut known: Vec<_> = resolution.write.iter().map(|e| e.network.as_str()).collect();
    known.dedup();
    let why = format!(
        "group {} has no endpoint in network {network}; it has {}",
        resolution.group,
        known.join(", ")
    );
    Err(BadField::new("network", why))
}
