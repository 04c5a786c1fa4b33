//! The fence: the highest epoch seen of each group, on disk before it is obeyed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::disk;

/// Turns orders of older epochs away.
pub struct Fence {
    path: PathBuf,
    seen: Mutex<BTreeMap<String, u64>>,
}

/// Whether an order may be obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Obey,
    /// A newer epoch is known.
    Older {
        known: u64,
    },
}

impl Fence {
    /// Opens the fence of an agent's folder.
    pub fn open(folder: &Path) -> io::Result<Fence> {
        let path = folder.join("fence.json");
        let seen = match disk::read_if_there(&path)? {
            Some(bytes) => serde_json::from_slice(&bytes)?,
            None => BTreeMap::new(),
        };
        Ok(Fence {
            path,
            seen: Mutex::new(seen),
        })
    }

    /// Judges an order's epoch; a new one is on disk when this returns.
    pub fn judge(&self, group: &str, epoch: u64) -> io::Result<Word> {
        let mut seen = self.seen.lock();
        let known = seen.get(group).copied().unwrap_or(0);
        if epoch < known {
            return Ok(Word::Older { known });
        }
        if epoch > known {
            let mut next = seen.clone();
            next.insert(group.to_owned(), epoch);
            disk::write_durably(&self.path, &serde_json::to_vec(&next)?)?;
            *seen = next;
        }
        Ok(Word::Obey)
    }

    /// The epochs that this agent holds.
    pub fn held(&self) -> BTreeMap<String, u64> {
        self.seen.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_epoch_is_turned_away_even_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let fence = Fence::open(folder.path()).unwrap();
        assert_eq!(fence.judge("vn-1", 3).unwrap(), Word::Obey);
        assert_eq!(fence.judge("vn-1", 2).unwrap(), Word::Older { known: 3 });
        assert_eq!(fence.judge("eu-1", 1).unwrap(), Word::Obey);
        drop(fence);
        let fence = Fence::open(folder.path()).unwrap();
        assert_eq!(fence.judge("vn-1", 2).unwrap(), Word::Older { known: 3 });
        assert_eq!(fence.judge("vn-1", 3).unwrap(), Word::Obey);
        assert_eq!(fence.held().len(), 2);
    }

    #[test]
    fn an_epoch_that_cannot_be_written_is_not_obeyed() {
        let folder = tempfile::tempdir().unwrap();
        let fence = Fence::open(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join("fence.json")).unwrap();
        assert!(fence.judge("vn-1", 1).is_err());
        assert!(fence.held().is_empty());
    }
}
