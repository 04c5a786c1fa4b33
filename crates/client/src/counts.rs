//! What a fleet counts, whether or not anybody reads it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::Error;

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Memory,
    Registry,
    /// Memory, past its lease, because no node answered.
    Fallback,
}

/// What became of a resolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Served,
    Unknown,
    NotServing,
    Failed,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    resolves: [[AtomicU64; 4]; 3],
    mismatches: AtomicU64,
    watching: AtomicBool,
}

impl Counts {
    pub(crate) fn resolved(&self, source: Source, outcome: Outcome) {
        self.resolves[source as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn mismatched(&self) {
        self.mismatches.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn mismatches(&self) -> u64 {
        self.mismatches.load(Ordering::Relaxed)
    }

    /// Whether a stream of changes is open now.
    pub(crate) fn watches(&self, is_open: bool) {
        self.watching.store(is_open, Ordering::Relaxed);
    }
}

#[cfg(feature = "metrics")]
impl Counts {
    pub(crate) fn resolves(&self, source: Source, outcome: Outcome) -> u64 {
        self.resolves[source as usize][outcome as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn is_watching(&self) -> bool {
        self.watching.load(Ordering::Relaxed)
    }
}

impl Outcome {
    pub(crate) fn of<T>(answer: &Result<T, Error>) -> Outcome {
        match answer {
            Ok(_) => Outcome::Served,
            Err(Error::Unknown(_)) => Outcome::Unknown,
            Err(Error::NotServing { .. }) => Outcome::NotServing,
            Err(_) => Outcome::Failed,
        }
    }
}
