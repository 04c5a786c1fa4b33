//! AES-256-GCM with a fresh random nonce before each ciphertext.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;

use crate::vault::Error;

/// Seals and opens bytes under one key. What was sealed for one place does not open at another.
#[derive(Clone)]
pub struct Sealer {
    key: Arc<LessSafeKey>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(***)")
    }
}

impl Sealer {
    /// Takes a 256-bit key.
    pub fn new(key: &[u8; 32]) -> Sealer {
        match UnboundKey::new(&AES_256_GCM, key) {
            Ok(key) => Sealer {
                key: Arc::new(LessSafeKey::new(key)),
            },
            Err(_) => unreachable!("AES-256 takes any 32 bytes"),
        }
    }

    /// Nonce, ciphertext, tag.
    pub fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| Error::NoRandomness)?;
        let mut out = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        out.extend(nonce);
        out.extend(plain);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place),
                &mut out[NONCE_LEN..],
            )
            .map_err(|_| Error::Broken("a seal".to_owned()))?;
        out.extend(tag.as_ref());
        Ok(out)
    }

    /// The plaintext, when key and place are right and nothing was changed.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let broken = || Error::Broken(String::from_utf8_lossy(place).into_owned());
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut body = body.to_vec();
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(place), &mut body)
            .map_err(|_| broken())?;
        let len = plain.len();
        body.truncate(len);
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_place_and_bytes_open() {
        let sealer = Sealer::new(&[1; 32]);
        let sealed = sealer.seal(b"log/7", b"cho-ray").unwrap();
        assert_eq!(sealer.open(b"log/7", &sealed).unwrap(), b"cho-ray");
        assert!(sealer.open(b"log/8", &sealed).is_err());
        assert!(Sealer::new(&[2; 32]).open(b"log/7", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut odd = sealed.clone();
            odd[at] ^= 1;
            assert!(sealer.open(b"log/7", &odd).is_err(), "byte {at}");
        }
        assert!(sealer.open(b"log/7", b"short").is_err());
        assert!(!sealed.windows(7).any(|w| w == b"cho-ray"));
    }
}
