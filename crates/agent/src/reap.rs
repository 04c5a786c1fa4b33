//! The orphan reaper: what an offboarded tenant left here, or what came back with an old disk, is told of as a finding,
//! and taken away when it has been told of for a while.
//!
//! ```text
//! F5, named as a tenant's ─► the registry signed that it is gone? ─► told, acknowledged, and old enough? ─► away, proved
//!                                     └ no: only told; a person decides               └ in vain: later, and later again
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reeve_domain::TenantId;
use reeve_domain::isolation::{Found, Rule};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::senses::isolation::Allowed;

/// Who left something, since when all of it is told, and what was tried in vain.
#[derive(Debug)]
pub struct Reaper {
    pause: Duration,
    after: Option<Duration>,
    allowed: Allowed,
    told: BTreeMap<TenantId, Instant>,
    vain: BTreeMap<TenantId, Backoff>,
}

impl Reaper {
    /// Nothing is told yet. `pause`: before what stays is tried again for the first time. `after`: for how long it is told
    /// of first; none: nothing is ever taken away. Of whom anything is `allowed` nothing is.
    pub fn new(pause: Duration, after: Option<Duration>, allowed: Allowed) -> Reaper {
        Reaper {
            pause,
            after,
            allowed,
            told: BTreeMap::new(),
            vain: BTreeMap::new(),
        }
    }

    /// Whose leavings are to be taken away now. `gone`: of whom a signed record says so. `heard`: what the registry has
    /// taken of earlier rounds; none while it has not answered to all of them.
    pub fn due(
        &mut self,
        found: &[Found],
        gone: &BTreeSet<TenantId>,
        heard: Option<&BTreeSet<Found>>,
        now: Instant,
    ) -> Vec<TenantId> {
        let here = self.here(found, gone);
        self.told.retain(|tenant, _| here.contains_key(tenant));
        self.vain.retain(|tenant, _| here.contains_key(tenant));
        let (Some(heard), Some(after)) = (heard, self.after) else {
            return Vec::new();
        };
        for (tenant, left) in here {
            match left.iter().all(|found| heard.contains(found)) {
                true => drop(self.told.entry(tenant.clone()).or_insert(now)),
                false => drop(self.told.remove(tenant)),
            }
        }
        let is_due = |tenant: &&TenantId| self.vain.get(tenant).is_none_or(|vain| vain.is_due(now));
        let old = self.told.iter();
        let old = old.filter(|(_, since)| now.duration_since(**since) >= after);
        old.map(|(tenant, _)| tenant).filter(is_due).cloned().collect()
    }

    /// It was tried, and stays: it is tried again after a pause.
    pub fn stays(&mut self, tenant: &TenantId, now: Instant) {
        let vain = self.vain.entry(tenant.clone());
        vain.or_insert_with(|| Backoff::of(self.pause)).note(now);
    }

