//! Looking at one tenant's walls on demand.

use serde::{Deserialize, Serialize};

use crate::ids::{OperationId, Stamp, TenantId};
use crate::operation::{self, Kind};
use crate::refusal::Refusal;
use crate::state::{Change, State};
use crate::tenant::Status;

/// An order to look at a tenant's walls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    pub tenant: TenantId,
    pub operation: OperationId,
}

/// Opens the operation. The tenant is served meanwhile, and no other operation begins on it.
pub fn scan(state: &mut State, at: Stamp, actor: &str, order: Scan) -> Result<Change, Refusal> {
    if state.operations.contains_key(&order.operation) {
        return Err(Refusal::AlreadyExists(format!("operation {}", order.operation)));
    }
    state.edit_tenant(&order.tenant, at, |tenant| {
        tenant.check_free()?;
        if !matches!(tenant.status, Status::Active | Status::Suspended) {
            return Err(tenant.wrong_state("only an active or a suspended tenant can be scanned"));
        }
        tenant.operation = Some(order.operation.clone());
        Ok(())
    })?;
    operation::open(state, at, actor, order.operation, Kind::Scan, &order.tenant, None)
}
