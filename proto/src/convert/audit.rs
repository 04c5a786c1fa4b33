//! Audit records.

use reeve_domain::audit::Record;

use crate::convert::BadField;
use crate::v1;

/// A record as the wire writes it.
pub fn record(from: &Record) -> v1::AuditRecord {
    v1::AuditRecord {
        shard: from.shard.clone(),
        sequence: from.sequence,
        canonical: from.canonical.clone(),
        leaf_hash: from.leaf.to_vec(),
        previous_hash: from.previous.to_vec(),
        chain_hash: from.chain.to_vec(),
    }
}

/// Reads a record; its hashes are 32 bytes long, right or wrong.
pub fn record_from_wire(wire: v1::AuditRecord) -> Result<Record, BadField> {
    let hash = |field: &str, bytes: &[u8]| {
        <[u8; 32]>::try_from(bytes).map_err(|_| BadField::new(field, "must have 32 bytes"))
    };
    Ok(Record {
        leaf: hash("leaf_hash", &wire.leaf_hash)?,
        previous: hash("previous_hash", &wire.previous_hash)?,
        chain: hash("chain_hash", &wire.chain_hash)?,
        shard: wire.shard,
        sequence: wire.sequence,
        canonical: wire.canonical,
    })
}
