//! Tenants' passwords: drawn and sealed before anything is proposed, each bound to its tenant, login and version.

use reeve_domain::TenantId;
use reeve_domain::credential::{Credential, Next, Slot};
use reeve_domain::secret::Sealed;

use super::Authority;
use crate::vault;

/// Where a login's password is sealed to, so that a swapped envelope does not open.
pub fn place(tenant: &TenantId, slot: Slot, version: u64) -> String {
    format!("credential/{tenant}/{}/{version}", slot.letter())
}

impl Authority {
    /// A new password for a login, sealed to its place.
    pub fn new_credential(
        &self,
        tenant: &TenantId,
        slot: Slot,
        version: u64,
    ) -> Result<Sealed, vault::Error> {
        self.seal(&place(tenant, slot, version), self.new_password()?.as_bytes())
    }

    /// What comes after a tenant's credential in force: on the other login.
    pub fn next_credential(&self, tenant: &TenantId, now: &Credential) -> Result<Next, vault::Error> {
        let (slot, version) = (now.active.other(), now.version + 1);
        Ok(Next {
            version,
            slot,
            sealed: self.new_credential(tenant, slot, version)?,
        })
    }
}
