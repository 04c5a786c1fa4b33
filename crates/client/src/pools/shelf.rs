//! Which pools are kept open. Pure: it holds values and numbers, and says what must go.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{Key, Place};

/// Whoever was lent a pool has a session of it by then, or has none to wait for: until then a pool that looks idle is
/// not.
pub(super) const LENT: Duration = Duration::from_millis(20);

/// What makes room for others.
pub(super) trait Lent: Clone {
    /// Whether no session is in use.
    fn is_idle(&self) -> bool;
}

/// Open pools by place; of those that are idle, the one lent longest ago is the first to go.
pub(super) struct Shelf<P> {
    pools: HashMap<Place, Slot<P>>,
    pools_max: usize,
}

struct Slot<P> {
    key: Key,
    pool: P,
    lent_at: Instant,
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

impl<P: Lent> Shelf<P> {
    pub(super) fn new(pools_max: usize) -> Shelf<P> {
        Shelf {
            pools: HashMap::new(),
            pools_max: pools_max.max(1),
        }
    }

    pub(super) fn find(&mut self, key: &Key, now: Instant) -> Found<P> {
        match self.pools.get_mut(&key.place) {
            Some(slot) if slot.key == *key => {
                slot.lent_at = now;
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
    pub(super) fn put(&mut self, key: Key, pool: P, now: Instant) -> Vec<Retired<P>> {
        let slot = Slot {
            pool,
            lent_at: now,
            key: key.clone(),
        };
        let mut out: Vec<Retired<P>> = self
            .pools
            .insert(key.place, slot)
            .map(Retired::from)
            .into_iter()
            .collect();
        while self.pools.len() > self.pools_max {
            out.extend(self.take_idle(now).or_else(|| self.take_oldest()));
        }
        out
    }

    /// Takes off the pool that was lent longest ago of those that nobody needs now, to make room in the budget.
    pub(super) fn take_idle(&mut self, now: Instant) -> Option<Retired<P>> {
        let is_free =
            |slot: &Slot<P>| now.saturating_duration_since(slot.lent_at) >= LENT && slot.pool.is_idle();
        self.take_first(is_free)
    }

    /// Takes off the pool that was lent longest ago, whoever has just got it.
    pub(super) fn take_oldest(&mut self) -> Option<Retired<P>> {
        self.take_first(|_| true)
    }

    fn take_first(&mut self, may_go: impl Fn(&Slot<P>) -> bool) -> Option<Retired<P>> {
        let going = self.pools.iter().filter(|(_, slot)| may_go(slot));
        let place = going.min_by_key(|(_, slot)| slot.lent_at)?.0.clone();
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

    /// Idle, unless its name says otherwise.
    impl Lent for &'static str {
        fn is_idle(&self) -> bool {
            !self.starts_with("busy")
        }
    }

    fn pools(retired: impl IntoIterator<Item = Retired<&'static str>>) -> Vec<&'static str> {
        retired.into_iter().map(|one| one.pool).collect()
    }

    #[test]
    fn the_same_wish_finds_the_same_pool() {
        let (mut shelf, now) = (Shelf::new(4), Instant::now());
        assert_eq!(shelf.find(&key("a", 1, 1), now), Found::Missing);
        assert!(shelf.put(key("a", 1, 1), "pool", now).is_empty());
        assert_eq!(shelf.find(&key("a", 1, 1), now), Found::Open("pool"));
    }

    #[test]
    fn placement_counts_before_epoch() {
        let (mut shelf, now) = (Shelf::new(4), Instant::now());
        shelf.put(key("a", 2, 1), "new", now);
        assert_eq!(shelf.find(&key("a", 1, 9), now), Found::Superseded);
        assert_eq!(shelf.find(&key("a", 2, 2), now), Found::Missing);
        assert_eq!(pools(shelf.put(key("a", 2, 2), "newer", now)), ["new"]);
        assert_eq!(shelf.find(&key("a", 2, 1), now), Found::Superseded);
    }

    #[test]
    fn what_was_lent_longest_ago_goes_first() {
        let (mut shelf, now) = (Shelf::new(2), Instant::now());
        let at = |n| now + n * LENT;
        shelf.put(key("a", 1, 1), "a", at(0));
        shelf.put(key("b", 1, 1), "b", at(1));
        shelf.find(&key("a", 1, 1), at(2));
        assert_eq!(pools(shelf.put(key("c", 1, 1), "c", at(3))), ["b"]);
        assert_eq!(pools(shelf.take_oldest()), ["a"]);
    }

    #[test]
    fn what_is_in_use_or_has_just_been_lent_goes_last() {
        let (mut shelf, now) = (Shelf::new(3), Instant::now());
        let at = |n| now + n * LENT;
        shelf.put(key("a", 1, 1), "busy a", at(0));
        shelf.put(key("b", 1, 1), "b", at(1));
        shelf.put(key("c", 1, 1), "c", at(2));
        assert_eq!(
            shelf.take_idle(at(2) - Duration::from_nanos(1)),
            None,
            "b has just been lent"
        );
        let then = at(2) + Duration::from_nanos(1);
        assert_eq!(pools(shelf.put(key("d", 1, 1), "d", then)), ["b"]);
        assert_eq!(shelf.take_idle(then), None, "c and d have just been lent");
        assert_eq!(
            pools(shelf.put(key("e", 1, 1), "e", then)),
            ["busy a"],
            "when all are needed"
        );
        assert_eq!(pools(shelf.take_idle(at(3))), ["c"]);
    }

    #[test]
    fn a_change_of_place_closes_that_tenants_pools_alone() {
        let (mut shelf, now) = (Shelf::new(4), Instant::now());
        shelf.put(key("a", 1, 1), "a", now);
        shelf.put(key("b", 1, 1), "b", now);
        assert_eq!(pools(shelf.take_older("a", &(1, 2, 1))), ["a"]);
        assert!(shelf.take_older("b", &(1, 1, 1)).is_empty());
        assert_eq!(shelf.take_all(), ["b"]);
    }
}
