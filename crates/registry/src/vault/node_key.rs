//! The data key of one node: random, kept wrapped beside the data.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::rand;
use reeve_domain::secret::Sealed;
use zeroize::Zeroizing;

use crate::vault::{Error, KeyProvider, Sealer};

const FILE: &str = "node.key";

/// Opens the node's data key, or makes one in an empty folder.
pub fn open_or_make(folder: &Path, cluster: &str, root: &dyn KeyProvider) -> Result<Sealer, Error> {
    let path = folder.join(FILE);
    let aad = format!("node-key/{cluster}");
    let unreadable = |source| Error::Read {
        path: path.clone(),
        source,
    };
    if path.exists() {
        let bytes = fs::read(&path).map_err(unreadable)?;
        let sealed: Sealed = rmp_serde::from_slice(&bytes).map_err(|_| Error::WrongRoot(path.clone()))?;
        let key = root
            .open(&sealed, &aad)
            .map_err(|_| Error::WrongRoot(path.clone()))?;
        let key: [u8; 32] = key
            .as_slice()
            .try_into()
            .map_err(|_| Error::WrongRoot(path.clone()))?;
        return Ok(Sealer::new(&Zeroizing::new(key)));
    }
    let mut key = Zeroizing::new([0; 32]);
    rand::fill(key.as_mut_slice()).map_err(|_| Error::NoRandomness)?;
    let sealed = root.seal(&aad, key.as_slice())?;
    let bytes = rmp_serde::to_vec_named(&sealed).map_err(|_| Error::NoKey(path.clone()))?;
    write_durably(folder, &path, &bytes).map_err(unreadable)?;
    Ok(Sealer::new(&key))
}

fn write_durably(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension("tmp");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::RootKey;

    #[test]
    fn each_bit_of_a_node_key_is_harmless_or_missed_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let root = RootKey::new(&[1; 32]);
        let sealed = open_or_make(folder.path(), "hospital", &root)
            .unwrap()
            .seal(b"x", b"y")
            .unwrap();
        let path = folder.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for (at, bit) in (0..whole.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut odd = whole.clone();
            odd[at] ^= 1 << bit;
            fs::write(&path, odd).unwrap();
            match open_or_make(folder.path(), "hospital", &root) {
                Ok(key) => assert_eq!(key.open(b"x", &sealed).unwrap(), b"y", "byte {at} bit {bit}"),
                Err(error) => assert!(
                    error.to_string().contains("node.key"),
                    "byte {at} bit {bit}: {error}"
                ),
            }
        }
    }

    #[test]
    fn a_node_key_comes_back_under_its_root_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let root = RootKey::new(&[1; 32]);
        let first = open_or_make(folder.path(), "hospital", &root).unwrap();
        let sealed = first.seal(b"x", b"y").unwrap();
        let again = open_or_make(folder.path(), "hospital", &root).unwrap();
        assert_eq!(again.open(b"x", &sealed).unwrap(), b"y");
        for (cluster, key) in [("other", 1), ("hospital", 2)] {
            let error = open_or_make(folder.path(), cluster, &RootKey::new(&[key; 32])).unwrap_err();
            assert!(error.to_string().contains("node.key"), "{error}");
        }
    }
}