    /// What is here of those that are gone, but for whom something of is allowed.
    fn here<'a>(
        &self,
        found: &'a [Found],
        gone: &BTreeSet<TenantId>,
    ) -> BTreeMap<&'a TenantId, Vec<&'a Found>> {
        let mut here: BTreeMap<&TenantId, Vec<&Found>> = BTreeMap::new();
        for found in found.iter().filter(|found| found.rule == Rule::Unknown) {
            let tenant = found.tenant.as_ref();
            if let Some(tenant) = tenant.filter(|t| gone.contains(*t) && !self.allowed.names(t)) {
                here.entry(tenant).or_default().push(found);
            }
        }
        here
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn left(tenant: u64, rule: Rule, subject: &str) -> Found {
        Found {
            rule,
            tenant: Some(TenantId::from_random(tenant)),
            subject: format!("{subject} {tenant}"),
            detail: String::new(),
        }
    }

    fn ids(all: &[u64]) -> Vec<TenantId> {
        all.iter().map(|n| TenantId::from_random(*n)).collect()
    }

    fn allowed(database: &str, role: &str) -> Allowed {
        Allowed {
            roles: vec![role.to_owned()],
            databases: vec![database.to_owned()],
            extensions: Vec::new(),
        }
    }

    /// Rounds at given seconds that find the same, for a registry that has heard of something.
    struct Rounds {
        reaper: Reaper,
        began: Instant,
        gone: BTreeSet<TenantId>,
    }

    impl Rounds {
        fn of(after: Option<Duration>, allowed: Allowed) -> Rounds {
            Rounds {
                reaper: Reaper::new(Duration::from_secs(60), after, allowed),
                began: Instant::now(),
                gone: ids(&[1, 3]).into_iter().collect(),
            }
        }

        fn due(&mut self, found: &[Found], heard: Option<&[Found]>, at_s: u64) -> Vec<TenantId> {
            let heard: Option<BTreeSet<Found>> = heard.map(|heard| heard.iter().cloned().collect());
            let now = self.began + Duration::from_secs(at_s);
            self.reaper.due(found, &self.gone, heard.as_ref(), now)
        }
    }

    #[test]
    fn only_what_is_signed_as_gone_and_was_told_for_long_enough_is_taken_away() {
        // 1 is gone, 2 was never heard of, 3 is gone and something else is wrong with it.
        let found = [
            left(1, Rule::Unknown, "database"),
            left(2, Rule::Unknown, "database"),
            left(3, Rule::Grant, "database"),
        ];
        let all = Some(&found[..]);
        let mut rounds = Rounds::of(Some(HOUR), Allowed::default());
        assert_eq!(rounds.due(&found, None, 0), [], "nobody has heard of it");
        assert_eq!(rounds.due(&found, all, 4_000), [], "it is heard of now");
        assert_eq!(rounds.due(&found, all, 7_599), []);
        assert_eq!(rounds.due(&found, None, 7_600), [], "not all is told");
        assert_eq!(rounds.due(&found, all, 7_600), ids(&[1]));
        // What went away and comes back is told of anew.
        assert_eq!(rounds.due(&[], all, 7_601), []);
        assert_eq!(rounds.due(&found, all, 7_602), []);
        // The registry knows better meanwhile.
        rounds.gone.clear();
        assert_eq!(rounds.due(&found, all, 12_000), []);

        let mut never = Rounds::of(None, Allowed::default());
        assert_eq!(never.due(&found, all, 0), []);
        assert_eq!(never.due(&found, all, 100_000), [], "nobody wants it");
    }

    #[test]
    fn all_of_it_is_told_for_long_enough() {
        let found = [left(1, Rule::Unknown, "database"), left(1, Rule::Unknown, "role")];
        let mut rounds = Rounds::of(Some(HOUR), Allowed::default());
        // Of the report something was left out, or it was turned away.
        assert_eq!(rounds.due(&found, Some(&found[..1]), 0), []);
        assert_eq!(rounds.due(&found, Some(&[]), 10_000), []);
        assert_eq!(rounds.due(&found, Some(&found), 20_000), [], "it is told now");
        assert_eq!(rounds.due(&found, Some(&found[..1]), 22_000), [], "not any more");
        assert_eq!(rounds.due(&found, Some(&found), 24_000), []);
        assert_eq!(rounds.due(&found, Some(&found), 27_600), ids(&[1]));
    }

    #[test]
    fn of_whom_a_name_is_allowed_nothing_is_taken_away() {
        let found = [left(1, Rule::Unknown, "role"), left(3, Rule::Unknown, "role")];
        let [one, _] = [1, 3].map(TenantId::from_random);
        for allowed in [
            allowed(one.as_str(), "monitoring"),
            allowed("reports", one.as_str()),
            allowed("reports", &format!("{one}_ddl")),
        ] {
            let mut rounds = Rounds::of(Some(HOUR), allowed);
            assert_eq!(rounds.due(&found, Some(&found), 0), []);
            assert_eq!(rounds.due(&found, Some(&found), 3_600), ids(&[3]));
        }
    }

    #[test]
    fn what_stays_is_tried_again_after_pauses_and_keeps_nobody_elses_waiting() {
        let found = [left(1, Rule::Unknown, "role"), left(3, Rule::Unknown, "role")];
        let mut rounds = Rounds::of(Some(HOUR), Allowed::default());
        assert_eq!(rounds.due(&found, Some(&found), 0), []);
        let one = TenantId::from_random(1);
        for (at_s, pause_s) in [(3_600, 60), (3_660, 120), (3_780, 240)] {
            assert_eq!(rounds.due(&found, Some(&found), at_s), ids(&[1, 3]));
            rounds
                .reaper
                .stays(&one, rounds.began + Duration::from_secs(at_s));
            assert_eq!(rounds.due(&found, Some(&found), at_s + pause_s - 1), ids(&[3]));
        }
    }
}
