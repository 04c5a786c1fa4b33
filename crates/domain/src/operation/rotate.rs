//! A new password for a tenant, on the login that is not in use.
//!
//! It is sealed before PostgreSQL hears of it, published once it lets somebody in, and the former one is retired when
//! nobody holds it any more. Up to the publishing it can be taken back; from there it goes on to its end.

use serde::{Deserialize, Serialize};

use crate::credential::{self, Next};
use crate::ids::{OperationId, Stamp, TenantId};
use crate::operation::{self, Goal, Kind, Opening, Operation, Priority, Turn, Wait, Wanted, report};
use crate::refusal::Refusal;
use crate::state::{Change, State};
use crate::tenant::{Status, Tenant};
use crate::version;

/// The shortest and the longest time that clients may be waited for.
pub const GRACE_MS: std::ops::RangeInclusive<u64> = 1_000..=7 * 86_400_000;
/// Holders that the proof names.
const NAMED_MAX: usize = 8;

/// An order to change a tenant's password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    pub tenant: TenantId,
    pub operation: OperationId,
    pub etag: String,
    pub next: Next,
    /// Somebody has the present one who must not: nobody is waited for.
    pub leaked: bool,
    pub grace_ms: u64,
    #[serde(default, skip_serializing_if = "Turn::is_plain")]
    pub turn: Turn,
}

/// Opens the operation, or hastens the one that is at work when the credential has leaked. What was drawn for another
/// version than the next one is refused: two were asked for at once.
pub fn rotate(state: &mut State, at: Stamp, actor: &str, order: Rotate) -> Result<Change, Refusal> {
    if order.leaked {
        if state.cluster.version >= version::TURNS {
            state.tenant(&order.tenant)?.check_etag(&order.etag)?;
        }
        if let Some(change) = hasten(state, at, &order.tenant)? {
            return Ok(change);
        }
    }
    if state.operations.contains_key(&order.operation) {
        return Err(Refusal::AlreadyExists(format!("operation {}", order.operation)));
    }
    if !GRACE_MS.contains(&order.grace_ms) {
        let why = format!("is {} s; 1 s to 7 d are allowed", order.grace_ms / 1000);
        return Err(Refusal::field("grace", why));
    }
    let tenant = state.tenant(&order.tenant)?;
    tenant.check_etag(&order.etag)?;
    let wanted = Some(Wanted::Credential(order.next));
    if operation::is_free(state, tenant, order.turn)? {
        state.edit_tenant(&order.tenant, at, |tenant| {
            hold(tenant, &order.operation, wanted.as_ref())
        })?;
    } else if let Some(before) = unpublished(state, &order.tenant) {
        // What was drawn for the same version could never be published behind it.
        return Err(Refusal::OperationInProgress {
            tenant: order.tenant,
            operation: before,
        });
    }
    let opening = Opening {
        id: order.operation.clone(),
        kind: Kind::Rotate,
        tenant: order.tenant,
        wanted,
        priority: match order.leaked && state.cluster.version >= version::TURNS {
            true => Priority::Urgent,
            false => order.turn.priority,
        },
    };
    let change = operation::open(state, at, actor, opening)?;
    edit(state, &order.operation, |operation| {
        if order.leaked {
            operation.steps.retain(|step| step.goal != Goal::DrainClients);
        }
        let drain = operation.steps.iter_mut().find(|s| s.goal == Goal::DrainClients);
        if let Some(drain) = drain {
            drain.timeout_ms = order.grace_ms;
        }
    });
    Ok(change)
}

/// It has its tenant now, if its next password is the one that comes after the one in force.
pub(super) fn hold(
    tenant: &mut Tenant,
    operation: &OperationId,
    wanted: Option<&Wanted>,
) -> Result<(), Refusal> {
    if !matches!(tenant.status, Status::Active | Status::Suspended) {
        return Err(tenant.wrong_state("only an active or a suspended tenant has a credential to change"));
    }
    let credential = &tenant.credential;
    let Some(Wanted::Credential(next)) = wanted else {
        return Err(Refusal::Fenced("no credential was drawn".to_owned()));
    };
    if (next.version, next.slot) != (credential.version + 1, credential.active.other()) {
        return Err(Refusal::Fenced(format!(
            "credential version {} is in force, and {} was drawn; ask again",
            credential.version, next.version
        )));
    }
    tenant.operation = Some(operation.clone());
    Ok(())
}

