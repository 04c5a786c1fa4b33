//! Sealed secrets: the domain carries them and can never open them.

use serde::{Deserialize, Serialize};

/// An envelope made before it was proposed. `aad` binds it to its place, so that two cannot be swapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Which key sealed it.
    pub kid: String,
    /// Layout of the envelope.
    pub version: u32,
    /// Never used twice with one key.
    pub nonce: Vec<u8>,
    /// What it was bound to, for example `credential/t_0123456789ab/a/1`.
    pub aad: String,
    /// Ciphertext and tag.
    pub ciphertext: Vec<u8>,
}
