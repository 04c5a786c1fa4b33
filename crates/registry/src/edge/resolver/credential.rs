//! Giving a password away: permitted, written down, and only then opened. It fails closed. To whom it was given is kept,
//! until that process says that it holds it no more.

use reeve_domain::command::Witness;
use reeve_domain::credential::{Acknowledge, Next, Read, Slot};
use reeve_domain::operation::{self, Wanted};
use reeve_domain::policy::{Action, Role};
use reeve_domain::{Command, State, Tenant, digest, tenant, version};
use reeve_proto::error::{self, Reason};
use reeve_proto::v1::{AcknowledgeCredentialRequest, GetCredentialRequest, GetCredentialResponse};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tonic::Status;

use crate::authority::credential;
use crate::edge::admit::Call;
use crate::edge::desk::Desk;
use crate::edge::read::Level;
use crate::edge::{find, parse, status};
use crate::policy::{self, CREDENTIAL_READ, Denied, Intent, Standing};

/// Which password is to be given.
enum Given {
    /// The one in force.
    InForce,
    /// That of the login that rests. It opens nothing once the first change is through.
    Resting,
    /// The one that is to come, to the agent that prepares it.
    Next(Next),
}

impl Given {
    fn slot(&self, tenant: &Tenant) -> Slot {
        match self {
            Given::InForce => tenant.credential.active,
            Given::Resting => tenant.credential.active.other(),
            Given::Next(next) => next.slot,
        }
    }

    fn version(&self, tenant: &Tenant) -> u64 {
        match self {
            Given::InForce | Given::Resting => tenant.credential.version,
            Given::Next(next) => next.version,
        }
    }
}

/// Answers once the record of it is committed.
pub(super) async fn give(
    desk: &Desk,
    call: &Call,
    wire: GetCredentialRequest,
) -> Result<GetCredentialResponse, Status> {
    let id = parse::tenant_id(&wire.tenant_id)?;
    let wanted = parse::slot(&wire.slot)?;
    let instance = parse::instance(wire.instance)?;
    let reading = desk.read(call, Level::Linearizable).await?;
    let standing = policy::standing(&reading.state, &call.caller, call.action())?;
    let tenant = find::tenant_by_id(&reading.state, &standing, &id)?;
    let given = which(&reading.state, &standing, tenant, wanted, wire.version)?;
    let (slot, version) = (given.slot(tenant), given.version(tenant));

    let is_holder =
        standing.principal().role != Role::Agent && reading.state.cluster.version >= version::ROTATION;
    let permit = standing.permit(&reading.state, Some(&id))?;
    let command = match is_holder {
        true => Command::ReadCredential(Read {
            tenant: id.clone(),
            slot,
            version,
            instance,
        }),
        false => Command::Witness(Witness {
            action: CREDENTIAL_READ.to_owned(),
            resource: format!("tenant/{id}"),
            tenant: Some(id.clone()),
            detail: format!("v{version} slot {}", slot.letter()),
        }),
    };
    let answered = desk.propose(call, permit, Intent::new(command)).await?;

    // Rights, place and version may have changed before the record was committed.
    let state = &answered.state;
    let standing = policy::standing(state, &call.caller, call.action())?;
    let tenant = find::tenant_by_id(state, &standing, &id)?;
    let given = which(state, &standing, tenant, Some(slot), version)?;
    open(desk, state, tenant, &given)
}

/// Takes down that a process holds nothing older than a version.
pub(super) async fn acknowledge(
    desk: &Desk,
    call: &Call,
    wire: AcknowledgeCredentialRequest,
) -> Result<(), Status> {
    let id = parse::tenant_id(&wire.tenant_id)?;
    let instance = parse::instance(wire.instance)?;
    let state = desk
        .state_with(call, |state| state.tenants.contains_key(&id))
        .await?;
    let standing = policy::standing(&state, &call.caller, call.action())?;
    find::tenant_by_id(&state, &standing, &id)?;
    let permit = standing.permit(&state, Some(&id))?;
    let order = Acknowledge {
        tenant: id,
        version: wire.version,
        instance,
    };
    let intent = Intent::new(Command::AcknowledgeCredential(order));
    desk.propose(call, permit, intent).await.map(drop)
}

