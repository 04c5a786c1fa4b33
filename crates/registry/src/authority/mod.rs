//! Seals secrets, draws them, and signs certificates.
//!
//! Any node seals and opens under the cluster's root key. Only the leader signs: it opens the issuing key for
//! one signature and forgets it. Deliberately absent: the root CA's key, which no node ever has.

pub mod credential;
mod personal;
pub mod renew;
mod sign;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reeve_domain::State;
use reeve_domain::secret::Sealed;
use reeve_proto::identity::{SpiffeId, Usage};
use zeroize::Zeroizing;

pub use sign::{IssueOrder, WantedUsage};

use crate::asks::{AskError, Question, Reply, ask_leader};
use crate::consensus::Consensus;
use crate::vault::{self, KeyProvider};

/// Where the issuing CA's key is sealed to.
pub const ISSUING_KEY: &str = "cluster/issuing_key";
/// Where the fleet's audit key is sealed to.
pub const FLEET_AUDIT_KEY: &str = "audit_key/fleet";

/// A cloneable handle.
#[derive(Clone)]
pub struct Authority {
    root: Arc<dyn KeyProvider>,
    consensus: Consensus,
}

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The leader could not be asked; ask again.
    #[error("no leader signed")]
    Unanswered(#[source] AskError),
    /// This node does not lead, or not any more; ask again.
    #[error("leadership is not confirmed: {0}")]
    NotLeader(String),
    /// The request is at fault.
    #[error("certificate is refused: {0}")]
    Refused(String),
}

impl Authority {
    pub fn new(root: Arc<dyn KeyProvider>, consensus: Consensus) -> Authority {
        Authority { root, consensus }
    }

    /// Seals a secret to its place.
    pub fn seal(&self, aad: &str, plain: &[u8]) -> Result<Sealed, vault::Error> {
        self.root.seal(aad, plain)
    }

    /// Opens a secret at its place; it is wiped when dropped.
    pub fn open(&self, sealed: &Sealed, aad: &str) -> Result<Zeroizing<Vec<u8>>, vault::Error> {
        self.root.open(sealed, aad)
    }

    /// 256 random bits as 43 characters that need no quoting anywhere.
    pub fn new_password(&self) -> Result<Zeroizing<String>, vault::Error> {
        let key = new_key()?;
        Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(key.as_slice())))
    }

    /// A new 256-bit key, sealed to its place.
    pub fn new_key_sealed(&self, aad: &str) -> Result<Sealed, vault::Error> {
        seal_new_key(self.root.as_ref(), aad)
    }

    /// The provider of the root key, for what is sealed as a whole.
    pub fn root(&self) -> Arc<dyn KeyProvider> {
        self.root.clone()
    }

    /// The root certificate that everybody trusts; empty before the cluster was founded.
    pub fn root_pem(&self) -> String {
        self.consensus.published().state.cluster.root_ca_pem.clone()
    }

    /// Has a certificate signed by the leader; the answer is leaf, issuing CA and root.
    pub async fn issue(
        &self,
        csr_pem: &str,
        principal: &SpiffeId,
        usage: Usage,
    ) -> Result<String, IssueError> {
        let order = IssueOrder::new(csr_pem, principal, usage);
        if self.consensus.is_leader() {
            return self.sign(&order).await;
        }
        match ask_leader(&self.consensus, &Question::Issue(order)).await {
            Ok(Reply::Issued(chain)) => Ok(chain),
            Ok(_) => Err(IssueError::Unanswered(AskError::Garbled)),
            Err(AskError::Refused(why)) => Err(IssueError::Refused(why)),
            Err(error) => Err(IssueError::Unanswered(error)),
        }
    }
}

/// Signs where no node runs: for a folder that is made beside a State that nobody serves yet.
pub fn issue_alone(
    root: &dyn KeyProvider,
    state: &State,
    csr_pem: &str,
    principal: &SpiffeId,
    usage: Usage,
) -> Result<String, IssueError> {
    sign::issue(
        root,
        state,
        &IssueOrder::new(csr_pem, principal, usage),
        SystemTime::now(),
    )
}

/// A new 256-bit key under a provider, sealed to its place.
pub fn seal_new_key(root: &dyn KeyProvider, aad: &str) -> Result<Sealed, vault::Error> {
    root.seal(aad, new_key()?.as_slice())
}

fn new_key() -> Result<Zeroizing<[u8; 32]>, vault::Error> {
    let mut key = Zeroizing::new([0; 32]);
    rand::fill(key.as_mut_slice()).map_err(|_| vault::Error::NoRandomness)?;
    Ok(key)
}
