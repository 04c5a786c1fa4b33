//! What the pools count. sqlx dials by itself and says neither when it begins nor who waits, so these are what can be seen
//! from outside: how long a pool took to open, who was lent one that was all in use, how long making a session as new took.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::times::Times;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// From asking for a pool that was not open, to having it.
    pub(crate) openings: Times,
    pub(crate) resets: Times,
    sessions: AtomicU64,
    room_waits: AtomicU64,
    session_waits: AtomicU64,
}

impl Tally {
    pub(super) fn session_opened(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// A pool waits for room in the budget.
    pub(super) fn waits_for_room(&self) {
        self.room_waits.fetch_add(1, Ordering::Relaxed);
    }

    /// A caller gets a pool of which every session is in use.
    pub(super) fn waits_for_session(&self) {
        self.session_waits.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(feature = "metrics")]
impl Tally {
    pub(crate) fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    pub(crate) fn room_waits(&self) -> u64 {
        self.room_waits.load(Ordering::Relaxed)
    }

    pub(crate) fn session_waits(&self) -> u64 {
        self.session_waits.load(Ordering::Relaxed)
    }
}
