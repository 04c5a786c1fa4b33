//! One audit record, in its final form.

use serde::{Deserialize, Serialize};

use crate::audit::canonical;
use crate::digest::{self, Hash};
use crate::ids::{Revision, Stamp};
use crate::secret::Sealed;

/// What a proposer adds so that a record can be made: chance, and personal fields already encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    pub salt: [u8; 16],
    /// Source address and human name, sealed under the shard's audit key; destroying the key erases them.
    pub personal: Option<Sealed>,
    /// Why, in the caller's words.
    pub reason: String,
    /// Ties the record to a trace.
    pub trace_id: String,
    /// SHA-256 of the certificate that the caller showed.
    pub certificate: Option<Hash>,
}

/// The last record of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub sequence: u64,
    pub chain: Hash,
}

/// A record as it is kept: the bytes that were hashed, and the hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub shard: String,
    pub sequence: u64,
    #[serde(with = "serde_bytes")]
    pub canonical: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub leaf: Hash,
    #[serde(with = "serde_bytes")]
    pub previous: Hash,
    #[serde(with = "serde_bytes")]
    pub chain: Hash,
}

/// The fields of a record, as written into and read back from its canonical bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub version: u16,
    pub shard: String,
    pub sequence: u64,
    pub stamp: Stamp,
    pub revision: Revision,
    pub actor: String,
    pub certificate: Option<Hash>,
    pub action: String,
    pub resource: String,
    pub outcome: String,
    pub reason: String,
    pub request_id: String,
    pub trace_id: String,
    /// SHA-256 of salt and object, before and after.
    pub before: Hash,
    pub after: Hash,
    pub salt: [u8; 16],
    /// kid, nonce, aad and ciphertext of the personal fields; empty when there are none.
    pub personal: Vec<u8>,
    pub previous: Hash,
}

/// The layout that is written today.
pub const VERSION: u16 = 1;

/// Appends to a shard: the record's place and hashes follow from its head.
pub fn append(head: &mut Head, mut shown: Shown) -> Record {
    shown.version = VERSION;
    shown.sequence = head.sequence + 1;
    shown.previous = head.chain;
    let canonical = canonical::encode(&shown);
    let leaf = leaf(&canonical);
    let chain = chain(&head.chain, &leaf);
    let record = Record {
        shard: shown.shard,
        sequence: shown.sequence,
        canonical,
        leaf,
        previous: head.chain,
        chain,
    };
    *head = Head {
        sequence: record.sequence,
        chain,
    };
    record
}

pub(super) fn leaf(canonical: &[u8]) -> Hash {
    digest::of_bytes(&[&[0x00], canonical])
}

pub(super) fn chain(previous: &Hash, leaf: &Hash) -> Hash {
    digest::of_bytes(&[&[0x02], previous, leaf])
}
