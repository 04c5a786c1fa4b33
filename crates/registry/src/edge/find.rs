//! Finding what a caller names. What it may not see is answered exactly as what does not exist.

use std::sync::Arc;

use reeve_domain::words::{Claim, Slug};
use reeve_domain::{OperationId, State, Tenant, TenantId};
use reeve_proto::convert::BadField;
use tonic::Status;

use crate::edge::admit::Call;
use crate::edge::desk::Desk;
use crate::edge::status;
use crate::policy::{self, Permit, Standing};

/// Holds that a word can name a tenant: it is an id, or a slug.
pub(super) fn check_word(field: &str, text: &str) -> Result<(), BadField> {
    match TenantId::parse(text).is_ok() {
        true => Ok(()),
        false => Slug::parse(text)
            .map(drop)
            .map_err(|error| BadField::new(field, format!("is a tenant's id or slug: {error}"))),
    }
}

/// The tenant that an id or slug names.
pub(super) fn tenant<'a>(
    state: &'a State,
    standing: &Standing<'_>,
    field: &str,
    text: &str,
) -> Result<&'a Tenant, Status> {
    check_word(field, text)?;
    let known = state.find_tenant(text).ok();
    let seen = known.filter(|tenant| standing.sees(state, tenant));
    seen.ok_or_else(|| status::no_tenant(text))
}

/// The tenant that a change is about, and the permit for it.
pub(super) async fn permit_for(
    desk: &Desk,
    call: &Call,
    field: &str,
    text: &str,
) -> Result<(TenantId, Permit), Status> {
    check_word(field, text)?;
    let state = desk
        .state_with(call, |state| state.find_tenant(text).is_ok())
        .await?;
    let standing = policy::standing(&state, &call.caller, call.action())?;
    let id = tenant(&state, &standing, field, text)?.id.clone();
    let permit = standing.permit(&state, Some(&id))?;
    Ok((id, permit))
}

/// The tenant with this very id.
pub(super) fn tenant_by_id<'a>(
    state: &'a State,
    standing: &Standing<'_>,
    id: &TenantId,
) -> Result<&'a Tenant, Status> {
    let seen = state
        .tenants
        .get(id)
        .map(Arc::as_ref)
        .filter(|tenant| standing.sees(state, tenant));
    seen.ok_or_else(|| status::no_tenant(id.as_str()))
}

/// The tenant that a claim leads to.
pub(super) fn by_claim<'a>(
    state: &'a State,
    standing: &Standing<'_>,
    claim: &Claim,
) -> Result<&'a Tenant, Status> {
    let known = state.claims.get(claim).and_then(|id| state.tenants.get(id));
    let seen = known
        .map(Arc::as_ref)
        .filter(|tenant| standing.sees(state, tenant));
    seen.ok_or_else(|| status::no_tenant(&claim.to_string()))
}

/// Reads an operation's id.
pub(super) fn operation_id(text: &str) -> Result<OperationId, BadField> {
    OperationId::parse(text).map_err(|error| BadField::new("operation", error))
}
