//! The passwords that tries come in with. They are kept in memory while the tenant is here, and given up at the first
//! refusal: asking for one is written into the tenant's audit log, and a try every few minutes must not fill it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use reeve_domain::TenantId;

use crate::identity::CredentialSource;
use crate::steps::{Login, Wanted};

/// Passwords of tenants that are here.
pub(super) struct Keys {
    source: Arc<dyn CredentialSource>,
    held: Mutex<BTreeMap<TenantId, Arc<Login>>>,
}

impl Keys {
    pub(super) fn new(source: Arc<dyn CredentialSource>) -> Keys {
        Keys {
            source,
            held: Mutex::default(),
        }
    }

    /// Forgets all others.
    pub(super) fn keep_only(&self, known: &BTreeSet<TenantId>) {
        self.held.lock().retain(|id, _| known.contains(id));
    }

    /// Forgets one.
    pub(super) fn forget(&self, tenant: &TenantId) {
        self.held.lock().remove(tenant);
    }

    /// Whether it is held: then it may have been changed since it was asked for.
    pub(super) fn holds(&self, tenant: &TenantId) -> bool {
        self.held.lock().contains_key(tenant)
    }

    /// The login in use; none when the registry does not give it now.
    pub(super) async fn login(&self, tenant: &TenantId) -> Option<Arc<Login>> {
        if let Some(held) = self.held.lock().get(tenant) {
            return Some(held.clone());
        }
        let login = Arc::new(self.source.fetch(tenant, Wanted::InForce).await.ok()?);
        self.held.lock().insert(tenant.clone(), login.clone());
        Some(login)
    }
}
