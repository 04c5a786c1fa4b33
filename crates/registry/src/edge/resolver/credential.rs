//! Giving a password away: permitted, written down, and only then opened. It fails closed.

use reeve_domain::command::Witness;
use reeve_domain::policy::{Action, Role};
use reeve_domain::tenant::{self, Slot};
use reeve_domain::{Command, State, Tenant, digest};
use reeve_proto::error::{self, Reason};
use reeve_proto::v1::{GetCredentialRequest, GetCredentialResponse};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tonic::Status;

use crate::edge::admit::Call;
use crate::edge::desk::Desk;
use crate::edge::read::Level;
use crate::edge::{find, mint, parse, status};
use crate::policy::{self, CREDENTIAL_READ, Denied, Intent, Standing};

/// Answers once the record of it is committed.
pub(super) async fn give(
    desk: &Desk,
    call: &Call,
    wire: GetCredentialRequest,
) -> Result<GetCredentialResponse, Status> {
    let id = parse::tenant_id(&wire.tenant_id)?;
    let wanted = parse::slot(&wire.slot)?;
    let reading = desk.read(call, Level::Linearizable).await?;
    let standing = policy::standing(&reading.state, &call.caller, call.action())?;
    let tenant = find::tenant_by_id(&reading.state, &standing, &id)?;
    let (slot, version) = which(&standing, tenant, wanted, wire.version)?;

    let permit = standing.permit(&reading.state, Some(&id))?;
    let witness = Witness {
        action: CREDENTIAL_READ.to_owned(),
        resource: format!("tenant/{id}"),
        tenant: Some(id.clone()),
        detail: format!("v{version} slot {}", slot.letter()),
    };
    let answered = desk
        .propose(call, permit, Intent::new(Command::Witness(witness)))
        .await?;

    // Rights, place and version may have changed before the record was committed.
    let standing = policy::standing(&answered.state, &call.caller, call.action())?;
    let tenant = find::tenant_by_id(&answered.state, &standing, &id)?;
    which(&standing, tenant, Some(slot), version)?;
    open(desk, &answered.state, tenant, slot)
}

/// The login and version to give, if this caller may have them.
fn which(
    standing: &Standing<'_>,
    tenant: &Tenant,
    wanted: Option<Slot>,
    version: u64,
) -> Result<(Slot, u64), Status> {
    let active = tenant.credential.active;
    let slot = wanted.unwrap_or(active);
    if standing.principal().role != Role::Agent {
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
    let current = tenant.credential.version;
    if version != 0 && version != current {
        let message = format!("credential version {version} is asked for; {current} is in force");
        return Err(error::status(Reason::Fenced, message, &[]));
    }
    Ok((slot, current))
}

fn open(desk: &Desk, state: &State, tenant: &Tenant, slot: Slot) -> Result<GetCredentialResponse, Status> {
    let sealed = tenant.credential.sealed(slot);
    // The place names tenant and slot, so that a swapped envelope does not open.
    let place = mint::credential_place(&tenant.id, slot, tenant.credential.version);
    let opened = desk
        .rooms
        .authority
        .open(sealed, &place)
        .map_err(|error| cannot_open(&error))?;
    let password = std::str::from_utf8(&opened).map_err(|error| cannot_open(&error))?;
    Ok(GetCredentialResponse {
        role: format!("{}_{}", tenant.id, slot.letter()),
        password: password.to_owned(),
        version: tenant.credential.version,
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
