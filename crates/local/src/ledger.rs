//! What runs for whom, on disk, so that the next fleet ends what a killed owner left behind.
//!
//! One file per owner, in a folder that only this user can write. A live owner's file is left alone.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::os::{self, Seen};
use crate::postgres;

const PATIENCE: Duration = Duration::from_secs(5);

/// The page of one owner.
#[derive(Debug, Serialize, Deserialize)]
struct Page {
    owner: Seen,
    /// Removed with everything in it when it was meant for one run only.
    dir: PathBuf,
    is_temporary: bool,
    processes: BTreeMap<String, Seen>,
    /// Data folders of PostgreSQL instances, which outlive their agents.
    postgres: Vec<PathBuf>,
}

/// This fleet's page.
pub(crate) struct Ledger {
    path: PathBuf,
    page: Mutex<Page>,
}

impl Ledger {
    /// Ends what dead owners left, and opens a page for a fleet in `dir`.
    pub(crate) fn open(dir: &Path, is_temporary: bool) -> Result<Ledger> {
        let folder = folder()?;
        reap(&folder)?;
        let owner = Seen::own().context("this process is not in /proc")?;
        let path = folder.join(format!("{}-{:08x}.json", owner.pid, rand::random::<u32>()));
        let page = Page {
            owner,
            dir: dir.to_owned(),
            is_temporary,
            processes: BTreeMap::new(),
            postgres: Vec::new(),
        };
        let ledger = Ledger {
            path,
            page: Mutex::new(page),
        };
        ledger.write(|_| {})?;
        Ok(ledger)
    }

    /// Writes down that a process runs.
    pub(crate) fn running(&self, name: &str, process: Seen) -> Result<()> {
        self.write(|page| {
            page.processes.insert(name.to_owned(), process);
        })
    }

    /// Writes down where a PostgreSQL instance lives, before it is first started.
    pub(crate) fn postgres(&self, data_dir: &Path) -> Result<()> {
        self.write(|page| page.postgres.push(data_dir.to_owned()))
    }

    /// Ends everything on the page, blocking, and closes it; the folder may be kept for whoever looks into it.
    pub(crate) fn close(&self, is_kept: bool) {
        let mut page = self.page.lock();
        page.is_temporary &= !is_kept;
        page.end();
        // A page that cannot be removed names only dead processes; the next reap takes it.
        fs::remove_file(&self.path).ok();
    }

    fn write(&self, change: impl FnOnce(&mut Page)) -> Result<()> {
        let mut page = self.page.lock();
        change(&mut page);
        let text = serde_json::to_string_pretty(&*page)?;
        let fresh = self.path.with_extension("new");
        os::write_secret(&fresh, &text)?;
        fs::rename(&fresh, &self.path).with_context(|| format!("renaming to {}", self.path.display()))
    }
}

impl Page {
    fn end(&mut self) {
        for process in self.processes.values() {
            process.signal(Signal::KILL);
        }
        let postmasters: Vec<Seen> = self
            .postgres
            .iter()
            .filter_map(|dir| postgres::postmaster(dir))
            .collect();
        for postmaster in &postmasters {
            // An immediate shutdown: its children leave with it, and its shared memory too.
            postmaster.signal(Signal::QUIT);
        }
        for process in self.processes.values().chain(&postmasters) {
            if !process.wait_gone(PATIENCE) {
                process.signal(Signal::KILL);
                process.wait_gone(PATIENCE);
            }
        }
        self.processes.clear();
        if self.is_temporary {
            // What cannot be removed is in the system's folder for temporary files.
            fs::remove_dir_all(&self.dir).ok();
        }
    }
}

pub(crate) fn folder() -> Result<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let folder = std::env::temp_dir().join(format!("reeve-local-{uid}"));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.with_context(|| format!("making {}", folder.display()))?;
    let found = fs::symlink_metadata(&folder)?;
    // Its pages say which processes to kill: nobody else may write them.
    ensure!(
        found.is_dir() && found.uid() == uid && found.mode() & 0o077 == 0,
        "{} belongs to somebody else or lets others in; remove it",
        folder.display()
    );
    Ok(folder)
}

fn reap(folder: &Path) -> Result<()> {
    for file in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = file?.path();
        let page = fs::read_to_string(&path)
            .ok()
            .and_then(|text| serde_json::from_str::<Page>(&text).ok());
        match page {
            Some(page) if page.owner.is_alive() => {}
            Some(mut page) => {
                tracing::info!(dir = %page.dir.display(), "ending what an earlier fleet left running");
                page.end();
                fs::remove_file(&path).ok();
            }
            // Half a page is being written by its owner, or was when that died: its last whole page counts.
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_owners_processes_are_ended_and_a_live_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut children: Vec<_> = (0..2)
            .map(|_| std::process::Command::new("sleep").arg("60").spawn().unwrap())
            .collect();
        let seen: Vec<Seen> = children
            .iter()
            .map(|c| Seen::of(i32::try_from(c.id()).unwrap()).unwrap())
            .collect();
        let mut owner = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let dead = Seen::of(i32::try_from(owner.id()).unwrap()).unwrap();
        owner.kill().unwrap();
        owner.wait().unwrap();
        for (owner, child, file) in [
            (dead, seen[0], "a.json"),
            (Seen::own().unwrap(), seen[1], "b.json"),
        ] {
            let page = Page {
                owner,
                dir: dir.path().join(file),
                is_temporary: true,
                processes: [("sleep".to_owned(), child)].into(),
                postgres: vec![dir.path().join("no-such-cluster")],
            };
            fs::write(folder.path().join(file), serde_json::to_string(&page).unwrap()).unwrap();
        }
        reap(folder.path()).unwrap();
        assert!(!seen[0].is_alive() && seen[1].is_alive());
        assert!(!folder.path().join("a.json").exists() && folder.path().join("b.json").exists());
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
