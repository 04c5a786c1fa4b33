//! Exactly once: what was answered to a request id is remembered for a day of log time.

mod order;
mod stored;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::command::Answer;
use crate::digest::Hash;
use crate::ids::{RequestId, Revision, Stamp};
use crate::refusal::Refusal;
use order::{Asked, ByOwner, ByTime};

/// How long an answer is remembered.
pub const REMEMBER_MS: u64 = 24 * 3_600_000;
/// Answers remembered for one principal.
pub const PER_PRINCIPAL_MAX: u32 = 100_000;
/// Answers remembered in all.
pub const ALL_MAX: usize = 1_000_000;
/// Old answers dropped with each command, so that no single one pays for many.
const SWEEP_MAX: usize = 64;

/// A request's id, and the hash of what it asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub id: RequestId,
    pub hash: Hash,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    pub hash: Hash,
    pub outcome: Result<Answer, Refusal>,
    pub revision: Revision,
}

/// One answer, with whom it was given to and when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answered {
    principal: Arc<str>,
    id: RequestId,
    at: Stamp,
    remembered: Remembered,
}

/// The table of answers. Both orders share the answers themselves: a tree copies an element's neighbours with each
/// change, and a pointer is little to copy.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    answers: OrdSet<ByOwner>,
    by_time: OrdSet<ByTime>,
    counts: OrdMap<Arc<str>, u32>,
}

/// Two tables are the same when their answers are; the orders only say where each has its place.
impl PartialEq for Requests {
    fn eq(&self, other: &Requests) -> bool {
        let same = |(one, other): (&ByOwner, &ByOwner)| Arc::ptr_eq(&one.0, &other.0) || one.0 == other.0;
        self.len() == other.len()
            && self.counts == other.counts
            && self.answers.iter().zip(&other.answers).all(same)
    }
}

impl Eq for Requests {}

impl Requests {
    /// The answer given before to this very request, if there is one. Another request under its id is refused.
    pub fn recall(&self, principal: &str, key: &Key) -> Option<Result<&Remembered, Refusal>> {
        let asked: &dyn Asked = &(principal, key.id.as_str());
        let known = &self.answers.get(asked)?.0.remembered;
        Some(if known.hash == key.hash {
            Ok(known)
        } else {
            Err(Refusal::RequestIdReused)
        })
    }

    /// Refuses when the table is full; nothing is evicted before its time.
    pub fn check_room(&self, principal: &str) -> Result<(), Refusal> {
        let held = self.counts.get(principal).copied().unwrap_or(0);
        if held >= PER_PRINCIPAL_MAX || self.answers.len() >= ALL_MAX {
            return Err(Refusal::TooManyRequestsRemembered);
        }
        Ok(())
    }

    /// Writes an answer down.
    pub fn remember(&mut self, at: Stamp, principal: &str, key: &Key, remembered: Remembered) {
        // One text for all that a principal has asked.
        let known = self.counts.get_key_value(principal);
        let (principal, held) =
            known.map_or_else(|| (principal.into(), 0), |(known, held)| (known.clone(), *held));
        let answered = Arc::new(Answered {
            principal: principal.clone(),
            id: key.id.clone(),
            at,
            remembered,
        });
        self.by_time.insert(ByTime(answered.clone()));
        self.answers.insert(ByOwner(answered));
        self.counts.insert(principal, held + 1);
    }

    /// Forgets what is older than a day, a few at a time.
    pub fn sweep(&mut self, now: Stamp) {
        for _ in 0..SWEEP_MAX {
            let Some(ByTime(oldest)) = self.by_time.get_min().cloned() else {
                return;
            };
            if now.millis_since(oldest.at) < REMEMBER_MS {
                return;
            }
            let left = self.counts.get(&oldest.principal).map_or(0, |held| held - 1);
            if left == 0 {
                self.counts.remove(&oldest.principal);
            } else {
                self.counts.insert(oldest.principal.clone(), left);
            }
            self.by_time.remove(&ByTime(oldest.clone()));
            self.answers.remove(&ByOwner(oldest));
        }
    }

    /// How many answers are held.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}
