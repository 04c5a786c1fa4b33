//! A new key and the request to have it certified.

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::Zeroizing;

/// A private key, which never leaves this machine, and the request that does.
///
/// Keep both for a retry: the signature is random, so the same key makes another request text, and a
/// join is idempotent on the text.
pub struct KeyRequest {
    pub key_pem: Zeroizing<String>,
    pub csr_pem: String,
}

impl KeyRequest {
    /// Makes an ECDSA P-256 key and a request that names nobody: the issuer decides the name.
    pub fn generate() -> Result<KeyRequest, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr_pem = params.serialize_request(&key)?.pem()?;
        Ok(KeyRequest {
            key_pem: Zeroizing::new(key.serialize_pem()),
            csr_pem,
        })
    }
}

impl std::fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRequest")
            .field("key_pem", &"***")
            .field("csr_pem", &self.csr_pem)
            .finish()
    }
}
