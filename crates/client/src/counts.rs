//! What a fleet counts, whether or not anybody reads it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::{Error, times::Times};

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

/// Threads that resolve at once rarely share one of so many.
const LANES: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Counts {
    resolves: [Lane; LANES],
    /// Of those that went to a node.
    pub(crate) asked: Times,
    mismatches: AtomicU64,
    watching: AtomicBool,
}

/// What some threads have counted, on lines of the processor's cache of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane([[AtomicU64; 4]; 3]);

impl Counts {
    pub(crate) fn resolved(&self, source: Source, outcome: Outcome) {
        self.resolves[lane()].0[source as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
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
        let of = |lane: &Lane| lane.0[source as usize][outcome as usize].load(Ordering::Relaxed);
        self.resolves.iter().map(of).sum()
    }

    pub(crate) fn is_watching(&self) -> bool {
        self.watching.load(Ordering::Relaxed)
    }
}

/// The lane of this thread.
fn lane() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = THREADS.fetch_add(1, Ordering::Relaxed) % LANES;
    }
    OWN.try_with(|own| *own).unwrap_or_default()
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
