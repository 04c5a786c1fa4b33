//! The newest entries of the log as they were appended: what is replicated and applied is nearly always among them,
//! and is not opened again for each reader.

use std::collections::VecDeque;

use openraft::EntryPayload;

use super::types::Entry;

/// More than the trailing log of a short absence.
const BYTES_MAX: usize = 24 << 20;
const ENTRIES_MAX: usize = 50_000;

/// A run of entries without a hole, up to the last of the log.
#[derive(Default)]
pub(super) struct Recent {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Recent {
    /// Takes what was appended to the log; the oldest make room.
    pub(super) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            let follows = self.entries.back().map(|last| last.log_id.index + 1);
            if follows.is_some_and(|next| next != entry.log_id.index) {
                self.entries.clear();
                self.bytes = 0;
            }
            self.bytes += size(&entry);
            self.entries.push_back(entry);
        }
        while self.bytes > BYTES_MAX || self.entries.len() > ENTRIES_MAX {
            self.drop_first();
        }
    }

    /// Forgets from an index on.
    pub(super) fn truncate(&mut self, from: u64) {
        while self.entries.back().is_some_and(|last| last.log_id.index >= from) {
            let last = self.entries.pop_back();
            self.bytes -= last.as_ref().map_or(0, size);
        }
    }

    /// Forgets up to an index.
    pub(super) fn purge(&mut self, upto: u64) {
        while self
            .entries
            .front()
            .is_some_and(|first| first.log_id.index <= upto)
        {
            self.drop_first();
        }
    }

    /// Entries from `from` up to and without `to`, when the first of them is here; fewer, but at least one, when they
    /// are more than so many bytes.
    pub(super) fn read(&self, from: u64, to: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.log_id.index;
        let skipped = usize::try_from(from.checked_sub(first)?).ok()?;
        if skipped >= self.entries.len() {
            return None;
        }
        let (mut found, mut bytes) = (Vec::new(), 0);
        let wanted = self.entries.iter().skip(skipped);
        for entry in wanted.take_while(|entry| entry.log_id.index < to) {
            bytes += size(entry);
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Some(found)
    }

    fn drop_first(&mut self) {
        let first = self.entries.pop_front();
        self.bytes -= first.as_ref().map_or(0, size);
    }
}

/// About what it holds in memory.
fn size(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Normal(payload) => payload.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    std::mem::size_of::<Entry>() + payload
}

#[cfg(test)]
mod tests {
    use super::super::types::{Payload, log_id};
    use super::*;

    fn entry(term: u64, index: u64, bytes: usize) -> Entry {
        Entry {
            log_id: log_id(term, 1, index),
            payload: EntryPayload::Normal(Payload(vec![0; bytes].into())),
        }
    }

    fn run(from: u64, to: u64) -> Recent {
        let mut recent = Recent::default();
        recent.append((from..to).map(|index| entry(1, index, 10)));
        recent
    }

    fn read(recent: &Recent, from: u64, to: u64) -> Option<Vec<u64>> {
        let found = recent.read(from, to, usize::MAX)?;
        Some(found.iter().map(|entry| entry.log_id.index).collect())
    }

    #[test]
    fn it_answers_only_when_the_first_asked_for_is_here() {
        let recent = run(5, 9);
        assert_eq!(read(&recent, 5, 100), Some(vec![5, 6, 7, 8]));
        assert_eq!(read(&recent, 6, 8), Some(vec![6, 7]));
        assert_eq!(read(&recent, 4, 8), None);
        assert_eq!(read(&recent, 9, 10), None);
        assert_eq!(read(&Recent::default(), 0, 1), None);
        let small = recent.read(5, 9, 1).map(|found| found.len());
        assert_eq!(small, Some(1), "at least one");
    }

    #[test]
    fn what_was_cut_off_or_purged_is_never_answered_again() {
        let mut recent = run(5, 9);
        recent.truncate(7);
        recent.append([entry(2, 7, 10)]);
        let terms: Vec<u64> = recent
            .read(5, 8, usize::MAX)
            .unwrap()
            .iter()
            .map(|entry| entry.log_id.committed_leader_id().term)
            .collect();
        assert_eq!(terms, [1, 1, 2]);
        recent.purge(6);
        assert_eq!(read(&recent, 6, 8), None);
        assert_eq!(read(&recent, 7, 8), Some(vec![7]));
        recent.truncate(0);
        assert_eq!((recent.entries.len(), recent.bytes), (0, 0));
    }

    #[test]
    fn a_hole_ends_the_run_before_it() {
        let mut recent = run(5, 9);
        recent.append([entry(1, 20, 10)]);
        assert_eq!(read(&recent, 8, 21), None);
        assert_eq!(read(&recent, 20, 21), Some(vec![20]));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut recent = Recent::default();
        recent.append((0..70).map(|index| entry(1, index, 1 << 20)));
        assert!(recent.bytes <= BYTES_MAX);
        assert_eq!(read(&recent, 0, 70), None);
        assert_eq!(read(&recent, 69, 70), Some(vec![69]));
    }
}
