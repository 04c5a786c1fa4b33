//! Drawing what a new tenant or token needs: ids and secrets are made here, before anything is proposed.

use reeve_domain::credential::Slot;
use reeve_domain::secret::Sealed;
use reeve_domain::tenant::Create;
use reeve_domain::{OperationId, State, TenantId};
use reeve_proto::convert::Wanted;
use reeve_proto::identity::{JoinToken, token};
use tonic::Status;

use crate::authority::Authority;
use crate::edge::status;

/// The version of a new tenant's credential.
const VERSION_FIRST: u64 = 1;

/// An order with everything in it that must not be decided twice.
pub(super) fn tenant(authority: &Authority, wanted: Wanted) -> Result<Create, Status> {
    let id = TenantId::from_random(rand::random());
    let audit_key = authority.new_key_sealed(&format!("audit_key/{id}"));
    Ok(Create {
        operation: OperationId::from_random(rand::random()),
        slug: wanted.slug,
        display_name: wanted.display_name,
        regions: wanted.regions,
        class: wanted.class,
        claims: wanted.claims,
        channel: wanted.channel,
        target: wanted.target,
        allowlist: wanted.allowlist,
        connections_max: wanted.connections_max,
        settings: wanted.settings,
        labels: wanted.labels,
        turn: wanted.turn,
        credential_a: password(authority, &id, Slot::A)?,
        credential_b: password(authority, &id, Slot::B)?,
        audit_key: audit_key.map_err(|error| status::internal("sealing an audit key", &error))?,
        id,
    })
}

fn password(authority: &Authority, tenant: &TenantId, slot: Slot) -> Result<Sealed, Status> {
    let sealed = authority.new_credential(tenant, slot, VERSION_FIRST);
    sealed.map_err(|error| status::internal("sealing a credential", &error))
}

/// A token that pins this cluster's root.
pub(super) fn join_token(state: &State) -> Result<JoinToken, Status> {
    let pin = token::pin_of(&state.cluster.root_ca_pem);
    let token = pin.and_then(JoinToken::mint);
    token.map_err(|error| status::internal("minting a join token", &error))
}
