//! What of the audit's rounds the registry has heard, and what it took: what it turned away, or was left out of a report,
//! nobody knows of.

use std::collections::{BTreeSet, VecDeque};

use reeve_domain::isolation::Found;

use super::Round;

/// Rounds that wait for the registry; the oldest go first.
const UNTOLD_MAX: usize = 32;

/// Rounds on their way to the registry, and what came of those before.
#[derive(Default)]
pub(super) struct Heard {
    /// Not answered yet, oldest first.
    untold: VecDeque<Round>,
    taken: BTreeSet<Found>,
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
                self.taken = round.found.into_iter().collect();
            }
        }
    }

    /// What the last round told that was taken; none while one waits for its answer.
    pub(super) fn taken(&self) -> Option<&BTreeSet<Found>> {
        self.untold.is_empty().then_some(&self.taken)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reeve_domain::TenantId;
    use reeve_domain::isolation::{Rule, Scope};
    use tokio::time::Instant;

    use super::super::found;
    use super::*;

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
    fn the_oldest_make_room() {
        let mut heard = Heard::default();
        for number in 1..=UNTOLD_MAX as u64 + 2 {
            heard.tell(round(number));
        }
        assert_eq!(heard.next().unwrap().number, 3);
        assert_eq!(heard.untold.len(), UNTOLD_MAX);
    }
}
