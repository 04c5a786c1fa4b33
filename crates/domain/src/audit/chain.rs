//! Checking a chain offline: bytes, order, hashes, time.

use crate::audit::canonical::{DecodeError, decode};
use crate::audit::record::{self, Head, Record, Shown};
use crate::ids::{Revision, Stamp};

/// Where and how a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// A record is missing, doubled or out of place.
    #[error("shard {shard}: record {got} stands where {expected} belongs")]
    Gap {
        /// Which shard.
        shard: String,
        /// The sequence that belongs here.
        expected: u64,
        /// The one that stands here.
        got: u64,
    },
    /// The bytes do not have the hash that is written beside them.
    #[error("shard {shard}: record {sequence} was changed (its {what} does not match)")]
    Changed {
        /// Which shard.
        shard: String,
        /// Which record.
        sequence: u64,
        /// What gave it away.
        what: &'static str,
    },
    /// The bytes are no record.
    #[error("shard {shard}: record {sequence}: {error}")]
    Unreadable {
        /// Which shard.
        shard: String,
        /// Which record.
        sequence: u64,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// The chain ends before, or differs from, the head it should have.
    #[error("shard {shard}: ends at {got}, and its head says {expected}")]
    Tail {
        /// Which shard.
        shard: String,
        /// The sequence of the head.
        expected: u64,
        /// The last sequence seen.
        got: u64,
    },
}

/// Reads one shard's records in order and says where the chain breaks.
#[derive(Clone, Debug)]
pub struct Verifier {
    shard: String,
    head: Head,
    stamp: Stamp,
    revision: Revision,
}

impl Verifier {
    /// Begins at the first record of a shard.
    pub fn new(shard: &str) -> Verifier {
        Verifier {
            shard: shard.to_owned(),
            head: Head::default(),
            stamp: Stamp(0),
            revision: Revision(0),
        }
    }

    /// Checks the next record and gives back what it says.
    pub fn check(&mut self, record: &Record) -> Result<Shown, Break> {
        let shard = self.shard.clone();
        let expected = self.head.sequence + 1;
        if record.sequence != expected || record.shard != shard {
            return Err(Break::Gap {
                shard,
                expected,
                got: record.sequence,
            });
        }
        let sequence = record.sequence;
        let changed = |what| Break::Changed {
            shard: shard.clone(),
            sequence,
            what,
        };
        if record::leaf(&record.canonical) != record.leaf {
            return Err(changed("leaf hash"));
        }
        if record.previous != self.head.chain {
            return Err(changed("previous hash"));
        }
        if record::chain(&record.previous, &record.leaf) != record.chain {
            return Err(changed("chain hash"));
        }
        let shown = decode(&record.canonical).map_err(|error| Break::Unreadable {
            shard: shard.clone(),
            sequence,
            error,
        })?;
        let own = shown.shard == shard && shown.sequence == sequence && shown.previous == record.previous;
        if !own {
            return Err(changed("own place"));
        }
        if shown.stamp < self.stamp || shown.revision < self.revision {
            return Err(changed("time"));
        }
        (self.stamp, self.revision) = (shown.stamp, shown.revision);
        self.head = Head {
            sequence,
            chain: record.chain,
        };
        Ok(shown)
    }

    /// The last record that was right.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Compares the end with a head that was learned elsewhere.
    pub fn finish(self, head: &Head) -> Result<(), Break> {
        if self.head != *head {
            return Err(Break::Tail {
                shard: self.shard,
                expected: head.sequence,
                got: self.head.sequence,
            });
        }
        Ok(())
    }
}
