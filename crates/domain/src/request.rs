//! Exactly once: what was answered to a request id is remembered for a day of log time.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::command::Answer;
use crate::digest::Hash;
use crate::ids::{RequestId, Revision, Stamp};
use crate::refusal::Refusal;

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

type Owner = (Arc<str>, RequestId);

/// The table of answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    answers: OrdMap<Owner, Remembered>,
    by_time: OrdSet<(Stamp, Arc<str>, RequestId)>,
    counts: OrdMap<Arc<str>, u32>,
}

impl Requests {
    /// The answer given before to this very request, if there is one. Another request under its id is refused.
    pub fn recall(&self, principal: &str, key: &Key) -> Option<Result<&Remembered, Refusal>> {
        let known = self.answers.get(&(principal.into(), key.id.clone()))?;
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
        self.by_time.insert((at, principal.clone(), key.id.clone()));
        self.answers
            .insert((principal.clone(), key.id.clone()), remembered);
        self.counts.insert(principal, held + 1);
    }

    /// Forgets what is older than a day, a few at a time.
    pub fn sweep(&mut self, now: Stamp) {
        for _ in 0..SWEEP_MAX {
            let Some((at, principal, id)) = self.by_time.get_min().cloned() else {
                return;
            };
            if now.millis_since(at) < REMEMBER_MS {
                return;
            }
            self.by_time.remove(&(at, principal.clone(), id.clone()));
            self.answers.remove(&(principal.clone(), id));
            let left = self
                .counts
                .get(&principal)
                .copied()
                .unwrap_or(0)
                .saturating_sub(1);
            if left == 0 {
                self.counts.remove(&principal);
            } else {
                self.counts.insert(principal, left);
            }
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
