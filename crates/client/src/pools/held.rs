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
use tokio::sync::{Notify, mpsc::UnboundedSender};

use super::Rank;

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
    ended: Arc<Notify>,
}

/// Ordered by rank: after a registry came back from a copy, a later placement may have an earlier version.
#[derive(Default)]
struct Versions {
    leases: BTreeMap<Rank, usize>,
    /// The highest that was heard of.
    newest: Rank,
    /// The version that was acknowledged last, or begun with.
    said: u64,
}

/// A version in use; it ends when dropped.
pub(super) struct Lease {
    held: Held,
    tenant: TenantId,
    rank: Rank,
}

impl Held {
    pub(super) fn new(said: UnboundedSender<Acknowledgement>) -> Held {
        Held {
            tenants: Arc::default(),
            said,
            ended: Arc::default(),
        }
    }

    /// Begins to hold a version; none when a later one has been heard of.
    pub(super) fn lease(&self, tenant: &TenantId, rank: Rank) -> Option<Lease> {
        let mut tenants = self.tenants.lock();
        let versions = tenants.entry(tenant.clone()).or_insert_with(|| Versions {
            said: rank.2,
            ..Versions::default()
        });
        if rank < versions.newest {
            return None;
        }
        versions.newest = rank;
        *versions.leases.entry(rank).or_default() += 1;
        self.say(tenant, versions);
        Some(Lease {
            held: self.clone(),
            tenant: tenant.clone(),
            rank,
        })
    }

    /// Hears what is in force.
    pub(super) fn hear(&self, tenant: &TenantId, rank: Rank) {
        if let Some(versions) = self.tenants.lock().get_mut(tenant) {
            versions.newest = versions.newest.max(rank);
            self.say(tenant, versions);
        }
    }

    /// Waits until nothing is held, and forgets everything: what was held, by the version behind it.
    pub(super) async fn take_all(&self) -> Vec<Acknowledgement> {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // From here on it hears every end, also one before it is waited for.
            ended.as_mut().enable();
            if let Some(all) = self.take_if_idle() {
                return all;
            }
            ended.await;
        }
    }

    fn take_if_idle(&self) -> Option<Vec<Acknowledgement>> {
        let mut tenants = self.tenants.lock();
        if tenants.values().any(|versions| !versions.leases.is_empty()) {
            return None;
        }
        let behind = |(tenant, versions): (TenantId, Versions)| Acknowledgement {
            tenant,
            version: versions.newest.2 + 1,
        };
        Some(tenants.drain().map(behind).collect())
    }

    fn say(&self, tenant: &TenantId, versions: &mut Versions) {
        let oldest = versions.leases.keys().next();
        let is_free = oldest.is_none_or(|oldest| *oldest >= versions.newest);
        if is_free && versions.said != versions.newest.2 {
            versions.said = versions.newest.2;
            // Nobody listens where the fleet is going.
            let _ = self.said.send(Acknowledgement {
                tenant: tenant.clone(),
                version: versions.newest.2,
            });
        }
    }
}

impl Lease {
    /// Whether nothing later has been heard of.
    pub(super) fn is_newest(&self) -> bool {
        let tenants = self.held.tenants.lock();
        tenants
            .get(&self.tenant)
            .is_some_and(|versions| versions.newest == self.rank)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut tenants = self.held.tenants.lock();
        if let Some(versions) = tenants.get_mut(&self.tenant) {
            if let Some(count) = versions.leases.get_mut(&self.rank) {
                *count -= 1;
                if *count == 0 {
                    versions.leases.remove(&self.rank);
                }
            }
            self.held.say(&self.tenant, versions);
        }
        self.held.ended.notify_waiters();
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

    fn v(version: u64) -> Rank {
        (1, 1, version)
    }

    #[test]
    fn a_version_is_acknowledged_once_when_the_last_use_of_every_earlier_one_has_ended() {
        let (held, mut heard, tenant) = held();
        let (one, two) = (
            held.lease(&tenant, v(1)).unwrap(),
            held.lease(&tenant, v(1)).unwrap(),
        );
        held.hear(&tenant, v(2));
        assert!(!one.is_newest());
        drop(one);
        let newer = held.lease(&tenant, v(2)).unwrap();
        assert!(heard.try_recv().is_err(), "a connection of the first is open");
        assert!(held.lease(&tenant, v(1)).is_none(), "the first is begun again");
        drop(two);
        assert_eq!(heard.try_recv().unwrap().version, 2);
        assert!(newer.is_newest());
        drop(newer);
        held.hear(&tenant, v(2));
        assert!(heard.try_recv().is_err(), "it is said twice");
        held.hear(&tenant, (1, 2, 2));
        assert!(heard.try_recv().is_err(), "a failover is no other credential");
    }

    #[tokio::test]
    async fn who_uses_nothing_acknowledges_at_once_and_a_stranger_not_at_all() {
        let (held, mut heard, tenant) = held();
        held.hear(&tenant, v(7));
        assert!(heard.try_recv().is_err(), "nothing was ever held");
        drop(held.lease(&tenant, v(7)));
        held.hear(&tenant, v(8));
        assert_eq!(heard.try_recv().unwrap().version, 8);
        let in_use = held.lease(&tenant, v(8)).unwrap();
        assert!(held.take_if_idle().is_none(), "something is in use");
        let (all, ()) = tokio::join!(held.take_all(), async {
            tokio::task::yield_now().await;
            drop(in_use);
        });
        assert_eq!(all, [Acknowledgement { tenant, version: 9 }]);
    }

    #[test]
    fn a_registry_that_came_back_may_count_from_an_earlier_version() {
        let (held, mut heard, tenant) = held();
        drop(held.lease(&tenant, (1, 1, 5)));
        let restored = held.lease(&tenant, (1_000, 1_000, 4));
        assert!(restored.is_some(), "the process would have to be started again");
        assert_eq!(heard.try_recv().unwrap().version, 4);
    }
}
