//! The proof that policy said yes.

use reeve_domain::access::Principal;
use reeve_domain::operation::Report;
use reeve_domain::policy::{self, Action, Decision, Role, Scope};
use reeve_domain::{Actor, State, Tenant, TenantId};

use tokio::time::{Duration, Instant};

use crate::consensus::{Consensus, Level, Unavailable};
use crate::policy::Caller;

/// A leader that no quorum confirms within this does not lead.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(2);

/// Policy said yes to this. Private fields: it is made here and nowhere else.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(super) actor: Actor,
    pub(super) principal_rev: u64,
    pub(super) policy_rev: u64,
    pub(super) action: Action,
    pub(super) tenant: Option<TenantId>,
    pub(super) caller: Option<Caller>,
}

/// Policy said no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody is known at the other end.
    #[error("a certificate of this cluster is needed; enrol with a join token first")]
    NoIdentity,
    /// The certificate is good, and State does not know its name.
    #[error("{0} is not a principal of this cluster; enrol with a join token")]
    Unknown(String),
    /// All rights were taken away.
    #[error("the rights of {0} were revoked; an admin can enrol it anew")]
    Revoked(String),
    /// The role's table does not hold the action.
    #[error("{} may not do {}; ask an admin for another role", role.word(), action.word())]
    WrongRole { role: Role, action: Action },
    /// The tenant is outside the caller's scope: to be answered as if it did not exist.
    #[error("no such tenant")]
    OutOfScope,
}

/// A known caller whose role holds the action; which tenant is still open.
#[derive(Clone, Debug)]
pub struct Standing<'a> {
    principal: &'a Principal,
    policy_rev: u64,
    action: Action,
    caller: &'a Caller,
}

/// Looks the caller up and asks the role's table. It says nothing about any tenant yet.
pub fn standing<'a>(state: &'a State, caller: &'a Caller, action: Action) -> Result<Standing<'a>, Denied> {
    if caller.id().is_empty() {
        return Err(Denied::NoIdentity);
    }
    let Some(principal) = state.principals.get(&**caller.id()) else {
        return Err(Denied::Unknown(caller.id().to_string()));
    };
    if principal.revoked {
        return Err(Denied::Revoked(principal.id.clone()));
    }
    if !policy::allows(principal.role, action) {
        return Err(Denied::WrongRole {
            role: principal.role,
            action,
        });
    }
    Ok(Standing {
        principal,
        policy_rev: state.policy_rev,
        action,
        caller,
    })
}

impl<'a> Standing<'a> {
    /// Who it is.
    pub fn principal(&self) -> &'a Principal {
        self.principal
    }

    /// Whether this tenant exists for the caller.
    pub fn sees(&self, state: &State, tenant: &Tenant) -> bool {
        self.sees_placed(state, tenant) && self.in_scope(Some(&tenant.id))
    }

    /// Whether a tenant of this id may exist for the caller; for one that is gone.
    pub fn sees_id(&self, tenant: &TenantId) -> bool {
        self.in_scope(Some(tenant))
    }

    /// Whether no tenant is hidden from the caller: then it sees what all of its kind see.
    pub fn sees_everything(&self) -> bool {
        self.principal.scope == Scope::Fleet && self.principal.role != Role::Agent
    }

    /// The permit for one tenant, or for what concerns none.
    pub fn permit(self, state: &State, tenant: Option<&TenantId>) -> Result<Permit, Denied> {
        let known = tenant.and_then(|id| state.tenants.get(id));
        if known.is_some_and(|tenant| !self.sees_placed(state, tenant)) || !self.in_scope(tenant) {
            return Err(Denied::OutOfScope);
        }
        Ok(Permit {
            actor: Actor::Principal(self.principal.id.clone()),
            principal_rev: self.principal.rev,
            policy_rev: self.policy_rev,
            action: self.action,
            tenant: tenant.cloned(),
            caller: Some(self.caller.clone()),
        })
    }

    fn in_scope(&self, tenant: Option<&TenantId>) -> bool {
        let Principal { role, scope, .. } = self.principal;
        policy::decide(*role, scope, self.action, tenant) == Decision::Permit
    }

    /// An agent's world is the group it serves.
    fn sees_placed(&self, state: &State, tenant: &Tenant) -> bool {
        if self.principal.role != Role::Agent {
            return true;
        }
        let Some(agent) = self.caller.agent() else {
            return false;
        };
        let group = state.groups.get(&tenant.placement.group);
        group.is_some_and(|group| group.members.iter().any(|member| member.name == agent))
    }
}

/// Decides one request whole: the caller, its role, its scope.
pub fn decide(
    state: &State,
    caller: &Caller,
    action: Action,
    tenant: Option<&TenantId>,
) -> Result<Permit, Denied> {
    standing(state, caller, action)?.permit(state, tenant)
}

/// For an agent that speaks of its own step, and of nobody else's.
pub fn for_step(state: &State, caller: &Caller, report: &Report) -> Result<Permit, Denied> {
    let permit = decide(state, caller, Action::ServeAsAgent, None)?;
    if caller.agent().as_ref() != Some(&report.agent) {
        return Err(Denied::WrongRole {
            role: Role::Agent,
            action: Action::ServeAsAgent,
        });
    }
    Ok(permit)
}

/// For somebody without a certificate, who shows a join token; what the token says is checked at apply.
pub fn for_joiner(state: &State, caller: &Caller) -> Permit {
    Permit {
        actor: Actor::Joiner,
        principal_rev: 0,
        policy_rev: state.policy_rev,
        action: Action::Join,
        tenant: None,
        caller: Some(caller.clone()),
    }
}

/// For the pilot, once a quorum has confirmed that this node leads. The term's end ends it: what was proposed
/// under an older one is turned away by the log.
pub async fn for_pilot(consensus: &Consensus) -> Result<Permit, Unavailable> {
    let view = consensus
        .read(Level::Linearizable, Instant::now() + CONFIRM_PATIENCE)
        .await?;
    if !consensus.is_leader() {
        return Err(Unavailable::NoLeader);
    }
    Ok(Permit {
        actor: Actor::Pilot,
        principal_rev: 0,
        policy_rev: view.state().policy_rev,
        action: Action::CancelOperation,
        tenant: None,
        caller: None,
    })
}
