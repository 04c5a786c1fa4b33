//! Looking at one tenant's walls on demand.

use serde::{Deserialize, Serialize};

use crate::ids::{OperationId, Stamp, TenantId};
use crate::operation::{self, Kind, Opening, Turn};
use crate::refusal::Refusal;
use crate::state::{Change, State};
use crate::tenant::{Status, Tenant};

/// An order to look at a tenant's walls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    pub tenant: TenantId,
    pub operation: OperationId,
    #[serde(default, skip_serializing_if = "Turn::is_plain")]
    pub turn: Turn,
}

/// Opens the operation. The tenant is served meanwhile, and no other operation begins on it.
pub fn scan(state: &mut State, at: Stamp, actor: &str, order: Scan) -> Result<Change, Refusal> {
    if state.operations.contains_key(&order.operation) {
        return Err(Refusal::AlreadyExists(format!("operation {}", order.operation)));
    }
    if operation::is_free(state, state.tenant(&order.tenant)?, order.turn)? {
        state.edit_tenant(&order.tenant, at, |tenant| hold(tenant, &order.operation))?;
    }
    let opening = Opening {
        id: order.operation,
        kind: Kind::Scan,
        tenant: order.tenant,
        wanted: None,
        priority: order.turn.priority,
    };
    operation::open(state, at, actor, opening)
}

/// It has its tenant now, if there is something to look at.
pub(super) fn hold(tenant: &mut Tenant, operation: &OperationId) -> Result<(), Refusal> {
    if !matches!(tenant.status, Status::Active | Status::Suspended) {
        return Err(tenant.wrong_state("only an active or a suspended tenant can be scanned"));
    }
    tenant.operation = Some(operation.clone());
    Ok(())
}
