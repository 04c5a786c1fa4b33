//! Seats: so many of a kind at once in all, and so many for each holder.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// A bound on how much of a kind there may be at once, by the name of its setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    pub setting: &'static str,
    pub most: usize,
}

/// All seats are taken; what stands against it.
pub type Full = Bound;

/// The seats of one kind. Cheap to clone.
pub struct Seats<K: Hash + Eq>(Arc<Shared<K>>);

struct Shared<K> {
    all: Bound,
    each: Bound,
    taken: Mutex<Taken<K>>,
}

struct Taken<K> {
    all: usize,
    each: HashMap<K, usize>,
}

impl<K: Hash + Eq> Clone for Seats<K> {
    fn clone(&self) -> Seats<K> {
        Seats(self.0.clone())
    }
}

impl<K: Hash + Eq + Clone> Seats<K> {
    pub fn new(all: Bound, each: Bound) -> Seats<K> {
        let taken = Taken {
            all: 0,
            each: HashMap::new(),
        };
        Seats(Arc::new(Shared {
            all,
            each,
            taken: Mutex::new(taken),
        }))
    }

    /// Takes a seat for a holder; it is free again when it is dropped.
    pub fn take(&self, holder: K) -> Result<Seat<K>, Full> {
        let mut taken = self.0.taken.lock();
        let own = taken.each.get(&holder).copied().unwrap_or_default();
        if own >= self.0.each.most {
            return Err(self.0.each);
        }
        if taken.all >= self.0.all.most {
            return Err(self.0.all);
        }
        taken.all += 1;
        taken.each.insert(holder.clone(), own + 1);
        Ok(Seat {
            seats: self.clone(),
            holder,
        })
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.0.taken.lock().all
    }
}

/// One seat, until it is dropped.
pub struct Seat<K: Hash + Eq + Clone> {
    seats: Seats<K>,
    holder: K,
}

impl<K: Hash + Eq + Clone> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut taken = self.seats.0.taken.lock();
        taken.all -= 1;
        if let Some(own) = taken.each.get_mut(&self.holder) {
            *own -= 1;
            if *own == 0 {
                taken.each.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_in_all_and_for_each_and_come_back() {
        let bound = |setting, most| Bound { setting, most };
        let seats = Seats::new(bound("all", 3), bound("each", 2));
        let first = seats.take("a").unwrap();
        let _second = seats.take("a").unwrap();
        assert_eq!(seats.take("a").err().map(|full| full.setting), Some("each"));
        let _third = seats.take("b").unwrap();
        assert_eq!(seats.take("c").err().map(|full| full.setting), Some("all"));
        drop(first);
        assert_eq!(seats.taken(), 2);
        assert!(seats.take("a").is_ok());
        assert_eq!(seats.0.taken.lock().each.len(), 2, "who holds none is forgotten");
    }
}
