//! What keeps the memory small: groups held once, and tenants that hold their own key.

use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::Arc,
};

use reeve_domain::TenantId;

use crate::{Resolution, resolution::Home};

/// Groups as they are described by answers that are remembered.
#[derive(Default)]
pub(super) struct Homes {
    held: HashSet<Arc<Home>>,
    /// As many as there were when those without tenants were last let go.
    used: usize,
}

impl Homes {
    /// The one that is held already, if it is the same.
    pub(super) fn share(&mut self, home: Arc<Home>) -> Arc<Home> {
        if let Some(held) = self.held.get(&home) {
            return held.clone();
        }
        if self.held.len() > 2 * self.used + 16 {
            self.held.retain(|home| Arc::strong_count(home) > 1);
            self.used = self.held.len();
        }
        self.held.insert(home.clone());
        home
    }
}

/// A resolution, found by its tenant.
#[derive(Clone)]
pub(super) struct ByTenant(pub(super) Arc<Resolution>);

impl Borrow<TenantId> for ByTenant {
    fn borrow(&self) -> &TenantId {
        &self.0.tenant
    }
}

impl Hash for ByTenant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.tenant.hash(state);
    }
}

impl PartialEq for ByTenant {
    fn eq(&self, other: &ByTenant) -> bool {
        self.0.tenant == other.0.tenant
    }
}

impl Eq for ByTenant {}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(group: usize) -> Arc<Home> {
        Arc::new(Home {
            region: "vn".into(),
            group: group.to_string(),
            write: None,
            read: Vec::new(),
            server_ca_pem: String::new(),
        })
    }

    #[test]
    fn a_group_is_held_once_and_only_while_somebody_lives_there() {
        let mut homes = Homes::default();
        let first = homes.share(home(1));
        assert!(Arc::ptr_eq(&first, &homes.share(home(1))));
        for former in 0..1_000 {
            homes.share(home(former));
        }
        assert!(homes.held.len() < 50, "{}", homes.held.len());
        assert!(Arc::ptr_eq(&first, &homes.share(home(1))));
    }
}
