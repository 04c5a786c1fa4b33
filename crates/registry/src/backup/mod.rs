//! Backups of the registry itself: one file that holds State at one revision and the whole archive behind it.
//!
//! ```text
//! published State + archive ─► save ─► a stream of the API, or the shelf (scheduled, the leader's)
//! a survivor's folder ─► extract ─► the same file ─► check ─► restore ─► the first node of a new cluster
//! ```
//! ```text
//! magic | key | header | state* | changes* | foot | sum          each a frame: kind, length, crc32c, body
//! ```
//! Header, state, changes and foot are sealed under a key drawn for this one file, which the root key wraps: without
//! the root key a copy says nothing but how long it is. The sum is SHA-256 over all before it.

mod check;
mod extract;
mod frame;
pub mod offline;
mod pieces;
mod records;
mod restore;
mod save;
pub mod schedule;
pub mod shelf;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use reeve_domain::audit::Break;
use serde::{Deserialize, Serialize};

pub use check::{Report, check, open};
pub use extract::extract;
pub use pieces::Pieces;
pub use records::Refused;
pub use restore::{Made, Order, restore};
pub use save::{Copy, header, save};

use crate::archive::ArchiveError;
use crate::vault;

/// The layout that is written today.
pub const FORMAT: u32 = 1;

/// What a file says of itself, to those who hold the root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub format: u32,
    /// The layout of log entries whose State this is.
    pub entry_format: u16,
    /// The program that wrote it.
    pub program: String,
    /// The node that wrote it.
    pub node: u64,
    pub cluster: String,
    pub cluster_id: String,
    pub cluster_version: u32,
    pub revision: u64,
    pub tenants: u64,
    /// Revisions in the archive behind it.
    pub changes: u64,
    /// When it was written, in milliseconds since 1970.
    pub saved_ms: u64,
    pub state_hash: [u8; 32],
}

/// Why a backup cannot be written, or not be believed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Bytes were changed, lost or added.
    #[error("block {block} (byte {at}) is damaged: {why}; use another copy")]
    Damaged { block: u64, at: u64, why: String },
    /// It does not begin like one.
    #[error("this is no snapshot of a registry: {0}")]
    NoSnapshot(String),
    /// Written by a program of another age.
    #[error("it has format {found}, and this program reads format {FORMAT}; use a newer reeve-registry")]
    Format { found: u32 },
    /// Sealed under another key.
    #[error(
        "it was sealed under root key {sealed}, and the root key given is {given}; give the root.key of the cluster it was saved from"
    )]
    WrongKey { sealed: String, given: String },
    /// All bytes are as written, and what they say does not hold together.
    #[error("what is in it does not hold together: {0}; use another copy")]
    Odd(String),
    /// An audit chain in it is not whole.
    #[error("an audit chain in it is broken: {0}; use another copy")]
    Chain(#[from] Break),
    /// A file or folder failed.
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("it cannot be written or read: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Vault(#[from] vault::Error),
}

impl BackupError {
    fn file(path: &std::path::Path, why: impl std::fmt::Display) -> BackupError {
        BackupError::File {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }
}