/// What to give, if this caller may have it.
fn which(
    state: &State,
    standing: &Standing<'_>,
    tenant: &Tenant,
    wanted: Option<Slot>,
    version: u64,
) -> Result<Given, Status> {
    let active = tenant.credential.active;
    let slot = wanted.unwrap_or(active);
    let is_agent = standing.principal().role == Role::Agent;
    if !is_agent {
        if tenant.status != tenant::Status::Active {
            let message = format!("tenant {} is {}", tenant.slug, tenant.status.word());
            let metadata = [("tenant", tenant.id.as_str()), ("state", tenant.status.word())];
            return Err(error::status(Reason::TenantNotServing, message, &metadata));
        }
        if tenant.dispute.is_some() {
            let message = format!("tenant {} is fenced until a person has decided", tenant.slug);
            let metadata = [("tenant", tenant.id.as_str())];
            return Err(error::status(Reason::TenantNotServing, message, &metadata));
        }
        if slot != active {
            let denied = Denied::WrongRole {
                role: standing.principal().role,
                action: Action::ReadCredential,
            };
            return Err(denied.into());
        }
    }
    let next = next(state, tenant).filter(|next| is_agent && (next.slot, next.version) == (slot, version));
    if let Some(next) = next {
        return Ok(Given::Next(next.clone()));
    }
    let current = tenant.credential.version;
    if version != 0 && version != current {
        let message = format!("credential version {version} is asked for; {current} is in force");
        return Err(error::status(Reason::Fenced, message, &[]));
    }
    Ok(match slot == active {
        true => Given::InForce,
        false => Given::Resting,
    })
}

/// The credential that an open change is to bring.
fn next<'a>(state: &'a State, tenant: &Tenant) -> Option<&'a Next> {
    let operation = state.operations.get(tenant.operation.as_ref()?)?;
    match &operation.wanted {
        Some(Wanted::Credential(next)) if operation.status == operation::Status::Running => Some(next),
        _ => None,
    }
}

fn open(desk: &Desk, state: &State, tenant: &Tenant, given: &Given) -> Result<GetCredentialResponse, Status> {
    let (slot, version) = (given.slot(tenant), given.version(tenant));
    let sealed = match given {
        Given::Next(next) => &next.sealed,
        Given::InForce | Given::Resting => tenant.credential.sealed(slot),
    };
    let sealed_at = match given {
        // It was in force one version ago; of a new tenant's two logins both are of the first.
        Given::Resting => version.saturating_sub(1).max(1),
        Given::InForce | Given::Next(_) => version,
    };
    // The place names tenant, slot and version, so that a swapped envelope does not open.
    let place = credential::place(&tenant.id, slot, sealed_at);
    let opened = desk
        .rooms
        .authority
        .open(sealed, &place)
        .map_err(|error| cannot_open(&error))?;
    let password = std::str::from_utf8(&opened).map_err(|error| cannot_open(&error))?;
    Ok(GetCredentialResponse {
        role: format!("{}_{}", tenant.id, slot.letter()),
        password: password.to_owned(),
        version,
        server_ca_sha256: root_sha256(&state.cluster.root_ca_pem)?.to_vec(),
    })
}

/// The node's log has the cause; the caller learns that this node cannot, now.
fn cannot_open(cause: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(cause, "a credential does not open");
    let message = "the credential cannot be opened on this node; ask another node, and tell an operator";
    error::status(Reason::Sealed, message, &[])
}

fn root_sha256(root_pem: &str) -> Result<[u8; 32], Status> {
    let der = CertificateDer::from_pem_slice(root_pem.as_bytes());
    let der = der.map_err(|error| status::internal("reading the root certificate", &error))?;
    Ok(digest::of_bytes(&[&der]))
}
