//! The passwords that tries come in with. They are kept in memory while the tenant is here and the registry has no newer
//! version. One that is refused is kept, too: asking for another is written into the tenant's audit log, and tries must
//! not fill it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reeve_domain::TenantId;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::identity::CredentialSource;
use crate::senses::isolation::Tenants;
use crate::steps::{Login, Wanted};

/// Before another password is asked for the first time.
const PAUSE: Duration = Duration::from_secs(60);

/// Passwords of tenants that are here.
pub(super) struct Keys {
    source: Arc<dyn CredentialSource>,
    tenants: Arc<dyn Tenants>,
    held: Mutex<BTreeMap<TenantId, Key>>,
}

struct Key {
    login: Arc<Login>,
    /// The credential's, as far as was heard before it was asked for.
    version: Option<u64>,
    /// When another may be asked for, should it be refused.
    asked: Backoff,
}

impl Keys {
    pub(super) fn new(source: Arc<dyn CredentialSource>, tenants: Arc<dyn Tenants>) -> Keys {
        Keys {
            source,
            tenants,
            held: Mutex::default(),
        }
    }

    /// Forgets all others, and those of whom the registry has another version now.
    pub(super) fn keep_only(&self, known: &BTreeSet<TenantId>) {
        let is_in_force = |id: &TenantId, key: &Key| self.tenants.credential_version(id) == key.version;
        self.held
            .lock()
            .retain(|id, key| known.contains(id) && is_in_force(id, key));
    }

    /// The login in use; none when the registry does not give it now.
    pub(super) async fn login(&self, tenant: &TenantId, now: Instant) -> Option<Arc<Login>> {
        if let Some(key) = self.held.lock().get(tenant) {
            return Some(key.login.clone());
        }
        self.ask(tenant, now).await
    }

    /// Whether another one may be asked for, now that this one was refused.
    pub(super) fn may_ask(&self, tenant: &TenantId, now: Instant) -> bool {
        let held = self.held.lock();
        held.get(tenant).is_none_or(|key| key.asked.is_due(now))
    }

    /// It let in: should it be refused one day, another is asked for at once.
    pub(super) fn fits(&self, tenant: &TenantId) {
        if let Some(key) = self.held.lock().get_mut(tenant) {
            key.asked = Backoff::of(PAUSE);
        }
    }

    /// Asks the registry, whatever is held.
    pub(super) async fn ask(&self, tenant: &TenantId, now: Instant) -> Option<Arc<Login>> {
        // It may change while it is given: then it is asked for once more.
        let version = self.tenants.credential_version(tenant);
        let login = Arc::new(self.source.fetch(tenant, Wanted::InForce).await.ok()?);
        let mut held = self.held.lock();
        let mut asked = held
            .remove(tenant)
            .map_or_else(|| Backoff::of(PAUSE), |key| key.asked);
        asked.note(now);
        let key = Key {
            login: login.clone(),
            version,
            asked,
        };
        held.insert(tenant.clone(), key);
        Some(login)
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::steps::Slot;

    /// A registry that counts how often it is asked.
    #[derive(Default)]
    struct Registry {
        asked: Mutex<u32>,
        version: Mutex<u64>,
    }

    #[tonic::async_trait]
    impl CredentialSource for Registry {
        async fn is_gone(&self, _: &TenantId) -> Result<bool, String> {
            Ok(false)
        }

        async fn fetch(&self, _: &TenantId, _: Wanted) -> Result<Login, String> {
            *self.asked.lock() += 1;
            Ok(Login {
                slot: Slot::A,
                password: Zeroizing::new(String::new()),
            })
        }
    }

    impl Tenants for Registry {
        fn known(&self) -> BTreeSet<TenantId> {
            BTreeSet::new()
        }

        fn credential_version(&self, _: &TenantId) -> Option<u64> {
            Some(*self.version.lock())
        }

        fn touched_since(&self, _: Instant) -> BTreeSet<TenantId> {
            BTreeSet::new()
        }
    }

    #[tokio::test]
    async fn a_password_that_stays_refused_is_asked_for_seldom() {
        let (registry, id) = (Arc::new(Registry::default()), TenantId::from_random(1));
        let keys = Keys::new(registry.clone(), registry.clone());
        let all = BTreeSet::from([id.clone()]);
        let began = Instant::now();
        // A try every ten seconds, and what it does when it is turned away.
        let refused = async |from: u64, to: u64| {
            for at in (from..to).step_by(10).map(|s| began + Duration::from_secs(s)) {
                keys.keep_only(&all);
                keys.login(&id, at).await.unwrap();
                if keys.may_ask(&id, at) {
                    keys.ask(&id, at).await.unwrap();
                }
            }
            *registry.asked.lock()
        };
        assert_eq!(
            refused(0, 60).await,
            1,
            "what was given just now is what there is"
        );
        assert_eq!(
            refused(60, 86_400).await,
            6 + 23,
            "then after 1, 2, 4 … minutes, and each hour"
        );
        // One that let in is asked for anew as soon as it does not.
        keys.fits(&id);
        assert_eq!(refused(86_400, 86_460).await, 30);
        // So is one that the registry has changed.
        *registry.version.lock() += 1;
        assert_eq!(refused(86_460, 86_520).await, 31);
        assert_eq!(refused(86_520, 86_530).await, 32, "the pauses are short again");
    }
}
