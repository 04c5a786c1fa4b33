//! Reads what the archive holds as an auditor would: each revision is in a block that opens, each record follows the
//! one before it, and both indexes lead to it. sled was seen to drop entries in silence when a bit of its file flips.
//!
//! What is gone is missing from then on and fetched from a peer; an index entry is made again from its block.

use std::collections::BTreeMap;

use reeve_domain::digest::Hash;

use super::store::{Store, audit_key};
use super::{ArchiveError, Change};

/// Blocks in one step: the archive's writer waits for no more than this.
const BLOCKS_AT_ONCE: usize = 32;

/// Where a check stands. It begins with the default, and goes on until it is done.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    next: u64,
    /// The last record of each shard, as far as the revisions were read without a hole.
    chains: BTreeMap<String, (u64, Hash)>,
    pub bytes: u64,
    pub is_done: bool,
}

/// What a step found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) reading: Reading,
    /// Revisions that are missing, and nobody knew.
    pub(super) missing: Vec<(u64, u64)>,
    pub(super) places: Vec<String>,
}

impl Found {
    fn lost(&mut self, from: u64, to: u64, why: &str) {
        self.places.push(format!("revisions {from} to {to}: {why}"));
        self.missing.push((from, to));
        self.reading.chains.clear();
        self.reading.next = to + 1;
    }
}

impl Store {
    /// Reads a few blocks on.
    pub(super) fn check(&self, reading: Reading) -> Result<Found, ArchiveError> {
        let mut found = Found {
            reading,
            ..Found::default()
        };
        for _ in 0..BLOCKS_AT_ONCE {
            let at = self.real(found.reading.next.max(1));
            found.reading.next = at;
            if at > self.last() {
                found.reading.is_done = true;
                break;
            }
            if let Some(end) = self.gap_end(at) {
                found.reading.next = end + 1;
                found.reading.chains.clear();
                continue;
            }
            self.check_block(at, &mut found)?;
        }
        Ok(found)
    }

    fn check_block(&self, at: u64, found: &mut Found) -> Result<(), ArchiveError> {
        let read = match self.block(at) {
            Err(ArchiveError::Damaged { what }) => {
                found.lost(at, self.end_of_hole(at)?, &format!("{what} does not open"));
                return Ok(());
            }
            read => read?,
        };
        let held = read.filter(|(first, changes, _)| at < first + changes.len() as u64);
        let Some((first, changes, bytes)) = held else {
            found.lost(
                at,
                self.end_of_hole(at)?,
                "no block holds them, though they were written",
            );
            return Ok(());
        };
        found.reading.bytes += bytes;
        let last = first + changes.len() as u64 - 1;
        for inside in self.keys_within(first + 1, last)? {
            // It was removed when this one was written, and would be found before it.
            let place = hex::encode(&inside);
            found
                .places
                .push(format!("block {place} has come back inside of block {first}"));
            self.forget_block(&inside)?;
        }
        for change in changes.into_iter().skip((at - first) as usize) {
            self.check_change(&change, found)?;
        }
        found.reading.next = last + 1;
        Ok(())
    }

    fn check_change(&self, change: &Change, found: &mut Found) -> Result<(), ArchiveError> {
        let revision = change.revision.0;
        if let Some(record) = &change.record {
            let before = found.reading.chains.get(&record.shard);
            let follows = before
                .is_none_or(|(sequence, chain)| record.sequence == sequence + 1 && record.previous == *chain);
            if !follows {
                let place = format!("record {} of shard {}", record.sequence, record.shard);
                found
                    .places
                    .push(format!("{place} does not follow the one before it"));
                found.missing.push((revision, revision));
            }
            let chain = (record.sequence, record.chain);
            found.reading.chains.insert(record.shard.clone(), chain);
            let key = audit_key(&record.shard, record.sequence);
            if self.index_audit(&key, revision)? {
                let place = format!("record {} of shard {}", record.sequence, record.shard);
                found.places.push(format!("the index had lost {place}"));
            }
        }
        for operation in &change.retired {
            if self.index_operation(&operation.id, revision)? {
                found
                    .places
                    .push(format!("the index had lost operation {}", operation.id));
            }
        }
        Ok(())
    }
}
