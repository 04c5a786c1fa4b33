//! The words of policy: roles, actions, and which role may do what. Deciding a request is `decide`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::TenantId;

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    Node,
    Agent,
    Service,
    Operator,
    Auditor,
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 6] = [
        Role::Node,
        Role::Agent,
        Role::Service,
        Role::Operator,
        Role::Auditor,
        Role::Admin,
    ];

    /// The word operators read.
    pub fn word(self) -> &'static str {
        match self {
            Role::Node => "node",
            Role::Agent => "agent",
            Role::Service => "service",
            Role::Operator => "operator",
            Role::Auditor => "auditor",
            Role::Admin => "admin",
        }
    }
}

/// What a caller wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    ResolveTenant,
    ReadCredential,
    ReadTenant,
    CreateTenant,
    ChangeTenant,
    DeleteTenant,
    ReadGroup,
    ChangeGroup,
    ReadOperation,
    CancelOperation,
    ReadCluster,
    ChangeCluster,
    ReadAccess,
    ChangeAccess,
    ReadAudit,
    ReadAlert,
    ChangeAlert,
    /// Step orders, reports and heartbeats of an agent's own instance.
    ServeAsAgent,
    /// Renewing one's own certificate, asking who one is.
    KnowSelf,
    /// Showing a join token; the only thing that needs no certificate.
    Join,
}

impl Action {
    /// All of them.
    pub const ALL: [Action; 20] = [
        Action::ResolveTenant,
        Action::ReadCredential,
        Action::ReadTenant,
        Action::CreateTenant,
        Action::ChangeTenant,
        Action::DeleteTenant,
        Action::ReadGroup,
        Action::ChangeGroup,
        Action::ReadOperation,
        Action::CancelOperation,
        Action::ReadCluster,
        Action::ChangeCluster,
        Action::ReadAccess,
        Action::ChangeAccess,
        Action::ReadAudit,
        Action::ReadAlert,
        Action::ChangeAlert,
        Action::ServeAsAgent,
        Action::KnowSelf,
        Action::Join,
    ];

    /// The word in audit records: "tenant.create".
    pub fn word(self) -> &'static str {
        match self {
            Action::ResolveTenant => "tenant.resolve",
            Action::ReadCredential => "credential.read",
            Action::ReadTenant => "tenant.read",
            Action::CreateTenant => "tenant.create",
            Action::ChangeTenant => "tenant.change",
            Action::DeleteTenant => "tenant.delete",
            Action::ReadGroup => "group.read",
            Action::ChangeGroup => "group.change",
            Action::ReadOperation => "operation.read",
            Action::CancelOperation => "operation.cancel",
            Action::ReadCluster => "cluster.read",
            Action::ChangeCluster => "cluster.change",
            Action::ReadAccess => "access.read",
            Action::ChangeAccess => "access.change",
            Action::ReadAudit => "audit.read",
            Action::ReadAlert => "alert.read",
            Action::ChangeAlert => "alert.change",
            Action::ServeAsAgent => "agent.serve",
            Action::KnowSelf => "self.know",
            Action::Join => "cluster.join",
        }
    }

    /// Whether it is about one tenant, so that a caller's scope counts.
    pub fn is_scoped(self) -> bool {
        matches!(
            self,
            Action::ResolveTenant
                | Action::ReadCredential
                | Action::ReadTenant
                | Action::CreateTenant
                | Action::ChangeTenant
                | Action::DeleteTenant
        )
    }
}

/// The compiled table. A secret is read by services and agents alone: people get break-glass, not passwords.
pub fn allows(role: Role, action: Action) -> bool {
    use Action::*;
    match role {
        Role::Node => matches!(action, ReadCluster | KnowSelf),
        Role::Agent => matches!(action, ServeAsAgent | ReadCredential | KnowSelf),
        Role::Service => matches!(action, ResolveTenant | ReadCredential | KnowSelf),
        Role::Auditor => {
            matches!(
                action,
                ReadAudit
                    | ReadTenant
                    | ReadGroup
                    | ReadOperation
                    | ReadCluster
                    | ReadAccess
                    | ReadAlert
                    | KnowSelf
            )
        }
        Role::Operator => matches!(
            action,
            ResolveTenant
                | ReadTenant
                | CreateTenant
                | ChangeTenant
                | DeleteTenant
                | ReadGroup
                | ChangeGroup
                | ReadOperation
                | CancelOperation
                | ReadCluster
                | ReadAlert
                | ChangeAlert
                | KnowSelf
        ),
        Role::Admin => !matches!(action, ReadCredential | ServeAsAgent | Join),
    }
}

/// Which tenants a principal may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Scope {
    Fleet,
    Tenants(BTreeSet<TenantId>),
}

impl Scope {
    /// Whether the tenant is inside.
    pub fn holds(&self, tenant: &TenantId) -> bool {
        match self {
            Scope::Fleet => true,
            Scope::Tenants(tenants) => tenants.contains(tenant),
        }
    }
}

/// What policy said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Permit,
    /// The role may not do this.
    WrongRole,
    /// The tenant is outside the caller's scope; answered as if it did not exist.
    OutOfScope,
}

/// Decides: the role's table first, then the scope. A scoped caller without a tenant named may do nothing scoped.
pub fn decide(role: Role, scope: &Scope, action: Action, tenant: Option<&TenantId>) -> Decision {
    if !allows(role, action) {
        return Decision::WrongRole;
    }
    if !action.is_scoped() {
        return Decision::Permit;
    }
    match (scope, tenant) {
        (Scope::Fleet, _) => Decision::Permit,
        (Scope::Tenants(_), Some(tenant)) if scope.holds(tenant) => Decision::Permit,
        (Scope::Tenants(_), _) => Decision::OutOfScope,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_this_one() {
        let mut table = String::new();
        for action in Action::ALL {
            let roles: Vec<_> = Role::ALL
                .into_iter()
                .filter(|r| allows(*r, action))
                .map(Role::word)
                .collect();
            table.push_str(&format!("{}: {}\n", action.word(), roles.join(" ")));
        }
        assert_eq!(
            table,
            "tenant.resolve: service operator admin\n\
             credential.read: agent service\n\
             tenant.read: operator auditor admin\n\
             tenant.create: operator admin\n\
             tenant.change: operator admin\n\
             tenant.delete: operator admin\n\
             group.read: operator auditor admin\n\
             group.change: operator admin\n\
             operation.read: operator auditor admin\n\
             operation.cancel: operator admin\n\
             cluster.read: node operator auditor admin\n\
             cluster.change: admin\n\
             access.read: auditor admin\n\
             access.change: admin\n\
             audit.read: auditor admin\n\
             alert.read: operator auditor admin\n\
             alert.change: operator admin\n\
             agent.serve: agent\n\
             self.know: node agent service operator auditor admin\n\
             cluster.join: \n"
        );
    }

    #[test]
    fn a_scoped_caller_sees_its_own_tenant_and_nothing_else() {
        let (own, other) = (TenantId::from_random(1), TenantId::from_random(2));
        let scope = Scope::Tenants([own.clone()].into());
        let ask = |tenant| decide(Role::Service, &scope, Action::ReadCredential, tenant);
        assert_eq!(ask(Some(&own)), Decision::Permit);
        assert_eq!(ask(Some(&other)), Decision::OutOfScope);
        assert_eq!(ask(None), Decision::OutOfScope);
        assert_eq!(
            decide(Role::Service, &scope, Action::CreateTenant, Some(&own)),
            Decision::WrongRole
        );
    }
}
