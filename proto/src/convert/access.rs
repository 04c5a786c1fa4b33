//! Principals and roles.

use reeve_domain::access::Principal;
use reeve_domain::policy::{Role, Scope};

use crate::convert::{BadField, time};
use crate::v1;

/// A role as the wire writes it.
pub fn role(role: Role) -> v1::Role {
    match role {
        Role::Node => v1::Role::Node,
        Role::Agent => v1::Role::Agent,
        Role::Service => v1::Role::Service,
        Role::Operator => v1::Role::Operator,
        Role::Auditor => v1::Role::Auditor,
        Role::Admin => v1::Role::Admin,
    }
}

/// Reads a role; it must be said.
pub fn role_from_wire(wire: v1::Role) -> Result<Role, BadField> {
    Ok(match wire {
        v1::Role::Node => Role::Node,
        v1::Role::Agent => Role::Agent,
        v1::Role::Service => Role::Service,
        v1::Role::Operator => Role::Operator,
        v1::Role::Auditor => Role::Auditor,
        v1::Role::Admin => Role::Admin,
        v1::Role::Unspecified => {
            return Err(BadField::new(
                "role",
                "is required: NODE, AGENT, SERVICE, OPERATOR, AUDITOR or ADMIN",
            ));
        }
    })
}

/// A principal as the wire writes it.
pub fn principal(from: &Principal) -> v1::Principal {
    let tenant_ids = match &from.scope {
        Scope::Fleet => Vec::new(),
        Scope::Tenants(tenants) => tenants.iter().map(ToString::to_string).collect(),
    };
    v1::Principal {
        id: from.id.clone(),
        role: role(from.role) as i32,
        tenant_ids,
        revoked: from.revoked,
        create_time: Some(time::timestamp(from.created)),
        mod_revision: from.modified.0,
    }
}
