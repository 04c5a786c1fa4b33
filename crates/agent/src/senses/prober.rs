//! The prober: a few tenants each round, in turn, from outside and from inside.
//!
//! A refusal counts only between two successes. What could not be proved is no pass: three times in a row it is a finding.

use std::collections::{BTreeMap, BTreeSet};

use reeve_domain::TenantId;
use reeve_domain::isolation::{Found, Rule, Scope};

use super::around::Around;
use super::isolation::found;
use crate::host::Error;

/// Unproved so often in a row, it is told.
const UNPROVED_MAX: u32 = 3;
/// How a probe that came through says so.
const LEAK: &str = "LEAK";

/// Whose turn it is, and who could not be proved lately.
#[derive(Debug, Default)]
pub struct Prober {
    around: Around,
    unproved: BTreeMap<TenantId, u32>,
}

impl Prober {
    /// Who is probed now.
    pub fn next(&mut self, all: &BTreeSet<TenantId>, many: usize) -> Vec<TenantId> {
        self.unproved.retain(|tenant, _| all.contains(tenant));
        self.around.next(all, many)
    }

    /// What a probe came to: a verdict is part of the round's scope, and only with one is a leak closed.
    pub fn note(&mut self, tenant: &TenantId, probed: Result<(), Error>, scope: &mut Scope) -> Option<Found> {
        let error = match probed {
            Ok(()) => {
                self.unproved.remove(tenant);
                scope.probed.insert(tenant.clone());
                return None;
            }
            Err(error) => error,
        };
        if error.code() == LEAK {
            self.unproved.remove(tenant);
            scope.probed.insert(tenant.clone());
            return Some(found(Rule::Leak, Some(tenant.clone()), error.to_string(), ""));
        }
        let times = self.unproved.entry(tenant.clone()).or_default();
        *times += 1;
        let subject = format!("tenant {tenant}: its walls could not be proved");
        (*times >= UNPROVED_MAX)
            .then(|| found(Rule::Unproved, Some(tenant.clone()), subject, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_proved_is_told_the_third_time_and_closes_nothing() {
        let (mut prober, one) = (Prober::default(), TenantId::from_random(1));
        let dark = || Err(Error::retry("CONNECTION", "PostgreSQL does not answer"));
        let leak = || Err(Error::permanent("LEAK", "database postgres: the door is open"));
        let mut say = |probed: Result<(), Error>| {
            let mut scope = Scope::default();
            let code = prober
                .note(&one, probed, &mut scope)
                .map(|found| found.rule.code());
            (code, scope.probed.contains(&one))
        };
        assert_eq!(say(dark()), (None, false));
        assert_eq!(say(dark()), (None, false));
        assert_eq!(say(dark()), (Some("P2"), false));
        assert_eq!(say(leak()), (Some("P1"), true));
        assert_eq!(say(dark()), (None, false), "nobody has proved that it is closed");
        assert_eq!(say(Ok(())), (None, true));
        assert_eq!(say(dark()), (None, false), "it is counted anew");
    }
}
