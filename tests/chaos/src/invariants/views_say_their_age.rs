//! An answer from a node's own memory holds all that anybody had been told before the moment that it speaks of, and
//! says so when it is older than was asked for.

use anyhow::{Result, ensure};

use crate::linear::Answer;
use crate::linear::register::Said;
use crate::registers::{GLANCE_MAX, Glance, Seen};

pub fn judge(seen: &[Seen], glances: &[Glance]) -> Result<()> {
    let mut told: Vec<(u64, u64)> = seen.iter().filter_map(told).collect();
    told.sort_unstable();
    // The largest revision that anybody knew of by then.
    let mut largest = 0;
    for (_, revision) in &mut told {
        largest = largest.max(*revision);
        *revision = largest;
    }
    for glance in glances {
        let Some(age_ns) = glance.age_ns else {
            ensure!(
                glance.is_flagged,
                "an unknown age is no answer within bounds: {glance:?}"
            );
            continue;
        };
        // The node speaks of a moment after it was asked, less the age.
        let speaks_of = glance.asked_ns.saturating_sub(age_ns);
        let known = told.partition_point(|(at, _)| *at < speaks_of);
        let least = known.checked_sub(1).map_or(0, |last| told[last].1);
        ensure!(
            glance.revision >= least,
            "revision {least} had been told before the moment that this speaks of: {glance:?}"
        );
        let is_within = u128::from(age_ns) <= GLANCE_MAX.as_nanos();
        ensure!(
            is_within || glance.is_flagged,
            "it is older than asked for: {glance:?}"
        );
    }
    Ok(())
}

fn told(seen: &Seen) -> Option<(u64, u64)> {
    match &seen.answer {
        Answer::Known {
            said:
                Said::Done { revision }
                | Said::Value {
                    changed: revision, ..
                },
            at_ns,
        } => Some((*at_ns, *revision)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::register::Op;

    #[test]
    fn a_view_that_is_older_than_it_says_is_noticed() {
        let said = Said::Done { revision: 7 };
        let seen = [Seen {
            client: 1,
            key: "a".to_owned(),
            op: Op::Write(String::new()),
            asked_ns: 0,
            answer: Answer::Known { said, at_ns: 100 },
        }];
        let glance = |age_ns, revision, is_flagged| Glance {
            node: 1,
            asked_ns: 1_000,
            age_ns,
            revision,
            is_flagged,
        };
        judge(&seen, &[glance(Some(0), 7, false), glance(Some(950), 3, false)]).unwrap();
        judge(&seen, &[glance(None, 3, true)]).unwrap();
        assert!(
            judge(&seen, &[glance(Some(800), 6, false)]).is_err(),
            "older than it says"
        );
        assert!(
            judge(&seen, &[glance(None, 7, false)]).is_err(),
            "unknown, and not flagged"
        );
        let old = GLANCE_MAX.as_nanos() as u64 + 1;
        assert!(
            judge(&seen, &[glance(Some(old), 7, false)]).is_err(),
            "too old, and not flagged"
        );
    }
}
