//! The two orders that answers are kept in: by whom they were given to, and by when.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

use super::Answered;

/// By principal and request id.
#[derive(Clone, Debug)]
pub(super) struct ByOwner(pub(super) Arc<Answered>);

/// By stamp; of one stamp by principal and request id.
#[derive(Clone, Debug)]
pub(super) struct ByTime(pub(super) Arc<Answered>);

/// What an answer is looked for by, without making one.
pub(super) trait Asked {
    fn owner(&self) -> (&str, &str);
}

impl Asked for (&str, &str) {
    fn owner(&self) -> (&str, &str) {
        *self
    }
}

impl Asked for ByOwner {
    fn owner(&self) -> (&str, &str) {
        self.0.owner()
    }
}

impl Answered {
    fn owner(&self) -> (&str, &str) {
        (&self.principal, self.id.as_str())
    }
}

impl<'a> Borrow<dyn Asked + 'a> for ByOwner {
    fn borrow(&self) -> &(dyn Asked + 'a) {
        self
    }
}

impl Ord for dyn Asked + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.owner().cmp(&other.owner())
    }
}

impl PartialOrd for dyn Asked + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Asked + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.owner() == other.owner()
    }
}

impl Eq for dyn Asked + '_ {}

impl Ord for ByOwner {
    fn cmp(&self, other: &Self) -> Ordering {
        self.owner().cmp(&other.owner())
    }
}

impl Ord for ByTime {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_time = self.0.at.cmp(&other.0.at);
        by_time.then_with(|| self.0.owner().cmp(&other.0.owner()))
    }
}

/// A place in the order, and nothing else.
macro_rules! place {
    ($name:ident) => {
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &$name) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &$name) -> bool {
                self.cmp(other).is_eq()
            }
        }

        impl Eq for $name {}
    };
}

place!(ByOwner);
place!(ByTime);
