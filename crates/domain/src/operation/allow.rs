//! From where a tenant's services may come.

use serde::{Deserialize, Serialize};

use crate::ids::{OperationId, Stamp, TenantId};
use crate::operation::{self, Kind, Opening, Turn, Wanted};
use crate::refusal::Refusal;
use crate::state::{Change, State};
use crate::tenant::{ALLOWLIST_MAX, Status, Tenant};
use crate::words::Cidr;

/// An order to let a tenant's services come from these, and from nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    pub tenant: TenantId,
    pub operation: OperationId,
    pub etag: String,
    /// None: from where the fleet's default says.
    pub allowlist: Vec<Cidr>,
    #[serde(default, skip_serializing_if = "Turn::is_plain")]
    pub turn: Turn,
}

/// Opens the operation. The tenant's own list stays what it is until the doors are as they should be.
pub fn allow(state: &mut State, at: Stamp, actor: &str, order: Allow) -> Result<Change, Refusal> {
    if state.operations.contains_key(&order.operation) {
        return Err(Refusal::AlreadyExists(format!("operation {}", order.operation)));
    }
    let got = order.allowlist.len();
    if got > ALLOWLIST_MAX {
        let why = format!("has {got}; at most {ALLOWLIST_MAX} are allowed");
        return Err(Refusal::field("allowlist_cidrs", why));
    }
    let tenant = state.tenant(&order.tenant)?;
    tenant.check_etag(&order.etag)?;
    if operation::is_free(state, tenant, order.turn)? {
        state.edit_tenant(&order.tenant, at, |tenant| hold(tenant, &order.operation))?;
    }
    let opening = Opening {
        id: order.operation,
        kind: Kind::Allow,
        tenant: order.tenant,
        wanted: Some(Wanted::Allowlist(order.allowlist)),
        priority: order.turn.priority,
    };
    operation::open(state, at, actor, opening)
}

/// It has its tenant now, if there are doors to change.
pub(super) fn hold(tenant: &mut Tenant, operation: &OperationId) -> Result<(), Refusal> {
    if !matches!(tenant.status, Status::Active | Status::Suspended) {
        return Err(tenant.wrong_state("only an active or a suspended tenant has doors to change"));
    }
    tenant.operation = Some(operation.clone());
    Ok(())
}

/// The list that was wanted is the tenant's own.
pub(super) fn keep(
    state: &mut State,
    at: Stamp,
    tenant: &TenantId,
    wanted: Option<&Wanted>,
) -> Result<(), Refusal> {
    let Some(Wanted::Allowlist(allowlist)) = wanted else {
        return Ok(());
    };
    let keep = state.edit_tenant(tenant, at, |tenant| {
        tenant.allowlist.clone_from(allowlist);
        Ok(())
    });
    keep.map(drop)
}
