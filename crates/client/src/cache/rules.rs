//! How long an answer is good for. Pure: the time comes in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::Resolution;

/// An answer holds this long without word from the registry.
pub const LEASE: Duration = Duration::from_secs(10);
/// A tenant that was serving may be served from memory this long while no node answers.
pub const GRACE: Duration = Duration::from_secs(15 * 60);
/// A "nobody" that no watch guards is asked again soon: the tenant may be on its way.
pub const UNKNOWN_LEASE: Duration = Duration::from_secs(2);

/// A moment, in nanoseconds from when the memory began; before that they are negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) i64);

/// Since when, and as of which revision, something is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// When it was true, at the latest bound we have.
    as_of: Moment,
    /// Each tenant is remembered with two of these: revision, where in the tenant's words its name begins, guarded.
    packed: u64,
}

const AT_BITS: u32 = 16;
/// Ten thousand changes a second for centuries.
const REVISION_MAX: u64 = u64::MAX >> (AT_BITS + 1);

/// What the memory makes of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// Good to use.
    Fresh(Arc<Resolution>),
    /// Nobody has this claim, and that is recent.
    Nobody,
    /// Ask. When no node answers, `fallback` may be used.
    Ask { fallback: Option<Arc<Resolution>> },
}

impl Moment {
    pub(super) fn of(instant: Instant, began: Instant) -> Moment {
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        match instant.checked_duration_since(began) {
            Some(after) => Moment(nanos(after)),
            None => Moment(-nanos(began.saturating_duration_since(instant))),
        }
    }

    fn since(self, earlier: Moment) -> Duration {
        let nanos = self.0.saturating_sub(earlier.0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or_default())
    }
}

impl Stamp {
    /// `guarded`: every later change arrives by watch, so that hearing from the watch keeps it true.
    pub(super) fn new(revision: u64, as_of: Moment, guarded: bool) -> Stamp {
        let packed = revision.min(REVISION_MAX) << (AT_BITS + 1) | u64::from(guarded);
        Stamp { as_of, packed }
    }

    /// The same for the name that begins there.
    pub(super) fn at(self, at: u16) -> Stamp {
        let others = self.packed & !(u64::from(u16::MAX) << 1);
        Stamp {
            packed: others | u64::from(at) << 1,
            ..self
        }
    }

    pub(super) fn name_at(self) -> u16 {
        (self.packed >> 1) as u16
    }

    /// The registry's revision at which this was true.
    pub(super) fn revision(self) -> u64 {
        self.packed >> (AT_BITS + 1)
    }

    pub(super) fn is_guarded(self) -> bool {
        self.packed & 1 == 1
    }

    /// Judges what is known under a claim, a tenant or nobody; `heard` is the moment up to which the watch vouches for
    /// what it guards.
    pub(super) fn judge(self, known: Option<&Arc<Resolution>>, heard: Option<Moment>, now: Moment) -> Lookup {
        let as_of = match heard {
            Some(heard) if self.is_guarded() => heard.max(self.as_of),
            _ => self.as_of,
        };
        let age = now.since(as_of);
        match known {
            Some(known) if age <= LEASE => Lookup::Fresh(known.clone()),
            Some(known) if age <= GRACE && known.serves() => Lookup::Ask {
                fallback: Some(known.clone()),
            },
            None if age <= self.unknown_lease() => Lookup::Nobody,
            _ => Lookup::Ask { fallback: None },
        }
    }

    fn unknown_lease(self) -> Duration {
        if self.is_guarded() { LEASE } else { UNKNOWN_LEASE }
    }
}
