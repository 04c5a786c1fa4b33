//! Which versions of each tenant's credential this process holds, and when it may say that it holds none before another.
//!
//! A version is held from before it is asked for until the last connection of its pools is closed. Pure: what is to be
//! said goes into a channel.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use reeve_domain::TenantId;
use tokio::sync::mpsc::UnboundedSender;

/// Nothing before `version` is held any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(crate) tenant: TenantId,
    pub(crate) version: u64,
}

/// All tenants that this process has held a credential of.
#[derive(Clone)]
pub(super) struct Held {
    tenants: Arc<Mutex<HashMap<TenantId, Versions>>>,
    said: UnboundedSender<Acknowledgement>,
}

#[derive(Default)]
struct Versions {
    leases: BTreeMap<u64, usize>,
    /// The highest that was heard of.
    newest: u64,
    /// The highest that was acknowledged, or begun with.
    said: u64,
}

/// A version in use; it ends when dropped.
pub(super) struct Lease {
    held: Held,
    tenant: TenantId,
    version: u64,
}

impl Held {
    pub(super) fn new(said: UnboundedSender<Acknowledgement>) -> Held {
        Held {
            tenants: Arc::default(),
            said,
        }
    }

    /// Begins to hold a version; none when a later one has been heard of.
    pub(super) fn lease(&self, tenant: &TenantId, version: u64) -> Option<Lease> {
        let mut tenants = self.tenants.lock();
        let versions = tenants.entry(tenant.clone()).or_insert_with(|| Versions {
            said: version,
            ..Versions::default()
        });
        if version < versions.newest {
            return None;
        }
        versions.newest = version;
        *versions.leases.entry(version).or_default() += 1;
        self.say(tenant, versions);
        Some(Lease {
            held: self.clone(),
            tenant: tenant.clone(),
            version,
        })
    }

    /// Hears which version is in force.
    pub(super) fn hear(&self, tenant: &TenantId, version: u64) {
        if let Some(versions) = self.tenants.lock().get_mut(tenant) {
            versions.newest = versions.newest.max(version);
            self.say(tenant, versions);
        }
    }

    /// Forgets everything; what was held, by the version behind it.
    pub(super) fn take_all(&self) -> Vec<Acknowledgement> {
        let all = self.tenants.lock().drain().collect::<Vec<_>>();
        let behind = |(tenant, versions): (TenantId, Versions)| Acknowledgement {
            tenant,
            version: versions.newest + 1,
        };
        all.into_iter().map(behind).collect()
    }

    fn say(&self, tenant: &TenantId, versions: &mut Versions) {
        let oldest = versions.leases.keys().next();
        let is_free = oldest.is_none_or(|oldest| *oldest >= versions.newest);
        if is_free && versions.said < versions.newest {
            versions.said = versions.newest;
            // Nobody listens where the fleet is going.
            let _ = self.said.send(Acknowledgement {
                tenant: tenant.clone(),
                version: versions.newest,
            });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut tenants = self.held.tenants.lock();
        let Some(versions) = tenants.get_mut(&self.tenant) else {
            return;
        };
        if let Some(count) = versions.leases.get_mut(&self.version) {
            *count -= 1;
            if *count == 0 {
                versions.leases.remove(&self.version);
            }
        }
        self.held.say(&self.tenant, versions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    fn held() -> (Held, UnboundedReceiver<Acknowledgement>, TenantId) {
        let (said, heard) = unbounded_channel();
        (Held::new(said), heard, TenantId::from_random(1))
    }

    #[test]
    fn a_version_is_acknowledged_once_when_the_last_use_of_every_earlier_one_has_ended() {
        let (held, mut heard, tenant) = held();
        let (one, two) = (held.lease(&tenant, 1).unwrap(), held.lease(&tenant, 1).unwrap());
        held.hear(&tenant, 2);
        drop(one);
        let newer = held.lease(&tenant, 2).unwrap();
        assert!(heard.try_recv().is_err(), "a connection of the first is open");
        assert!(held.lease(&tenant, 1).is_none(), "the first is begun again");
        drop(two);
        assert_eq!(
            heard.try_recv().unwrap(),
            Acknowledgement {
                tenant: tenant.clone(),
                version: 2
            }
        );
        drop(newer);
        held.hear(&tenant, 2);
        assert!(heard.try_recv().is_err(), "it is said twice");
    }

    #[test]
    fn who_uses_nothing_acknowledges_at_once_and_a_stranger_not_at_all() {
        let (held, mut heard, tenant) = held();
        held.hear(&tenant, 7);
        assert!(heard.try_recv().is_err(), "nothing was ever held");
        drop(held.lease(&tenant, 7));
        held.hear(&tenant, 8);
        assert_eq!(heard.try_recv().unwrap().version, 8);
        assert_eq!(held.take_all(), [Acknowledgement { tenant, version: 9 }]);
    }
}
