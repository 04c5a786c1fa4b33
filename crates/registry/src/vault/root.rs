//! The root key, from a provider.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use reeve_domain::secret::{Parts, Sealed};
use zeroize::Zeroizing;

use crate::vault::{Error, Sealer};

/// Gives the root key. Transit engines and cloud key services wrap instead of giving; they come with features.
pub trait KeyProvider: Send + Sync {
    /// Tells root keys apart, and says nothing of them.
    fn kid(&self) -> &str;

    /// Seals a secret for its place.
    fn seal(&self, aad: &str, plain: &[u8]) -> Result<Sealed, Error>;

    /// Opens a secret, when it was sealed for this very place.
    fn open(&self, sealed: &Sealed, aad: &str) -> Result<Zeroizing<Vec<u8>>, Error>;
}

/// A root key in this process's memory.
#[derive(Clone, Debug)]
pub struct RootKey {
    sealer: Sealer,
    kid: String,
}

const NONCE_LEN: usize = 12;
const VERSION: u32 = 1;

impl RootKey {
    /// Reads 64 hex digits from a file that only its owner may read.
    pub fn read(path: &Path) -> Result<RootKey, Error> {
        let at = || path.to_owned();
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: at(), source })?;
        let text = Zeroizing::new(text);
        let mode = std::fs::metadata(path)
            .map_err(|source| Error::Read { path: at(), source })?
            .permissions();
        if mode.mode() & 0o077 != 0 {
            return Err(Error::TooOpen(at()));
        }
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), key.as_mut_slice()).map_err(|_| Error::NoKey(at()))?;
        Ok(RootKey::new(&key))
    }

    /// Takes a 256-bit key.
    pub fn new(key: &[u8; 32]) -> RootKey {
        // The id tells keys apart and says nothing of the key.
        let id = reeve_domain::digest::of_bytes(&[b"reeve root key id", key]);
        RootKey {
            sealer: Sealer::new(key),
            kid: format!("file/{}", hex::encode(&id[..4])),
        }
    }
}

impl KeyProvider for RootKey {
    fn kid(&self) -> &str {
        &self.kid
    }

    fn seal(&self, aad: &str, plain: &[u8]) -> Result<Sealed, Error> {
        let mut bytes = self.sealer.seal(aad.as_bytes(), plain)?;
        let ciphertext = bytes.split_off(NONCE_LEN);
        let parts = Parts {
            kid: &self.kid,
            version: VERSION,
            nonce: &bytes,
            aad,
            ciphertext: &ciphertext,
        };
        Sealed::new(parts).ok_or_else(|| Error::Broken(aad.to_owned()))
    }

    fn open(&self, sealed: &Sealed, aad: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        let parts = sealed.parts();
        if parts.aad != aad || parts.version != VERSION {
            return Err(Error::Broken(aad.to_owned()));
        }
        let bytes = [parts.nonce, parts.ciphertext].concat();
        self.sealer.open(aad.as_bytes(), &bytes).map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_at_its_own_place_only() {
        let root = RootKey::new(&[3; 32]);
        let sealed = root.seal("credential/t_1/a/1", b"secret").unwrap();
        assert_eq!(
            root.open(&sealed, "credential/t_1/a/1").unwrap().as_slice(),
            b"secret"
        );
        assert!(root.open(&sealed, "credential/t_2/a/1").is_err());
        let moved = Parts {
            aad: "credential/t_2/a/1",
            ..sealed.parts()
        };
        let moved = Sealed::new(moved).unwrap();
        assert!(root.open(&moved, "credential/t_2/a/1").is_err());
        assert!(
            RootKey::new(&[4; 32])
                .open(&sealed, "credential/t_1/a/1")
                .is_err()
        );
    }

    #[test]
    fn a_key_file_is_private_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        assert!(matches!(RootKey::read(&path), Err(Error::Read { .. })));
        std::fs::write(&path, hex::encode([5; 32])).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(RootKey::read(&path), Err(Error::TooOpen(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(RootKey::read(&path).is_ok());
        std::fs::write(&path, "no key").unwrap();
        assert!(matches!(RootKey::read(&path), Err(Error::NoKey(_))));
    }
}
