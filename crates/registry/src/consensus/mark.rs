//! How far the log is known to be durable, in a file of its own: a log that ends earlier was rolled back.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::types::{LogId, log_id};
use super::wal::to_wal;

/// The durable mark.
pub(super) struct Mark {
    path: PathBuf,
    state: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    reached: Option<LogId>,
    saved: Option<LogId>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    term: u64,
    node: u64,
    index: u64,
    crc32c: u32,
}

impl OnDisk {
    fn sum(term: u64, node: u64, index: u64) -> u32 {
        crc32c::crc32c(format!("{term}/{node}/{index}").as_bytes())
    }
}

impl Mark {
    pub(super) fn open(folder: &Path) -> io::Result<Mark> {
        let path = folder.join("durable.json");
        let saved = match fs::read(&path) {
            Ok(bytes) => Some(Mark::parse(&path, &bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Mark {
            path,
            state: Mutex::new(Known {
                reached: saved,
                saved,
            }),
        })
    }

    fn parse(path: &Path, bytes: &[u8]) -> io::Result<LogId> {
        let damaged = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is damaged", path.display()),
            )
        };
        let read: OnDisk = serde_json::from_slice(bytes).map_err(|_| damaged())?;
        if read.crc32c != OnDisk::sum(read.term, read.node, read.index) {
            return Err(damaged());
        }
        Ok(log_id(read.term, read.node, read.index))
    }

    /// Refuses a log that ends before the mark.
    pub(super) fn check(&self, last: Option<&LogId>) -> io::Result<()> {
        let saved = self.state.lock().saved;
        if saved.as_ref() > last {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "the log ends at {:?}, and {} says that {:?} was durable: the folder was rolled back or damaged; \
                     remove this node and join it anew",
                    last.map(|id| id.index),
                    self.path.display(),
                    saved.map(|id| id.index),
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn reached(&self, last: Option<LogId>) {
        let mut state = self.state.lock();
        state.reached = state.reached.max(last);
    }

    /// Writes the mark when it has moved.
    pub(super) fn save(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        match state.reached {
            Some(reached) if state.reached != state.saved => {
                self.write(&reached)?;
                state.saved = Some(reached);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes the mark back before entries are cut off.
    pub(super) fn lower(&self, to: Option<LogId>) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.reached <= to && state.saved <= to {
            return Ok(());
        }
        match &to {
            Some(id) => self.write(id)?,
            None if self.path.exists() => fs::remove_file(&self.path)?,
            None => {}
        }
        *state = Known {
            reached: to,
            saved: to,
        };
        Ok(())
    }

    fn write(&self, id: &LogId) -> io::Result<()> {
        let ((term, node), index) = to_wal(id);
        let bytes = serde_json::to_vec(&OnDisk {
            term,
            node,
            index,
            crc32c: OnDisk::sum(term, node, index),
        })?;
        let draft = self.path.with_extension("tmp");
        let mut file = fs::File::create(&draft)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        match self.path.parent() {
            Some(folder) => fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}
