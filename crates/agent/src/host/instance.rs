//! The PostgreSQL process: made, started, adopted, stopped.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tracing::info;

use super::{Error, Host};

const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(30);
/// Newest first.
const VERSIONS: [&str; 4] = ["18", "17", "16", "15"];

/// Finds initdb and postgres.
pub(super) fn find_bin_dir(given: Option<&Path>) -> Result<PathBuf, Error> {
    let usual = VERSIONS.iter().flat_map(|v| {
        [
            PathBuf::from(format!("/usr/lib/postgresql/{v}/bin")),
            PathBuf::from(format!("/usr/pgsql-{v}/bin")),
        ]
    });
    let mut tried: Vec<PathBuf> = given
        .map(|dir| vec![dir.to_owned()])
        .unwrap_or_else(|| usual.collect());
    let found = tried
        .iter()
        .position(|dir| dir.join("postgres").is_file() && dir.join("initdb").is_file());
    match found {
        Some(at) => Ok(tried.swap_remove(at)),
        None => Err(Error::permanent(
            "NO_POSTGRES",
            "postgres.bin_dir: no PostgreSQL 15 to 18 was found; install it, or say where its bin folder is",
        )),
    }
}

impl Host {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.inner.bin_dir.join(program));
        if let Some((uid, gid)) = self.inner.owner.ids {
            command.uid(uid).gid(gid);
        }
        // The folder this process stands in may not be the other user's to enter.
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Makes a new instance in an empty folder, with checksums and SCRAM.
    pub(super) async fn make_if_empty(&self) -> Result<(), Error> {
        let data = &self.inner.settings.data_dir;
        if data.join("PG_VERSION").is_file() {
            return Ok(());
        }
        self.inner.owner.folder(data, 0o700)?;
        let made = self
            .command("initdb")
            .arg("-D")
            .arg(data)
            .args([
                "--data-checksums",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--username=ctl_agent",
            ])
            .args(["--auth-local=peer", "--auth-host=scram-sha-256"])
            .output()
            .await?;
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr);
            return Err(Error::permanent(
                "INITDB",
                format!("initdb failed: {}", why.trim()),
            ));
        }
        info!(folder = %data.display(), "a new PostgreSQL instance was made");
        Ok(())
    }

    /// Starts the instance unless it runs, and waits until it answers. One that an earlier life left is adopted.
    pub async fn ensure_running(&self) -> Result<(), Error> {
        let _turn = self.inner.turn.lock().await;
        if self.inner.stopping.load(Ordering::SeqCst) {
            return Ok(());
        }
        if self.postmaster().is_none() {
            self.spawn()?;
        }
        self.wait_until_up().await
    }

    fn spawn(&self) -> Result<(), Error> {
        let data = &self.inner.settings.data_dir;
        fs::create_dir_all(&self.inner.settings.state_dir)?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.inner.settings.state_dir.join("postgres.log"))?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(data).stdout(log.try_clone()?).stderr(log);
        // A group of its own: what ends the agent does not end the database.
        command.process_group(0);
        let child = command.spawn()?;
        *self.inner.child.lock() = Some(child);
        self.inner.starts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The postmaster's process, when it lives.
    fn postmaster(&self) -> Option<Pid> {
        // Our own child may have died and wait to be collected.
        if let Some(child) = self.inner.child.lock().as_mut() {
            let _ = child.try_wait();
        }
        let text = fs::read_to_string(self.inner.settings.data_dir.join("postmaster.pid")).ok()?;
        let raw: i32 = text.lines().next()?.trim().parse().ok()?;
        let pid = Pid::from_raw(raw)?;
        // "pid (comm) state …": the number may belong to somebody else by now, or to one that is dead and not
        // collected yet.
        let stat = fs::read_to_string(format!("/proc/{raw}/stat")).ok()?;
        let (name, state) = stat.rsplit_once(')')?;
        let lives = !matches!(state.trim_start().chars().next(), Some('Z' | 'X'));
        (lives && name.ends_with("(postgres")).then_some(pid)
    }

    /// Has the postmaster read its files again.
    pub(super) fn signal_reload(&self) -> Result<(), Error> {
        match self.postmaster() {
            Some(pid) => Ok(kill_process(pid, Signal::HUP).map_err(std::io::Error::from)?),
            None => Err(Error::retry("HBA", "PostgreSQL is down")),
        }
    }

    /// Waits until it answers. One that ends at once is started again: what a killed postmaster left behind holds
    /// its memory for a moment.
    async fn wait_until_up(&self) -> Result<(), Error> {
        let look = async {
            loop {
                if self.control("postgres").await.is_ok() {
                    return Ok(());
                }
                if self.postmaster().is_none() && self.has_ended() {
                    self.spawn()?;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        match tokio::time::timeout(START_MAX, look).await {
            Ok(result) => result,
            Err(_) => {
                let log = self.inner.settings.state_dir.join("postgres.log");
                Err(Error::retry(
                    "START",
                    format!("PostgreSQL did not answer in time; see {}", log.display()),
                ))
            }
        }
    }

    /// Whether the process that this life started is over.
    fn has_ended(&self) -> bool {
        let mut child = self.inner.child.lock();
        child
            .as_mut()
            .is_none_or(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    /// Stops the instance: sessions are ended, a checkpoint is made.
    pub async fn stop(&self) -> Result<(), Error> {
        self.inner.stopping.store(true, Ordering::SeqCst);
        let _turn = self.inner.turn.lock().await;
        let Some(pid) = self.postmaster() else {
            return Ok(());
        };
        kill_process(pid, Signal::INT).map_err(std::io::Error::from)?;
        let look = async {
            while self.postmaster().is_some() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        match tokio::time::timeout(STOP_MAX, look).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::retry("STOP", "PostgreSQL did not stop in time")),
        }
    }

    /// Has PostgreSQL take new certificate files.
    pub async fn reload_tls(&self) -> Result<(), Error> {
        self.place_tls()?;
        let mut session = self.control("postgres").await?;
        sqlx::query("SELECT pg_reload_conf()")
            .execute(&mut session)
            .await?;
        Ok(())
    }
}
