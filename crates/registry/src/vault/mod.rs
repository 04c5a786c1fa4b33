//! Encryption at rest: a root key from a provider, and a data key of each node that the root wraps.
//!
//! ```text
//! provider (file) ──root──► seals secrets in State           (any node of the cluster opens them)
//!                 └──wraps─► node.key ──data key──► log payloads, snapshot blocks, archive values
//! ```

mod aead;
mod node_key;
mod root;

pub use aead::Sealer;
pub use node_key::open_or_make;
pub use root::{KeyProvider, RootKey};

use std::io;
use std::path::PathBuf;

/// Why a key or a sealed thing could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there, or cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds no key.
    #[error("{} must hold 64 hex digits (a 256-bit key); make one with `openssl rand -hex 32`", .0.display())]
    NoKey(PathBuf),
    /// Others may read the key.
    #[error("{} can be read by others; set its mode to 0600", .0.display())]
    TooOpen(PathBuf),
    /// The wrapped key belongs to another root key, cluster or node.
    #[error("{} does not open: it is damaged, or was wrapped by another root key or for another node; use the root key it was made with, or bring the node back by `rejoin`", .0.display())]
    WrongRoot(PathBuf),
    /// The bytes were changed, or sealed by another key or for another place.
    #[error("sealed bytes for {0} cannot be opened: changed, or sealed by another key")]
    Broken(String),
    /// No randomness.
    #[error("the system gives no random bytes")]
    NoRandomness,
}
