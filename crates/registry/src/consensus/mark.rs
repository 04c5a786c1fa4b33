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
    /// Grows when entries are cut off: what was flushed before that may be gone.
    cuts: u64,
}

/// The end of the log as a flush began.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    last: Option<LogId>,
    cuts: u64,
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
                cuts: 0,
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

    /// The end that a flush which begins now will make durable.
    pub(super) fn end(&self, last: Option<LogId>) -> End {
        End {
            last,
            cuts: self.state.lock().cuts,
        }
    }

    /// A flush is over. One that began before entries were cut off says nothing any more.
    pub(super) fn reached(&self, end: End) {
        let mut state = self.state.lock();
        if end.cuts == state.cuts {
            state.reached = state.reached.max(end.last);
        }
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
        state.cuts += 1;
        if state.reached <= to && state.saved <= to {
            return Ok(());
        }
        match &to {
            Some(id) => self.write(id)?,
            None if self.path.exists() => fs::remove_file(&self.path)?,
            None => {}
        }
        (state.reached, state.saved) = (to, to);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_that_began_before_a_cut_does_not_raise_the_mark() {
        let folder = tempfile::tempdir().unwrap();
        let mark = Mark::open(folder.path()).unwrap();
        let early = mark.end(Some(log_id(1, 1, 20)));
        mark.lower(Some(log_id(1, 1, 10))).unwrap();
        mark.reached(early);
        mark.save().unwrap();
        assert!(
            Mark::open(folder.path())
                .unwrap()
                .check(Some(&log_id(1, 1, 10)))
                .is_ok()
        );
        mark.reached(mark.end(Some(log_id(2, 1, 12))));
        mark.save().unwrap();
        let again = Mark::open(folder.path()).unwrap();
        assert!(again.check(Some(&log_id(2, 1, 12))).is_ok());
        assert!(
            again.check(Some(&log_id(1, 1, 30))).is_err(),
            "an older term is not further"
        );
        assert!(again.check(None).is_err());
    }

    #[test]
    fn a_mark_that_was_changed_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let mark = Mark::open(folder.path()).unwrap();
        mark.reached(mark.end(Some(log_id(1, 1, 20))));
        mark.save().unwrap();
        let path = folder.path().join("durable.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("20", "2")).unwrap();
        assert!(
            Mark::open(folder.path())
                .err()
                .unwrap()
                .to_string()
                .contains("damaged")
        );
    }
}
