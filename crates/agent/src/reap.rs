//! The orphan reaper: what an offboarded tenant left here, or what came back with an old disk, is told of as a finding,
//! and taken away when it has been told of for a while.
//!
//! ```text
//! F5, named as a tenant's ─► the registry signed that it is gone? ─► told, acknowledged, and old enough? ─► away, proved
//!                                     └ no: only told; a person decides
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reeve_domain::TenantId;
use reeve_domain::isolation::{Found, Rule};
use tokio::time::Instant;

/// Who left something, and since when that is told.
#[derive(Debug, Default)]
pub struct Reaper {
    told: BTreeMap<TenantId, Instant>,
}

impl Reaper {
    /// Whose leavings are to be taken away now. `gone`: of whom a signed record says so. `after`: how long it is told of
    /// first; none: nothing is ever taken away. `acknowledged`: the registry has
    /// heard of all that earlier rounds found.
    pub fn due(
        &mut self,
        found: &[Found],
        gone: &BTreeSet<TenantId>,
        after: Option<Duration>,
        acknowledged: bool,
        now: Instant,
    ) -> Vec<TenantId> {
        let here: BTreeSet<&TenantId> = found
            .iter()
            .filter(|found| found.rule == Rule::Unknown)
            .filter_map(|found| found.tenant.as_ref())
            .filter(|tenant| gone.contains(*tenant))
            .collect();
        self.told.retain(|tenant, _| here.contains(tenant));
        if !acknowledged {
            return Vec::new();
        }
        for tenant in here {
            self.told.entry(tenant.clone()).or_insert(now);
        }
        let Some(after) = after else {
            return Vec::new();
        };
        let old = self
            .told
            .iter()
            .filter(|(_, since)| now.duration_since(**since) >= after);
        old.map(|(tenant, _)| tenant.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(tenant: u64, rule: Rule) -> Found {
        Found {
            rule,
            tenant: Some(TenantId::from_random(tenant)),
            subject: format!("database {tenant}"),
            detail: String::new(),
        }
    }

    #[test]
    fn only_what_is_signed_as_gone_and_was_told_for_long_enough_is_taken_away() {
        let hour = Some(Duration::from_secs(3_600));
        let ids = |all: &[u64]| all.iter().map(|n| TenantId::from_random(*n)).collect::<Vec<_>>();
        let gone: BTreeSet<TenantId> = ids(&[1, 3]).into_iter().collect();
        // 1 is gone, 2 was never heard of, 3 is gone and something else is wrong with it.
        let found = [
            left(1, Rule::Unknown),
            left(2, Rule::Unknown),
            left(3, Rule::Grant),
        ];
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut reaper = Reaper::default();
        assert_eq!(
            reaper.due(&found, &gone, hour, false, at(0)),
            [],
            "nobody has heard of it"
        );
        assert_eq!(
            reaper.due(&found, &gone, hour, true, at(4_000)),
            [],
            "it is heard of now"
        );
        assert_eq!(reaper.due(&found, &gone, hour, true, at(7_599)), []);
        assert_eq!(
            reaper.due(&found, &gone, hour, false, at(7_600)),
            [],
            "not all is told"
        );
        assert_eq!(reaper.due(&found, &gone, hour, true, at(7_600)), ids(&[1]));
        assert_eq!(
            reaper.due(&found, &gone, None, true, at(7_600)),
            [],
            "nobody wants it"
        );
        // What went away and comes back is told of anew.
        assert_eq!(reaper.due(&[], &gone, hour, true, at(7_601)), []);
        assert_eq!(reaper.due(&found, &gone, hour, true, at(7_602)), []);
        // The registry knows better meanwhile.
        assert_eq!(reaper.due(&found, &BTreeSet::new(), hour, true, at(12_000)), []);
    }
}
