//! Which pools are kept open. Pure: it holds values and numbers, and says what must go.

use std::collections::HashMap;

use super::{Key, Place};

/// Open pools by place, the least lately used first to go.
pub(super) struct Shelf<P> {
    pools: HashMap<Place, Slot<P>>,
    uses: u64,
    pools_max: usize,
}

struct Slot<P> {
    key: Key,
    pool: P,
    last_use: u64,
}

/// What was taken off the shelf, to be closed.
#[derive(Debug, PartialEq)]
pub(super) struct Retired<P> {
    pub(super) key: Key,
    pub(super) pool: P,
}

/// What the shelf makes of a wish.
#[derive(Debug, PartialEq)]
pub(super) enum Found<P> {
    Open(P),
    /// Nothing of that key; open it and `put` it.
    Missing,
    /// The wish is for a place that has been left.
    Superseded,
}

impl<P: Clone> Shelf<P> {
    pub(super) fn new(pools_max: usize) -> Shelf<P> {
        Shelf {
            pools: HashMap::new(),
            uses: 0,
            pools_max: pools_max.max(1),
        }
    }

    pub(super) fn find(&mut self, key: &Key) -> Found<P> {
        self.uses += 1;
        match self.pools.get_mut(&key.place) {
            Some(slot) if slot.key == *key => {
                slot.last_use = self.uses;
                Found::Open(slot.pool.clone())
            }
            Some(slot) if slot.key.rank > key.rank => Found::Superseded,
            _ => Found::Missing,
        }
    }

    /// The pool that one of this key would take the place of, at the same place with an earlier credential.
    pub(super) fn former(&self, key: &Key) -> Option<P> {
        let slot = self.pools.get(&key.place)?;
        super::precedes(&slot.key, key.rank).then(|| slot.pool.clone())
    }

    /// Shelves a pool. What comes back must be closed: its predecessor, and what no longer fits.
    pub(super) fn put(&mut self, key: Key, pool: P) -> Vec<Retired<P>> {
        self.uses += 1;
        let slot = Slot {
            pool,
            last_use: self.uses,
            key: key.clone(),
        };
        let mut out: Vec<Retired<P>> = self
            .pools
            .insert(key.place, slot)
            .map(Retired::from)
            .into_iter()
            .collect();
        while self.pools.len() > self.pools_max {
            out.extend(self.take_oldest());
        }
        out
    }

    /// Takes off the least lately used pool, to make room in the budget.
    pub(super) fn take_oldest(&mut self) -> Option<Retired<P>> {
        let place = self.pools.iter().min_by_key(|(_, slot)| slot.last_use)?.0.clone();
        self.pools.remove(&place).map(Retired::from)
    }

    /// Takes off every pool of a tenant that is older than this rank.
    pub(super) fn take_older(&mut self, tenant: &str, rank: &super::Rank) -> Vec<Retired<P>> {
        let old = |slot: &Slot<P>| slot.key.place.tenant == tenant && slot.key.rank < *rank;
        self.pools
            .extract_if(|_, slot| old(slot))
            .map(|(_, slot)| Retired::from(slot))
            .collect()
    }

    #[cfg(feature = "metrics")]
    pub(super) fn all(&self) -> impl Iterator<Item = &P> {
        self.pools.values().map(|slot| &slot.pool)
    }

    pub(super) fn take_all(&mut self) -> Vec<P> {
        self.pools.drain().map(|(_, slot)| slot.pool).collect()
    }
}

impl<P> From<Slot<P>> for Retired<P> {
    fn from(slot: Slot<P>) -> Retired<P> {
        Retired {
            key: slot.key,
            pool: slot.pool,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, Host};

    fn key(tenant: &str, placement: u64, epoch: u64) -> Key {
        Key {
            place: Place {
                tenant: tenant.into(),
                database: tenant.into(),
                access: Access::Write,
            },
            role: format!("{tenant}_a"),
            host: Host {
                host: "db".into(),
                port: 5432,
            },
            rank: (placement, epoch, 1),
        }
    }

    fn pools(retired: impl IntoIterator<Item = Retired<&'static str>>) -> Vec<&'static str> {
        retired.into_iter().map(|one| one.pool).collect()
    }

    #[test]
    fn the_same_wish_finds_the_same_pool() {
        let mut shelf = Shelf::new(4);
        assert_eq!(shelf.find(&key("a", 1, 1)), Found::Missing);
        assert!(shelf.put(key("a", 1, 1), "pool").is_empty());
        assert_eq!(shelf.find(&key("a", 1, 1)), Found::Open("pool"));
    }

    #[test]
    fn placement_counts_before_epoch() {
        let mut shelf = Shelf::new(4);
        shelf.put(key("a", 2, 1), "new");
        assert_eq!(shelf.find(&key("a", 1, 9)), Found::Superseded);
        assert_eq!(shelf.find(&key("a", 2, 2)), Found::Missing);
        assert_eq!(pools(shelf.put(key("a", 2, 2), "newer")), ["new"]);
        assert_eq!(shelf.find(&key("a", 2, 1)), Found::Superseded);
    }

    #[test]
    fn the_least_lately_used_goes_first() {
        let mut shelf = Shelf::new(2);
        shelf.put(key("a", 1, 1), "a");
        shelf.put(key("b", 1, 1), "b");
        shelf.find(&key("a", 1, 1));
        assert_eq!(pools(shelf.put(key("c", 1, 1), "c")), ["b"]);
        assert_eq!(pools(shelf.take_oldest()), ["a"]);
    }

    #[test]
    fn a_change_of_place_closes_that_tenants_pools_alone() {
        let mut shelf = Shelf::new(4);
        shelf.put(key("a", 1, 1), "a");
        shelf.put(key("b", 1, 1), "b");
        assert_eq!(pools(shelf.take_older("a", &(1, 2, 1))), ["a"]);
        assert!(shelf.take_older("b", &(1, 1, 1)).is_empty());
        assert_eq!(shelf.take_all(), ["b"]);
    }
}
