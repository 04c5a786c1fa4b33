//! Why the archive cannot answer.

use std::io;

/// What went wrong. Only `Incomplete` passes by itself.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Something is missing here and being fetched; another node may have it.
    #[error("{what} {from} to {to} are missing on this node and being fetched; ask another node or later")]
    Incomplete { what: String, from: u64, to: u64 },
    /// A value does not open, or is not what its key says; it is being fetched again.
    #[error("archived {what} is damaged on this node and being fetched; ask another node or later")]
    Damaged { what: String },
    /// The folder or a file of ours failed.
    #[error("archive: {what} failed")]
    Disk { what: &'static str, source: io::Error },
    /// The store failed.
    #[error("archive's store failed")]
    Store(#[from] sled::Error),
    /// The store panicked; it is being replaced.
    #[error("archive's store panicked and is being replaced: {0}")]
    Panicked(String),
    /// Less is there than was once durable.
    #[error("archive ends at revision {found}, though {durable} was durable once")]
    Short { found: u64, durable: u64 },
    /// An older program wrote it, or a newer one.
    #[error("archive is laid out in another way ({0})")]
    Layout(u32),
    /// A value could not be sealed or encoded.
    #[error("archive cannot seal a value: {0}")]
    Seal(String),
    /// It was not read whole yet since the node started: what is not found may have been lost.
    #[error("this node has not read its whole archive since it started; ask another node or later")]
    Unchecked,
    /// The node is stopping.
    #[error("archive has stopped")]
    Stopped,
}

impl ArchiveError {
    pub(super) fn disk(what: &'static str) -> impl FnOnce(io::Error) -> ArchiveError {
        move |source| ArchiveError::Disk { what, source }
    }

    /// Whether the store as a whole cannot be trusted any more; a new one is begun.
    pub(super) fn is_distrust(&self) -> bool {
        match self {
            ArchiveError::Store(error) => !matches!(error, sled::Error::Io(_)),
            ArchiveError::Panicked(_)
            | ArchiveError::Damaged { .. }
            | ArchiveError::Short { .. }
            | ArchiveError::Layout(_) => true,
            ArchiveError::Incomplete { .. }
            | ArchiveError::Disk { .. }
            | ArchiveError::Seal(_)
            | ArchiveError::Unchecked
            | ArchiveError::Stopped => false,
        }
    }

    /// Whether the store failed in the middle of its work in a way that it will not come back from.
    pub(super) fn is_broken_store(&self) -> bool {
        match self {
            ArchiveError::Store(error) => !matches!(error, sled::Error::Io(_)),
            ArchiveError::Panicked(_) => true,
            _ => false,
        }
    }

    pub(super) fn damaged(what: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged { what: what.into() }
    }
}
