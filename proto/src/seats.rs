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
        let mut seat = self.none(holder);
        seat.resize(1)?;
        Ok(seat)
    }

    /// A seat that takes no room yet; it grows with what it is for.
    pub fn none(&self, holder: K) -> Seat<K> {
        Seat {
            seats: self.clone(),
            holder,
            size: 0,
        }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.0.taken.lock().all
    }

    fn change(&self, holder: &K, from: usize, to: usize) -> Result<(), Full> {
        let mut taken = self.0.taken.lock();
        let own = taken.each.get(holder).copied().unwrap_or_default() - from + to;
        let all = taken.all - from + to;
        if to > from && own > self.0.each.most {
            return Err(self.0.each);
        }
        if to > from && all > self.0.all.most {
            return Err(self.0.all);
        }
        taken.all = all;
        if own == 0 {
            taken.each.remove(holder);
        } else if let Some(known) = taken.each.get_mut(holder) {
            *known = own;
        } else {
            taken.each.insert(holder.clone(), own);
        }
        Ok(())
    }
}

/// One seat, or as much room as it has grown to, until it is dropped.
pub struct Seat<K: Hash + Eq + Clone> {
    seats: Seats<K>,
    holder: K,
    size: usize,
}

impl<K: Hash + Eq + Clone> Seat<K> {
    /// How much room it takes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Takes as much room as this; when there is not so much, it stays as it was.
    pub fn resize(&mut self, size: usize) -> Result<(), Full> {
        if size != self.size {
            self.seats.change(&self.holder, self.size, size)?;
            self.size = size;
        }
        Ok(())
    }
}

impl<K: Hash + Eq + Clone> Drop for Seat<K> {
    fn drop(&mut self) {
        // To give back is never refused.
        let _ = self.resize(0);
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

    #[test]
    fn a_seat_grows_within_its_holders_share_and_gives_all_of_it_back() {
        let bound = |setting, most| Bound { setting, most };
        let seats = Seats::new(bound("all", 10), bound("each", 6));
        let (mut a, mut b) = (seats.none("a"), seats.none("b"));
        assert_eq!(seats.0.taken.lock().each.len(), 0, "nothing is held by nobody");
        a.resize(5).unwrap();
        assert_eq!(a.resize(7).err().map(|full| full.setting), Some("each"));
        assert_eq!((a.size(), seats.taken()), (5, 5), "it stays as it was");
        assert_eq!(b.resize(6).err().map(|full| full.setting), Some("all"));
        a.resize(2).unwrap();
        b.resize(6).unwrap();
        drop((a, b));
        assert_eq!((seats.taken(), seats.0.taken.lock().each.len()), (0, 0));
    }
}
