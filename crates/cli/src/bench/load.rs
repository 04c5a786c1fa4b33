//! Calls kept up for a while: closed, where each worker asks again once it was answered, or open, by the clock.
//!
//! In an open run a call that had to wait for a free worker is timed from when it should have begun, so that
//! a slow answer counts against every call it kept waiting.

use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::tally::Tally;

/// A call without an answer for so long has failed.
pub const CALL_PATIENCE: Duration = Duration::from_secs(10);
/// What such a call is counted under.
pub const NO_ANSWER: &str = "NO_ANSWER";
/// After a failure, so that a node that turns everybody away is not stormed.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);

/// How much is asked, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Calls under way at any time; in an open run at most.
    pub in_flight: usize,
    /// Time before the measured one.
    pub warm_up: Duration,
    pub measured: Duration,
    /// Calls a second by the clock; none: closed.
    pub rate: Option<NonZeroU32>,
    /// Calls at most, those of the warm-up too.
    pub calls_max: Option<u64>,
}

impl Load {
    /// When a call shall begin, counted from the start; none when it is one too many. `now` is when it could.
    fn begins(&self, number: u64, now: Duration) -> Option<Duration> {
        let begins = match self.rate {
            Some(rate) => Duration::from_secs_f64(number as f64 / f64::from(rate.get())),
            None => now,
        };
        let is_left = self.calls_max.is_none_or(|max| number < max);
        (is_left && begins < self.warm_up + self.measured).then_some(begins)
    }
}

/// Makes a caller for each worker, lets them call, and tells how it went. Calls are numbered from 0.
pub async fn drive<M, C, F>(load: &Load, mut caller: M) -> Tally
where
    M: FnMut(usize) -> C,
    C: FnMut(u64) -> F + Send + 'static,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let run = Arc::new(Run {
        load: *load,
        begun: Instant::now(),
        next: AtomicU64::new(0),
        tally: Mutex::new(Tally::default()),
    });
    let mut workers = JoinSet::new();
    for worker in 0..load.in_flight {
        workers.spawn(run.clone().work(caller(worker)));
    }
    // A worker that panicked has panicked in the caller's code: it does so here as well.
    workers.join_all().await;
    let mut tally = std::mem::take(&mut *run.tally.lock());
    tally.begin_at(load.warm_up);
    tally
}

/// What all workers share.
struct Run {
    load: Load,
    begun: Instant,
    next: AtomicU64,
    tally: Mutex<Tally>,
}

impl Run {
    async fn work<C, F>(self: Arc<Run>, mut call: C)
    where
        C: FnMut(u64) -> F,
        F: Future<Output = Result<(), String>>,
    {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(begins) = self.load.begins(number, self.begun.elapsed()) else {
                return;
            };
            if self.load.rate.is_some() {
                tokio::time::sleep_until(self.begun + begins).await;
            }
            let answered = tokio::time::timeout(CALL_PATIENCE, call(number)).await;
            let answered = answered.unwrap_or_else(|_| Err(NO_ANSWER.to_owned()));
            let ended = self.begun.elapsed();
            let failed = answered.is_err();
            if begins >= self.load.warm_up {
                self.tally.lock().note(ended, ended - begins, answered);
            }
            if failed {
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn load(rate: u32) -> Load {
        Load {
            in_flight: 1,
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(60),
            rate: NonZeroU32::new(rate),
            calls_max: None,
        }
    }

    #[test]
    fn an_open_run_keeps_to_the_clock_and_a_closed_one_to_the_answers() {
        let open = load(1_000);
        assert_eq!(
            open.begins(0, 5 * MS),
            Some(Duration::ZERO),
            "late, and counted so"
        );
        assert_eq!(open.begins(250, MS), Some(250 * MS));
        assert_eq!(open.begins(60_000, MS), None, "behind the end");
        let closed = load(0);
        assert_eq!(closed.begins(250, MS), Some(MS));
        assert_eq!(closed.begins(0, Duration::from_secs(60)), None);
        let few = Load {
            calls_max: Some(2),
            ..closed
        };
        assert_eq!((few.begins(1, MS), few.begins(2, MS)), (Some(MS), None));
    }

    #[tokio::test]
    async fn a_slow_answer_counts_against_those_it_kept_waiting() {
        let five = Load {
            calls_max: Some(5),
            ..load(1_000)
        };
        let slow = drive(&five, |_| {
            |_| async {
                tokio::time::sleep(20 * MS).await;
                Ok(())
            }
        });
        let tally = slow.await;
        assert_eq!(tally.count(), 5);
        // The fifth should have begun after 4 ms, and could only after four slow ones.
        assert!(tally.max_ms() >= 95.0, "{}", tally.max_ms());
    }

    #[tokio::test]
    async fn failures_are_counted_by_reason_and_the_warm_up_not_at_all() {
        let some = Load {
            in_flight: 4,
            calls_max: Some(40),
            ..load(0)
        };
        let odd = |number: u64| async move {
            match number % 2 {
                0 => Ok(()),
                _ => Err("NO_LEADER".to_owned()),
            }
        };
        let tally = drive(&some, |_| odd).await;
        assert_eq!((tally.count(), tally.errors()["NO_LEADER"]), (20, 20));
        let warm = Load {
            warm_up: Duration::from_secs(60),
            ..some
        };
        assert_eq!(drive(&warm, |_| odd).await.count(), 0);
    }
}
