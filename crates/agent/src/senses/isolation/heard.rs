//! What of the audit's rounds the registry has heard, and what it took: what it turned away, or was left out of a report,
//! nobody knows of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use reeve_domain::TenantId;
use reeve_domain::isolation::Found;
use tokio::time::Instant;

use super::Round;

/// Rounds that wait for the registry; the oldest go first.
const UNTOLD_MAX: usize = 32;

/// Rounds on their way to the registry, and what came of those before.
#[derive(Default)]
pub(super) struct Heard {
    /// Not answered yet, oldest first.
    untold: VecDeque<Round>,
    taken: BTreeSet<Found>,
    /// When a database was last looked into in a round that was taken, with nothing left out.
    looked: BTreeMap<TenantId, Instant>,
}

impl Heard {
    /// One more waits.
    pub(super) fn tell(&mut self, round: Round) {
        self.untold.push_back(round);
        while self.untold.len() > UNTOLD_MAX {
            self.untold.pop_front();
        }
    }

    /// The oldest that is not answered.
    pub(super) fn next(&self) -> Option<&Round> {
        self.untold.front()
    }

    /// The registry has answered to this round, and with it to all before; whether it took it.
    pub(super) fn answered(&mut self, number: u64, taken: bool) {
        while let Some(round) = self.untold.pop_front_if(|round| round.number <= number) {
            if taken && round.number == number {
                self.take(round);
            }
        }
    }

    fn take(&mut self, round: Round) {
        let scope = round.scope;
        if !scope.truncated {
            let inside = scope.inside.difference(&scope.half_done).cloned();
            self.looked.extend(inside.map(|tenant| (tenant, round.ended)));
        }
        self.taken = round.found.into_iter().collect();
    }

    /// Forgets when it looked at all others.
    pub(super) fn keep_only(&mut self, known: &BTreeSet<TenantId>) {
        self.looked.retain(|tenant, _| known.contains(tenant));
    }

    /// When each database was last looked into, as far as the registry knows all that was found there.
    pub(super) fn looked(&self) -> &BTreeMap<TenantId, Instant> {
        &self.looked
    }

    /// What the last round told that was taken; none while one waits for its answer.
    pub(super) fn taken(&self) -> Option<&BTreeSet<Found>> {
        self.untold.is_empty().then_some(&self.taken)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::found;
    use super::*;
    use reeve_domain::isolation::{Rule, Scope};

    fn round(number: u64) -> Round {
        Round {
            number,
            ended: Instant::now(),
            took: Duration::ZERO,
            found: vec![one(number)],
            scope: Scope::default(),
        }
    }

    fn one(of: u64) -> Found {
        found(Rule::Unknown, Some(TenantId::from_random(of)), "left", "")
    }

    #[test]
    fn what_the_registry_turned_away_it_does_not_know() {
        let mut heard = Heard::default();
        let is = |heard: &Heard, of: u64| assert_eq!(heard.taken(), Some(&BTreeSet::from([one(of)])));
        heard.tell(round(1));
        assert_eq!(heard.taken(), None, "it waits for its answer");
        heard.answered(1, true);
        is(&heard, 1);
        heard.tell(round(2));
        heard.answered(1, true);
        assert_eq!(heard.next().unwrap().number, 2, "an old answer once more");
        heard.answered(2, false);
        is(&heard, 1);
        heard.tell(round(3));
        heard.tell(round(4));
        heard.answered(3, true);
        assert_eq!(heard.taken(), None, "another waits");
        heard.answered(4, false);
        is(&heard, 3);
    }

    #[test]
    fn a_database_was_looked_into_when_the_registry_knows_what_was_found_there() {
        let [one, two, three] = [1, 2, 3].map(TenantId::from_random);
        let mut heard = Heard::default();
        let mut say = |number, inside: &[&TenantId], half_done: &[&TenantId], truncated, taken| {
            let of = |all: &[&TenantId]| all.iter().map(|id| (*id).clone()).collect();
            let scope = Scope {
                truncated,
                half_done: of(half_done),
                inside: of(inside),
                ..Scope::default()
            };
            let told = Round {
                scope,
                ..round(number)
            };
            let ended = told.ended;
            heard.tell(told);
            heard.answered(number, taken);
            (ended, heard.looked().clone())
        };
        let (first, looked) = say(1, &[&one], &[], false, true);
        assert_eq!(looked, [(one.clone(), first)].into(), "and into no other");
        let (_, same) = say(2, &[&one, &two], &[], false, false);
        assert_eq!(same, looked, "it was turned away");
        let (_, same) = say(3, &[&one, &two], &[], true, true);
        assert_eq!(same, looked, "something was left out");
        let (fourth, next) = say(4, &[&two, &three], &[&three], false, true);
        assert_eq!(
            next,
            [(one, first), (two.clone(), fourth)].into(),
            "the third was half done"
        );
        heard.keep_only(&[two.clone()].into());
        assert_eq!(heard.looked(), &BTreeMap::from([(two, fourth)]));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut heard = Heard::default();
        for number in 1..=UNTOLD_MAX as u64 + 2 {
            heard.tell(round(number));
        }
        assert_eq!(heard.next().unwrap().number, 3);
        assert_eq!(heard.untold.len(), UNTOLD_MAX);
    }
}
