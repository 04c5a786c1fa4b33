//! What was asked and answered, in the order in which the callers lived through it.

use std::sync::Mutex;
use std::sync::PoisonError;

/// A point in the callers' time: whoever got an answer before another asked has the smaller one.
pub type Moment = u64;

/// Everything that was seen from outside.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub calls: Vec<Call>,
    pub answers: Vec<Answer>,
    pub fences: Vec<Fence>,
    pub(crate) now: Moment,
}

/// A change that somebody wanted.
#[derive(Clone, Debug)]
pub struct Call {
    pub wanted: Wanted,
    pub slug: String,
    pub request_id: String,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Create,
    Suspend,
    Resume,
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The registry said yes; what it named must be there for ever.
    Acked { tenant: String, operation: String },
    /// It said no, and nothing may have changed.
    Refused(String),
    /// Nobody knows.
    Unknown,
}

/// How fresh an answer was asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Linearizable,
    Bounded,
    Stale,
}

/// A resolve and what it said.
#[derive(Clone, Debug)]
pub struct Answer {
    pub node: u64,
    pub level: Level,
    pub asked: Moment,
    pub answered: Moment,
    /// None for a refusal, which names nobody.
    pub revision: Option<u64>,
    pub group: String,
    /// Places to write that it named.
    pub hosts: Vec<String>,
}

/// A fence, from the moment it was acknowledged to the moment its end was asked for.
#[derive(Clone, Debug)]
pub struct Fence {
    pub group: String,
    pub raised: Moment,
    pub raised_at_revision: u64,
    pub lowered: Option<Moment>,
    pub lowered_at_revision: Option<u64>,
}

/// Takes the notes of many callers at once.
#[derive(Default)]
pub struct Recorder(Mutex<History>);

impl Recorder {
    /// A new moment, later than all before.
    pub fn now(&self) -> Moment {
        self.with(|history| {
            history.now += 1;
            history.now
        })
    }

    pub fn with<T>(&self, note: impl FnOnce(&mut History) -> T) -> T {
        // A caller that panicked fails its test; what the others noted stays true.
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was noted so far.
    pub fn history(&self) -> History {
        self.with(|history| history.clone())
    }
}

impl History {
    /// Changes that were acknowledged.
    pub fn acked(&self) -> impl Iterator<Item = (&Call, &str, &str)> {
        self.calls.iter().filter_map(|call| match &call.outcome {
            Outcome::Acked { tenant, operation } => Some((call, tenant.as_str(), operation.as_str())),
            _ => None,
        })
    }

    /// The last acknowledged wish for a tenant.
    pub fn last_wish(&self, slug: &str) -> Option<Wanted> {
        self.acked()
            .filter(|(call, ..)| call.slug == slug)
            .last()
            .map(|(call, ..)| call.wanted)
    }
}
