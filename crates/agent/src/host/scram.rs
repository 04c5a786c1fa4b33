//! Passwords as PostgreSQL keeps them, made here: no clear password is ever in a statement or in its logs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postgres_protocol::password::scram_sha_256;
use zeroize::Zeroizing;

/// A SCRAM-SHA-256 verifier with a fresh salt.
pub fn verifier(password: &str) -> String {
    scram_sha_256(password.as_bytes())
}

/// 256 random bits as text.
pub fn random_password() -> Zeroizing<String> {
    let bits: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
    Zeroizing::new(URL_SAFE_NO_PAD.encode(bits.as_slice()))
}
