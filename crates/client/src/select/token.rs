//! What a verified token says, and why one is not believed.

use serde_json::{Map, Value};

use crate::Selector;

/// Turns a bearer token into the tenant that it speaks for. It must not wait: keys are there beforehand.
pub trait Verify: Send + Sync {
    /// Verifies the token, all of it; what it says must be taken from nowhere else.
    fn verify(&self, token: &str) -> Result<Verified, InvalidToken>;
}

/// What a verified token says.
#[derive(Clone, PartialEq)]
pub struct Verified {
    /// The tenant that it speaks for.
    pub tenant: Selector,
    /// All of its claims, for a service's own decisions.
    pub claims: Map<String, Value>,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Claims hold people's names.
        f.debug_struct("Verified").finish_non_exhaustive()
    }
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidToken {
    #[error("it is longer than is ever needed")]
    TooLong,
    #[error("it cannot be read")]
    Malformed,
    #[error("a claim is there twice")]
    Repeated,
    #[error("its header demands what is not understood here")]
    Critical,
    #[error("it is of a kind that nobody comes in with")]
    Kind,
    #[error("it comes from another issuer")]
    Issuer,
    #[error("it is for another audience")]
    Audience,
    #[error("it names a key that is not known")]
    UnknownKey,
    #[error("its key is for another algorithm")]
    Algorithm,
    #[error("its signature is wrong")]
    Signature,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYet,
    #[error("a claim that must be there is missing, or of the wrong kind")]
    Claim,
}
