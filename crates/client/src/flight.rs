//! One at a time per key: the first comer works, the others wait and then look again.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// Turns by key. A key costs memory only while somebody is at it.
pub(crate) struct Flights<K: Eq + Hash> {
    turns: Mutex<HashMap<K, Arc<Turn<()>>>>,
}

/// The right to work on one key; ends when dropped.
pub(crate) struct Flight<'a, K: Eq + Hash> {
    flights: &'a Flights<K>,
    key: K,
    turn: Option<OwnedMutexGuard<()>>,
}

impl<K: Eq + Hash> Default for Flights<K> {
    fn default() -> Flights<K> {
        Flights {
            turns: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash + Clone> Flights<K> {
    /// Waits for the key's turn.
    pub(crate) async fn enter(&self, key: K) -> Flight<'_, K> {
        let turn = self.turns.lock().entry(key.clone()).or_default().clone();
        let mut flight = Flight {
            flights: self,
            key,
            turn: None,
        };
        flight.turn = Some(turn.lock_owned().await);
        flight
    }
}

impl<K: Eq + Hash> Drop for Flight<'_, K> {
    fn drop(&mut self) {
        let mut turns = self.flights.turns.lock();
        self.turn.take();
        // Ours was the last hand on it when only the map still holds it.
        if turns
            .get(&self.key)
            .is_some_and(|turn| Arc::strong_count(turn) == 1)
        {
            turns.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn one_works_while_the_others_wait_and_nothing_is_left_behind() {
        let flights = Arc::new(Flights::<u8>::default());
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (flights, inside, most) = (flights.clone(), inside.clone(), most.clone());
                tokio::spawn(async move {
                    let _turn = flights.enter(1).await;
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert!(flights.turns.lock().is_empty());
    }
}
