//! Personal fields of audit records: sealed under the shard's own audit key before they are proposed, so that
//! destroying the key erases them and the chain stays whole.

use std::net::SocketAddr;

use reeve_domain::secret::Sealed;
use reeve_domain::{State, TenantId};
use zeroize::Zeroizing;

use super::{Authority, FLEET_AUDIT_KEY};
use crate::vault::{KeyProvider, RootKey};

impl Authority {
    /// Seals where a caller came from under the audit key of the tenant, or of the fleet. Nothing comes back
    /// when that key is gone or does not open: the record is then made without personal fields.
    pub fn personal(&self, state: &State, tenant: Option<&TenantId>, source: SocketAddr) -> Option<Sealed> {
        let known = tenant.and_then(|id| state.tenants.get(id));
        let (key, place) = match known {
            Some(tenant) => (&tenant.audit_key, tenant.audit_key.parts().aad.to_owned()),
            None => (state.cluster.audit_key.as_ref()?, FLEET_AUDIT_KEY.to_owned()),
        };
        let key = self.open(key, &place).ok()?;
        let key = Zeroizing::new(<[u8; 32]>::try_from(key.as_slice()).ok()?);
        let shard = known.map_or("fleet", |tenant| tenant.id.as_str());
        RootKey::new(&key)
            .seal(&format!("personal/{shard}"), source.ip().to_string().as_bytes())
            .ok()
    }
}
