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

/// What is remembered under one claim.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// None: at that revision nobody had this claim.
    pub(super) known: Option<Arc<Resolution>>,
    /// The registry's revision at which this was true.
    pub(super) revision: u64,
    /// When it was true, at the latest bound we have.
    pub(super) as_of: Instant,
    /// Every later change arrives by watch, so that hearing from the watch keeps it true.
    pub(super) guarded: bool,
}

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

impl Entry {
    /// Judges the entry; `heard` is the moment up to which the watch vouches for what it guards.
    pub(super) fn judge(&self, heard: Option<Instant>, now: Instant) -> Lookup {
        let as_of = match heard {
            Some(heard) if self.guarded => heard.max(self.as_of),
            _ => self.as_of,
        };
        let age = now.saturating_duration_since(as_of);
        match &self.known {
            Some(known) if age <= LEASE => Lookup::Fresh(known.clone()),
            Some(known) if age <= GRACE && known.serves() => Lookup::Ask {
                fallback: Some(known.clone()),
            },
            None if age <= self.unknown_lease() => Lookup::Nobody,
            _ => Lookup::Ask { fallback: None },
        }
    }

    fn unknown_lease(&self) -> Duration {
        if self.guarded { LEASE } else { UNKNOWN_LEASE }
    }
}
