//! What a leader does about the disks of its group.

use std::collections::BTreeMap;

use super::Health;

/// What the leader does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Go,
    /// Another disk is better.
    HandOver(u64),
    /// No majority has room: the nodes that have none.
    Refuse(Vec<u64>),
}

/// Of the disks that can lead the one whose node has most of the log. A slow disk leads on while no other is better: so
/// does a full one, which takes nothing more.
pub(super) fn decide(
    me: (u64, Health),
    others: &BTreeMap<u64, Health>,
    voters: &[u64],
    matched: &BTreeMap<u64, u64>,
) -> Decision {
    let (me, own) = me;
    // Whoever has not been heard is not accused.
    let of = |id: u64| match id == me {
        true => own,
        false => others.get(&id).copied().unwrap_or_default(),
    };
    let full: Vec<u64> = voters.iter().copied().filter(|id| of(*id).full).collect();
    let majority = voters.len() / 2 + 1;
    if voters.len() - full.len() < majority {
        return Decision::Refuse(full);
    }
    if !own.full && !own.slow {
        return Decision::Go;
    }
    let fit = |id: &u64| *id != me && others.get(id).is_some_and(|health| *health == Health::default());
    let heir = voters
        .iter()
        .copied()
        .filter(fit)
        .filter_map(|id| matched.get(&id).map(|at| (*at, id)))
        .max();
    match heir {
        Some((_, heir)) => Decision::HandOver(heir),
        None if own.full => Decision::Refuse(full),
        None => Decision::Go,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Health = Health {
        full: false,
        slow: false,
    };
    const FULL: Health = Health { full: true, ..WELL };
    const SLOW: Health = Health { slow: true, ..WELL };

    fn judge(own: Health, others: &[(u64, Health)]) -> Decision {
        let matched = BTreeMap::from([(2, 90), (3, 100)]);
        decide((1, own), &others.iter().copied().collect(), &[1, 2, 3], &matched)
    }

    #[test]
    fn a_leader_whose_disk_is_full_or_slow_hands_over_to_the_fittest() {
        for own in [FULL, SLOW] {
            assert_eq!(judge(own, &[(2, WELL), (3, WELL)]), Decision::HandOver(3));
            assert_eq!(judge(own, &[(2, WELL), (3, SLOW)]), Decision::HandOver(2));
        }
        assert_eq!(judge(WELL, &[(2, WELL), (3, WELL)]), Decision::Go);
    }

    #[test]
    fn nothing_is_handed_over_to_who_is_no_better() {
        assert_eq!(judge(SLOW, &[(2, SLOW), (3, SLOW)]), Decision::Go);
        assert_eq!(judge(SLOW, &[]), Decision::Go, "nobody was heard");
        assert_eq!(judge(FULL, &[(2, SLOW), (3, SLOW)]), Decision::Refuse(vec![1]));
    }

    #[test]
    fn writes_end_when_no_majority_has_room_and_go_on_while_one_has() {
        assert_eq!(judge(WELL, &[(2, WELL), (3, FULL)]), Decision::Go);
        assert_eq!(judge(WELL, &[(2, FULL), (3, FULL)]), Decision::Refuse(vec![2, 3]));
        assert_eq!(judge(FULL, &[(2, FULL), (3, WELL)]), Decision::Refuse(vec![1, 2]));
        let alone = decide((1, FULL), &BTreeMap::new(), &[1], &BTreeMap::new());
        assert_eq!(alone, Decision::Refuse(vec![1]));
    }
}
