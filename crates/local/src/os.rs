//! The few things asked of the operating system: files with a mode, processes by number, signals.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// The unprivileged user that PostgreSQL runs as when everything else is started by root.
pub(crate) const POSTGRES_USER: &str = "postgres";

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Writes a file that everyone may read, making its folder.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    write_mode(path, text, 0o644)
}

/// Writes a file that only its owner may read, making its folder.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    write_mode(path, text, 0o600)
}

fn write_mode(path: &Path, text: &str, mode: u32) -> Result<()> {
    let at = || format!("writing {}", path.display());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(at)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .with_context(at)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
        .with_context(at)?;
    file.write_all(text.as_bytes()).with_context(at)
}

/// Every folder above must let others pass, or the unprivileged user could not reach its data.
pub(crate) fn ensure_reachable(dir: &Path) -> Result<()> {
    for above in dir.ancestors() {
        let mode = fs::metadata(above)
            .with_context(|| format!("looking at {}", above.display()))?
            .mode();
        if mode & 0o001 == 0 {
            bail!(
                "{} lets nobody else pass, and PostgreSQL runs as {POSTGRES_USER}; choose another folder",
                above.display()
            );
        }
    }
    Ok(())
}

/// A process as it was seen: a number alone may belong to another by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    started: u64,
}

impl Seen {
    /// Looks at a process; none when there is no such process, or only its body awaiting burial.
    pub(crate) fn of(pid: i32) -> Option<Seen> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, so fields are counted behind its last bracket.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some(Seen { pid, started })
    }

    /// This process.
    pub(crate) fn own() -> Option<Seen> {
        Seen::of(i32::try_from(std::process::id()).ok()?)
    }

    pub(crate) fn is_alive(&self) -> bool {
        Seen::of(self.pid).as_ref() == Some(self)
    }

    /// Sends a signal, unless the process is gone.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_alive()) {
            // It may have ended since the look; that is what a signal to a dead process means.
            kill_process(pid, signal).ok();
        }
    }

    /// Waits, blocking, until it is gone; false when it is still there after the patience.
    pub(crate) fn wait_gone(&self, patience: std::time::Duration) -> bool {
        let until = std::time::Instant::now() + patience;
        while self.is_alive() {
            if std::time::Instant::now() >= until {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_number_and_birth() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let seen = Seen::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(seen.is_alive());
        assert!(
            !Seen {
                started: seen.started + 1,
                ..seen
            }
            .is_alive()
        );
        seen.signal(Signal::KILL);
        assert!(
            seen.wait_gone(std::time::Duration::from_secs(5)),
            "a dead child counts as gone"
        );
        child.wait().unwrap();
    }
}
