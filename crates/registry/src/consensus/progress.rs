//! A number that only grows, and who waits for it: each is woken once, when it is reached, and not with every step.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Above so many waiters those who gave up are cleared away.
const GIVEN_UP_MAX: usize = 4_096;

/// How far something has come.
#[derive(Default)]
pub(super) struct Progress {
    reached: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    by_goal: BTreeMap<u64, Vec<oneshot::Sender<()>>>,
    count: usize,
    /// How many were left by the last clearing: that many more must come before it is worth another one.
    left: usize,
}

impl Progress {
    /// It has come so far; never back.
    pub(super) fn reach(&self, at: u64) {
        // Before the lock: who registers afterwards sees it, who did before is woken below.
        self.reached.fetch_max(at, Ordering::SeqCst);
        let mut waiting = self.waiting.lock();
        while let Some(first) = waiting.by_goal.first_entry()
            && *first.key() <= at
        {
            let there = first.remove();
            waiting.count -= there.len();
            for waiter in there {
                // Whoever waited may have given up.
                let _ = waiter.send(());
            }
        }
    }

    /// Returns when it has come so far. It may never: the caller has a deadline.
    pub(super) async fn wait(&self, goal: u64) {
        let Some(reached) = self.register(goal) else {
            return;
        };
        if reached.await.is_err() {
            // The node is going away, and the goal with it.
            std::future::pending().await
        }
    }

    fn register(&self, goal: u64) -> Option<oneshot::Receiver<()>> {
        if self.reached.load(Ordering::SeqCst) >= goal {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if self.reached.load(Ordering::SeqCst) >= goal {
            return None;
        }
        waiting.by_goal.entry(goal).or_default().push(sender);
        waiting.count += 1;
        if waiting.count > GIVEN_UP_MAX.max(2 * waiting.left) {
            waiting.clear_given_up();
        }
        Some(receiver)
    }
}

impl Waiting {
    fn clear_given_up(&mut self) {
        self.by_goal.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
        self.count = self.by_goal.values().map(Vec::len).sum();
        self.left = self.count;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn everyone_is_woken_when_the_goal_is_reached_and_not_before() {
        let progress = Progress::default();
        progress.reach(3);
        progress.wait(3).await;
        let (mut near, mut far) = (Box::pin(progress.wait(5)), Box::pin(progress.wait(9)));
        assert!((&mut near).now_or_never().is_none() && (&mut far).now_or_never().is_none());
        progress.reach(4);
        assert!((&mut near).now_or_never().is_none());
        progress.reach(7);
        near.await;
        assert!((&mut far).now_or_never().is_none());
        progress.reach(6);
        assert_eq!(progress.reached.load(Ordering::SeqCst), 7, "never back");
        progress.reach(9);
        far.await;
        assert_eq!(progress.waiting.lock().count, 0);
    }

    #[tokio::test]
    async fn nobody_sleeps_through_it() {
        let progress = Arc::new(Progress::default());
        let waiting: Vec<_> = (1..=2_000)
            .map(|goal| {
                let progress = progress.clone();
                tokio::spawn(async move { progress.wait(goal).await })
            })
            .collect();
        let reaching = std::thread::spawn(move || (1..=2_000).for_each(|at| progress.reach(at)));
        for waiter in waiting {
            waiter.await.unwrap();
        }
        reaching.join().unwrap();
    }

    #[tokio::test]
    async fn who_gave_up_is_forgotten() {
        let progress = Progress::default();
        for goal in 1..=3 * GIVEN_UP_MAX as u64 {
            assert!(progress.wait(goal).now_or_never().is_none());
        }
        assert!(progress.waiting.lock().count <= GIVEN_UP_MAX + 1);
    }

    #[tokio::test]
    async fn ten_thousand_who_go_on_waiting_are_not_looked_through_for_each_that_comes() {
        let progress = Progress::default();
        let mut waiting = Vec::new();
        let mut clearings = std::collections::BTreeSet::new();
        for goal in 1..=10_000 {
            waiting.push(Box::pin(progress.wait(goal)));
            assert!(waiting.last_mut().unwrap().now_or_never().is_none());
            clearings.insert(progress.waiting.lock().left);
        }
        assert_eq!(progress.waiting.lock().count, 10_000);
        assert!(clearings.len() <= 3, "{clearings:?}");
    }
}
