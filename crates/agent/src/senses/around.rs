//! Turns: a few at a time, around and around, whoever comes and goes.

use std::collections::BTreeSet;

use reeve_domain::TenantId;

/// Whose turn was last.
#[derive(Debug, Default)]
pub struct Around(Option<TenantId>);

impl Around {
    /// Whose turn it is now: those behind the last one, and then from the beginning.
    pub fn next(&mut self, all: &BTreeSet<TenantId>, many: usize) -> Vec<TenantId> {
        let after = self.0.take();
        let is_behind = |id: &&TenantId| after.as_ref().is_none_or(|last| *id > last);
        let (behind, before): (Vec<_>, Vec<_>) = all.iter().partition(is_behind);
        let chosen: Vec<TenantId> = behind.into_iter().chain(before).take(many).cloned().collect();
        self.0 = chosen.last().cloned();
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(serial: u64) -> TenantId {
        TenantId::from_random(serial)
    }

    fn ids(serials: &[u64]) -> BTreeSet<TenantId> {
        serials.iter().copied().map(id).collect()
    }

    #[test]
    fn everybody_has_a_turn_whoever_comes_and_goes() {
        let mut around = Around::default();
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.extend(around.next(&ids(&[1, 2, 3, 4, 5]), 2));
        }
        let expected: Vec<TenantId> = [1, 2, 3, 4, 5, 1, 2, 3, 4, 5].map(id).into();
        assert_eq!(seen, expected);
        assert_eq!(around.next(&ids(&[2, 9]), 1), [id(9)]);
        assert_eq!(around.next(&ids(&[2]), 5), [id(2)]);
        assert!(around.next(&ids(&[]), 5).is_empty());
    }
}
