//! How far the log is known to be durable, in a file of its own: a log that ends earlier was rolled back.
//!
//! The vote is in it, too: a node that forgets a vote may give it twice.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::folder::REJOIN;
use super::types::{LogId, log_id};
use super::wal::{WalVote, to_wal};

/// The durable mark.
pub(super) struct Mark {
    path: PathBuf,
    state: Mutex<Known>,
    /// Held while the file is written, so that nobody waits for the disk who only says how far it got.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Known {
    reached: Far,
    saved: Far,
    /// Grows when entries are cut off: what was flushed before that may be gone.
    cuts: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Far {
    last: Option<LogId>,
    vote: Option<WalVote>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vote: Option<WalVote>,
    crc32c: u32,
}

impl OnDisk {
    fn of(id: &LogId, vote: Option<WalVote>) -> OnDisk {
        let ((term, node), index) = to_wal(id);
        let crc32c = OnDisk::sum(term, node, index, vote);
        OnDisk {
            term,
            node,
            index,
            vote,
            crc32c,
        }
    }

    fn sum(term: u64, node: u64, index: u64, vote: Option<WalVote>) -> u32 {
        let mut text = format!("{term}/{node}/{index}");
        if let Some(((term, node), committed)) = vote {
            text += &format!("/{term}/{node}/{committed}");
        }
        crc32c::crc32c(text.as_bytes())
    }
}

impl Mark {
    pub(super) fn open(folder: &Path) -> io::Result<Mark> {
        let path = folder.join("durable.json");
        let saved = match fs::read(&path) {
            Ok(bytes) => Mark::parse(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Far::default(),
            Err(error) => return Err(error),
        };
        let known = Known {
            reached: saved,
            saved,
            cuts: 0,
        };
        Ok(Mark {
            path,
            state: Mutex::new(known),
            writing: Mutex::new(()),
        })
    }

    fn parse(path: &Path, bytes: &[u8]) -> io::Result<Far> {
        let damaged = |where_: String| {
            let why = format!("{} is damaged: {where_}; {REJOIN}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        let read: OnDisk = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let sum = OnDisk::sum(read.term, read.node, read.index, read.vote);
        if read.crc32c != sum {
            let all = bytes.len();
            return Err(damaged(format!(
                "the sum of its {all} bytes is {sum}, and it says {}",
                read.crc32c
            )));
        }
        Ok(Far {
            last: Some(log_id(read.term, read.node, read.index)),
            vote: read.vote,
        })
    }

    /// Refuses a log that ends, or a vote that stands, before the mark.
    pub(super) fn check(&self, last: Option<&LogId>, vote: Option<&WalVote>) -> io::Result<()> {
        let saved = self.state.lock().saved;
        let refused = |what: String| {
            let path = self.path.display();
            let why =
                format!("{what}, and {path} says otherwise: the folder was rolled back or damaged; {REJOIN}");
            Err(io::Error::new(io::ErrorKind::InvalidData, why))
        };
        let index = |id: Option<&LogId>| id.map(|id| id.index);
        // Entries are cut off only after the mark was lowered, so fewer of them are too few in any term.
        if saved.last.as_ref() > last || index(saved.last.as_ref()) > index(last) {
            let (is, was) = (index(last), index(saved.last.as_ref()));
            return refused(format!("the log ends at {is:?}, {was:?} was durable"));
        }
        if saved.vote.as_ref() > vote {
            return refused(format!("the last vote is {vote:?}, {:?} was durable", saved.vote));
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
            state.reached.last = state.reached.last.max(end.last);
        }
    }

    /// A vote is durable.
    pub(super) fn voted(&self, vote: WalVote) {
        let mut state = self.state.lock();
        state.reached.vote = state.reached.vote.max(Some(vote));
    }

    /// Writes the mark when it has moved.
    pub(super) fn save(&self) -> io::Result<()> {
        let _alone = self.writing.lock();
        let (reached, saved) = {
            let state = self.state.lock();
            (state.reached, state.saved)
        };
        // A vote without an entry is the vote of a node that has promised nothing yet.
        let Some(last) = reached.last.filter(|_| reached != saved) else {
            return Ok(());
        };
        self.write(&OnDisk::of(&last, reached.vote))?;
        self.state.lock().saved = reached;
        Ok(())
    }

    /// Takes the mark back before entries are cut off.
    pub(super) fn lower(&self, to: Option<LogId>) -> io::Result<()> {
        let _alone = self.writing.lock();
        let vote = {
            let mut state = self.state.lock();
            state.cuts += 1;
            if state.reached.last <= to && state.saved.last <= to {
                return Ok(());
            }
            state.reached.last = to;
            state.reached.vote
        };
        match &to {
            Some(id) => self.write(&OnDisk::of(id, vote))?,
            None if self.path.exists() => fs::remove_file(&self.path)?,
            None => {}
        }
        self.sync_folder()?;
        self.state.lock().saved = Far {
            last: to,
            vote: to.and(vote),
        };
        Ok(())
    }

    fn write(&self, mark: &OnDisk) -> io::Result<()> {
        let draft = self.path.with_extension("tmp");
        let mut file = fs::File::create(&draft)?;
        file.write_all(&serde_json::to_vec(mark)?)?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)
    }

    /// A mark that rises may be forgotten in a power cut; one that was lowered may not.
    fn sync_folder(&self) -> io::Result<()> {
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
        let again = Mark::open(folder.path()).unwrap();
        assert!(again.check(Some(&log_id(1, 1, 10)), None).is_ok());
        mark.reached(mark.end(Some(log_id(2, 1, 12))));
        mark.save().unwrap();
        let again = Mark::open(folder.path()).unwrap();
        assert!(again.check(Some(&log_id(2, 1, 12)), None).is_ok());
        assert!(
            again.check(Some(&log_id(1, 1, 30)), None).is_err(),
            "an older term is not further"
        );
        assert!(
            again.check(Some(&log_id(3, 1, 11)), None).is_err(),
            "a newer term is not longer"
        );
        assert!(again.check(None, None).is_err());
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
        let error = Mark::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("damaged"), "{error}");
    }

    #[test]
    fn a_vote_that_was_given_stands() {
        let folder = tempfile::tempdir().unwrap();
        let mark = Mark::open(folder.path()).unwrap();
        let last = log_id(1, 1, 20);
        mark.reached(mark.end(Some(last)));
        mark.voted(((3, 2), 0));
        mark.save().unwrap();
        mark.lower(Some(log_id(1, 1, 10))).unwrap();
        let again = Mark::open(folder.path()).unwrap();
        assert!(again.check(Some(&last), Some(&((3, 2), 0))).is_ok());
        assert!(again.check(Some(&last), Some(&((3, 2), 1))).is_ok());
        for forgotten in [None, Some(((2, 3), 1))] {
            let error = again
                .check(Some(&last), forgotten.as_ref())
                .unwrap_err()
                .to_string();
            assert!(error.contains("the last vote"), "{error}");
        }
    }

    #[test]
    fn a_mark_without_a_vote_is_read_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let sum = crc32c::crc32c(b"1/2/30");
        let text = format!(r#"{{"term":1,"node":2,"index":30,"crc32c":{sum}}}"#);
        std::fs::write(folder.path().join("durable.json"), text).unwrap();
        let mark = Mark::open(folder.path()).unwrap();
        assert!(mark.check(Some(&log_id(1, 2, 30)), None).is_ok());
        assert!(mark.check(Some(&log_id(1, 2, 29)), None).is_err());
    }
}
