//! The data folder: one process, one cluster, one node.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// How a node comes back whose own data cannot be believed.
pub(super) const REJOIN: &str = "it comes back as a new node by `reeve-registry --config FILE rejoin --token-file FILE` \
                                 (docs/operations.md, \"Bring a damaged node back\")";

const OWNER: &str = "owner.json";
pub(super) const LOCK: &str = "lock";

/// A folder that this process alone uses, for as long as this lives.
#[derive(Debug)]
pub struct Folder {
    _lock: File,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    cluster: String,
    node_id: u64,
}

/// Makes the folder of a node that begins. Whole or not at all: half a file would lock the node out of it.
pub(super) fn make(path: &Path, cluster: &str, node_id: u64) -> io::Result<()> {
    let file = path.join(OWNER);
    if file.exists() {
        return Ok(());
    }
    let owner = Owner {
        cluster: cluster.to_owned(),
        node_id,
    };
    crate::files::write(&file, &serde_json::to_vec(&owner)?)
}

/// Whose folder it is: the cluster's name and the node's id.
pub(super) fn owner(path: &Path) -> io::Result<(String, u64)> {
    let file = path.join(OWNER);
    let told = |kind, why: &dyn std::fmt::Display| {
        let why = format!(
            "{} is no data folder of a node: {}: {why}",
            path.display(),
            file.display()
        );
        io::Error::new(kind, why)
    };
    let bytes = fs::read(&file).map_err(|error| told(error.kind(), &error))?;
    let owner: Owner =
        serde_json::from_slice(&bytes).map_err(|error| told(io::ErrorKind::InvalidData, &error))?;
    Ok((owner.cluster, owner.node_id))
}

impl Folder {
    /// Takes the folder, or says whose it is.
    pub(super) fn take(path: &Path, cluster: &str, node_id: u64) -> io::Result<Folder> {
        let owner = Owner {
            cluster: cluster.to_owned(),
            node_id,
        };
        let file = path.join(OWNER);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let why = format!(
                    "{} is not there: node {node_id} has lost its data, and with it the votes that it gave; {REJOIN}",
                    file.display()
                );
                return Err(io::Error::new(io::ErrorKind::NotFound, why));
            }
            Err(error) => return Err(error),
        };
        let known: Owner = serde_json::from_slice(&bytes).map_err(|error| {
            let why = format!("{} is damaged: {error}; {REJOIN}", file.display());
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        if known != owner {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{} belongs to node {} of cluster {}, not to node {node_id} of {cluster}: {} says so",
                    path.display(),
                    known.node_id,
                    known.cluster,
                    file.display()
                ),
            ));
        }
        Folder::lock(path)
    }

    /// Takes the folder, whoever it is of.
    pub(super) fn lock(path: &Path) -> io::Result<Folder> {
        let lock = File::create(path.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("another process uses {}; stop it first", path.display()),
            )
        })?;
        Ok(Folder { _lock: lock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_process_and_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let lost = Folder::take(folder.path(), "hospital", 1).unwrap_err();
        assert!(lost.to_string().contains("lost its data"), "{lost}");
        make(folder.path(), "hospital", 1).unwrap();
        make(folder.path(), "clinic", 7).unwrap();
        let taken = Folder::take(folder.path(), "hospital", 1).unwrap();
        let second = Folder::take(folder.path(), "hospital", 1).unwrap_err();
        assert!(second.to_string().contains("another process"), "{second}");
        drop(taken);
        let other = Folder::take(folder.path(), "hospital", 2).unwrap_err();
        assert!(other.to_string().contains("belongs to node 1"), "{other}");
        assert!(Folder::take(folder.path(), "clinic", 1).is_err());
        assert!(Folder::take(folder.path(), "hospital", 1).is_ok());
    }
}
