//! Whose turn it is: half of a round is for who failed lately, the rest goes around and around.

use std::collections::{BTreeMap, BTreeSet};

use reeve_domain::TenantId;

use super::{FAILURES_MIN, Fares};
use crate::senses::around::Around;

/// Whose turn it is.
#[derive(Debug, Default)]
pub struct Turn {
    tries: Around,
    pub(super) inside: Around,
}

impl Turn {
    /// Who is tried now, so many of those with a door. However many fail, the others have their turn, too.
    pub(super) fn tries(
        &mut self,
        board: &BTreeMap<TenantId, Fares>,
        with_door: &BTreeSet<TenantId>,
        many: usize,
    ) -> BTreeSet<TenantId> {
        let mut chosen = again(board, with_door, many.div_ceil(2));
        let others = with_door - &chosen;
        let left = many.saturating_sub(chosen.len()).max(1);
        chosen.extend(self.tries.next(&others, left));
        chosen
    }
}

/// Who failed and is tried again: first those of whom it is not sure yet, for nothing is said of them until it is;
/// among equals whoever waits longest.
fn again(
    board: &BTreeMap<TenantId, Fares>,
    with_door: &BTreeSet<TenantId>,
    many: usize,
) -> BTreeSet<TenantId> {
    let failed = board.iter().filter(|(_, fares)| fares.failures > 0);
    let mut failed: Vec<_> = failed.filter(|(id, _)| with_door.contains(*id)).collect();
    failed.sort_by_key(|(_, fares)| (fares.failures >= FAILURES_MIN, fares.begun));
    failed.into_iter().take(many).map(|(id, _)| id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use reeve_domain::health::Cause;
    use tokio::time::Instant;

    use super::*;

    const TRIES: usize = 10;

    /// All of an instance's tenants, in rounds that some of them fail in.
    struct Ward {
        board: BTreeMap<TenantId, Fares>,
        all: BTreeSet<TenantId>,
        turn: Turn,
        now: Instant,
    }

    impl Ward {
        fn of(many: u64) -> Ward {
            let all: BTreeSet<TenantId> = (0..many).map(TenantId::from_random).collect();
            Ward {
                board: all.iter().map(|id| (id.clone(), Fares::default())).collect(),
                all,
                turn: Turn::default(),
                now: Instant::now(),
            }
        }

        /// One round; whoever `proves` says so of has a verdict, and it is no.
        fn round(&mut self, proves: impl Fn(&TenantId) -> bool) -> BTreeSet<TenantId> {
            let chosen = self.turn.tries(&self.board, &self.all, TRIES);
            self.now += std::time::Duration::from_secs(10);
            for id in &chosen {
                let fares = self.board.get_mut(id).unwrap();
                fares.begun = Some(self.now);
                if proves(id) {
                    fares.note(Err((Cause::Unreachable, "57P03".to_owned())));
                }
            }
            chosen
        }

        fn unsure(&self) -> BTreeSet<TenantId> {
            let once = self.board.iter().filter(|(_, fares)| fares.failures == 1);
            once.map(|(id, _)| id.clone()).collect()
        }
    }

    #[test]
    fn after_a_mass_outage_nobody_waits_long_for_the_second_try() {
        let mut ward = Ward::of(100);
        let mut rounds = 0;
        while ward.board.values().any(|fares| fares.verdict.is_none()) {
            let before = ward.unsure();
            let mut tried = ward.round(|_| true);
            tried.extend(ward.round(|_| true));
            assert!(before.is_subset(&tried), "its second try is within two rounds");
            rounds += 2;
            assert!(rounds <= 22, "a round brings five new ones and five second tries");
        }
        // From then on all of them are tried, and not always the same.
        let mut tried = BTreeSet::new();
        for _ in 0..20 {
            tried.extend(ward.round(|_| true));
        }
        assert_eq!(tried, ward.all);
    }

    #[test]
    fn whoever_cannot_be_judged_keeps_no_other_from_its_second_try() {
        let mut ward = Ward::of(40);
        // Of half of them a first failure is known, and from then on nothing more: steps are at work on them.
        let (dark, others): (BTreeSet<_>, BTreeSet<_>) = {
            let mut all = ward.all.iter().cloned();
            (all.by_ref().take(20).collect(), all.collect())
        };
        for id in &ward.all {
            let fares = ward.board.get_mut(id).unwrap();
            fares.note(Err((Cause::Unreachable, "57P03".to_owned())));
        }
        for _ in 0..4 {
            assert_eq!(ward.round(|id| others.contains(id)).len(), TRIES);
        }
        assert_eq!(ward.unsure(), dark, "all others are sure");
    }
}