/// The change of a tenant's credential that is at work or waits for its turn.
fn unretired<'a>(state: &'a State, tenant: &'a TenantId) -> Option<&'a Operation> {
    let held = state.holder(tenant).into_iter();
    let mut all = held.chain(operation::queued_of(state, tenant));
    all.find(|operation| operation.kind == Kind::Rotate)
}

/// The same, while what it brings is not in force.
fn unpublished(state: &State, tenant: &TenantId) -> Option<OperationId> {
    let known = unretired(state, tenant)?;
    known.wanted.as_ref().map(|_| known.id.clone())
}

/// A change that is at work, or that waits for its turn, waits for no client any more; none when there is none, or it
/// does not.
fn hasten(state: &mut State, at: Stamp, tenant: &TenantId) -> Result<Option<Change>, Refusal> {
    let Some(known) = unretired(state, tenant) else {
        return Ok(None);
    };
    let mut operation = known.clone();
    if operation.status == operation::Status::Queued {
        operation.steps.retain(|step| step.goal != Goal::DrainClients);
        return Ok(Some(operation::hurry(state, at, operation)));
    }
    let drain = operation.steps.iter().position(|s| s.goal == Goal::DrainClients);
    let (Kind::Rotate, operation::Status::Running, Some(drain)) = (operation.kind, operation.status, drain)
    else {
        return Ok(None);
    };
    if drain < operation.cursor {
        return Ok(None);
    }
    if drain == operation.cursor {
        operation.steps[drain].proof = vec!["clients: leaked, nobody is waited for".to_owned()];
        operation.wait = None;
        report::advance(state, at, &mut operation)?;
    } else {
        operation.steps.remove(drain);
    }
    Ok(Some(report::store(state, at, operation)))
}

fn edit(state: &mut State, id: &OperationId, edit: impl FnOnce(&mut Operation)) {
    if let Some(known) = state.operations.get(id) {
        let mut operation = Operation::clone(known);
        edit(&mut operation);
        state.store_operation(operation);
    }
}

/// The new password is the one in force, and everybody hears of it. What a restored registry has published already is
/// not published again.
pub(super) fn publish(state: &mut State, at: Stamp, operation: &mut Operation) -> Result<(), Refusal> {
    let Some(Wanted::Credential(next)) = operation.wanted.clone() else {
        return Ok(());
    };
    let tenant = state.tenant(&operation.tenant)?;
    let unknown = credential::may_be_unknown(state, tenant.credential_published());
    // Nobody can acknowledge for those of whom nothing was written down: the whole grace is waited.
    let drains = operation.steps.iter().any(|s| s.goal == Goal::DrainClients);
    operation.wait = (drains && !unknown).then(|| Wait::Acknowledged(state.revision.next()));
    let index = operation.cursor;
    operation.steps[index].proof = vec![format!(
        "credential: v{} is in force, on login {}",
        next.version,
        next.slot.letter()
    )];
    let turn = state.edit_tenant(&operation.tenant, at, |tenant| {
        if tenant.credential.version < next.version {
            tenant.credential.turn(at, next);
        }
        Ok(())
    });
    // It is the tenant's own now.
    operation.wanted = None;
    turn.map(drop)
}

/// Whether nobody needs to be waited for any more.
pub fn is_drained(state: &State, operation: &Operation) -> bool {
    let version = state.tenants.get(&operation.tenant).map(|t| t.credential.version);
    let settled = version.is_none_or(|version| credential::settled(state, &operation.tenant, version));
    settled && matches!(operation.wait, Some(Wait::Acknowledged(_)))
}

/// Who was waited for, and whether in vain.
pub(super) fn drained(state: &State, operation: &Operation, grace_ms: u64) -> Vec<String> {
    let Ok(tenant) = state.tenant(&operation.tenant) else {
        return Vec::new();
    };
    let version = tenant.credential.version;
    if is_drained(state, operation) {
        return vec![format!("clients: nobody holds anything before v{version}")];
    }
    let mut behind = credential::behind(state, &tenant.id, version);
    let mut lines = vec![format!(
        "clients: the grace of {} s is over; {} did not acknowledge v{version}",
        grace_ms / 1000,
        credential::behind(state, &tenant.id, version).count()
    )];
    let named = behind.by_ref().take(NAMED_MAX);
    lines.extend(named.map(|h| format!("{} {} holds v{}", h.principal, h.instance, h.oldest)));
    lines
}

/// The former login is gone: who held it holds it no more.
pub(super) fn retired(state: &mut State, tenant: &TenantId) -> Result<(), Refusal> {
    let version = state.tenant(tenant)?.credential.version;
    credential::forget_older(state, tenant, version);
    Ok(())
}
