//! The audit log: one record per change, made in the same command, chained by hash.
//!
//! ```text
//! leaf  = SHA-256(0x00 | canonical bytes)
//! chain = SHA-256(0x02 | previous chain | leaf)          one chain per shard: "fleet", and one a tenant
//! ```
//! Deliberately absent: any way to change or remove a record.

mod canonical;
mod chain;
mod record;
mod told;

pub use canonical::decode;
pub use chain::{Break, Verifier};
pub use record::{Head, Record, Seed, Shown, append};
pub(crate) use told::told;
