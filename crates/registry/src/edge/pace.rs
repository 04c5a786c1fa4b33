//! How fast a caller may come: one bucket a principal, and one an address for those without a certificate.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use reeve_domain::policy::Action;
use reeve_proto::error::{self, Reason};
use tonic::Status;

use crate::config::{Rate, Rates};

/// Buckets kept of one class; idle ones make room, and when none is idle newcomers wait.
const KEYS_MAX: usize = 100_000;
/// Calls between two countings.
const COUNT_EVERY: u64 = 1_024;

/// All buckets of one node.
pub(super) struct Pace {
    read: Buckets<Arc<str>>,
    write: Buckets<Arc<str>>,
    secret: Buckets<Arc<str>>,
    join: Buckets<IpAddr>,
}

impl Pace {
    pub(super) fn new(rates: Rates) -> Pace {
        Pace {
            read: Buckets::new(rates.read),
            write: Buckets::new(rates.write),
            secret: Buckets::new(rates.secret),
            join: Buckets::new(rates.join),
        }
    }

    /// Takes a drop from the bucket of a known caller.
    pub(super) fn check_principal(&self, id: &Arc<str>, action: Action) -> Result<(), Status> {
        match action {
            Action::ReadCredential | Action::ChangeAccess => self.secret.check(id),
            Action::CreateTenant
            | Action::ChangeTenant
            | Action::DeleteTenant
            | Action::ChangeGroup
            | Action::CancelOperation
            | Action::ChangeCluster
            | Action::ServeAsAgent
            | Action::KnowSelf => self.write.check(id),
            _ => self.read.check(id),
        }
    }

    /// Takes a drop from the bucket of an address that shows a join token.
    pub(super) fn check_address(&self, address: IpAddr) -> Result<(), Status> {
        self.join.check(&address)
    }
}

struct Buckets<K: Hash + Eq + Clone> {
    buckets: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    calls: AtomicU64,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    fn new(rate: Rate) -> Buckets<K> {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Buckets {
            buckets: DefaultKeyedRateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            calls: AtomicU64::new(0),
        }
    }

    fn check(&self, key: &K) -> Result<(), Status> {
        match self.buckets.check_key(key) {
            Ok(()) => self.bound(),
            Err(early) => Err(slow_down(early.wait_time_from(self.clock.now()))),
        }
    }

    /// Forgets idle buckets when there are too many. Counting locks them all, so it is done now and then.
    fn bound(&self) -> Result<(), Status> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        if !calls.is_multiple_of(COUNT_EVERY) || self.buckets.len() <= KEYS_MAX {
            return Ok(());
        }
        self.buckets.retain_recent();
        if self.buckets.len() > KEYS_MAX {
            return Err(slow_down(Duration::from_secs(1)));
        }
        Ok(())
    }
}

fn slow_down(after: Duration) -> Status {
    error::retry(Reason::RateLimited, "too many calls; come back later", after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_does_not_use_up_anothers_calls() {
        let limits = Pace::new(Rates {
            secret: Rate::new(1, 2),
            ..Rates::default()
        });
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        let ask = |who| limits.check_principal(who, Action::ReadCredential);
        assert!(ask(&a).is_ok() && ask(&a).is_ok());
        let refused = ask(&a).unwrap_err();
        let info = error::info(&refused);
        assert_eq!(info.reason, Reason::RateLimited);
        assert!(
            info.retry_after
                .is_some_and(|after| after <= Duration::from_secs(1))
        );
        assert!(ask(&b).is_ok());
        assert!(limits.check_principal(&a, Action::ReadTenant).is_ok());
    }

    #[test]
    fn joiners_are_counted_by_address() {
        let limits = Pace::new(Rates {
            join: Rate::new(1, 1),
            ..Rates::default()
        });
        let address = IpAddr::from([10, 0, 0, 1]);
        assert!(limits.check_address(address).is_ok());
        assert!(limits.check_address(address).is_err());
        assert!(limits.check_address(IpAddr::from([10, 0, 0, 2])).is_ok());
    }
}
