//! What was found damaged on this node's disk: told once in the log, and kept for whoever counts.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tracing::error;

/// Places that are remembered; the log has all of them.
const KEPT_MAX: usize = 100;

/// Which part of the data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Log,
    Snapshots,
    Archive,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Log, Part::Snapshots, Part::Archive];

    /// As metrics name it.
    pub fn word(self) -> &'static str {
        match self {
            Part::Log => "log",
            Part::Snapshots => "snapshots",
            Part::Archive => "archive",
        }
    }
}

/// A cloneable list of damaged places.
#[derive(Clone, Debug, Default)]
pub struct Damages(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    places: VecDeque<String>,
    last: BTreeMap<Part, SystemTime>,
}

impl Damages {
    /// Notes a place: the file, and where in it.
    pub fn found(&self, part: Part, place: impl Into<String>) {
        let place = place.into();
        error!(
            part = part.word(),
            place, "the disk gave back something else than was written"
        );
        let mut kept = self.0.lock();
        kept.last.insert(part, SystemTime::now());
        if kept.places.len() == KEPT_MAX {
            kept.places.pop_front();
        }
        kept.places.push_back(place);
    }

    /// The newest of them.
    pub fn places(&self) -> Vec<String> {
        self.0.lock().places.iter().cloned().collect()
    }

    /// When damage was last found in a part.
    pub fn last(&self, part: Part) -> Option<SystemTime> {
        self.0.lock().last.get(&part).copied()
    }
}

/// An error with everything that caused it, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_places_are_kept_and_each_part_has_its_time() {
        let damages = Damages::default();
        for n in 0..=KEPT_MAX {
            damages.found(Part::Log, format!("wal at byte {n}"));
        }
        let places = damages.places();
        assert_eq!((places.len(), places[0].as_str()), (KEPT_MAX, "wal at byte 1"));
        assert!(damages.last(Part::Log).is_some());
        assert_eq!(damages.last(Part::Archive), None);
    }
}
