//! A PostgreSQL instance as its host's owner sees it: pid, socket, superuser's questions, sudden death.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tokio::process::Command;

use crate::os::{self, Seen};

/// The agent's own role, which only the socket lets in.
const SUPERUSER: &str = "ctl_agent";
const PATIENCE: Duration = Duration::from_secs(10);

/// One instance.
#[derive(Clone, Debug)]
pub struct Postgres {
    name: String,
    data_dir: PathBuf,
    socket_dir: PathBuf,
    port: u16,
    advertised_port: u16,
}

impl Postgres {
    pub(crate) fn new(name: &str, data_dir: PathBuf, socket_dir: PathBuf, port: u16, hop: u16) -> Postgres {
        Postgres {
            name: name.to_owned(),
            data_dir,
            socket_dir,
            port,
            advertised_port: hop,
        }
    }

    /// Its own port, behind no hop.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port that resolutions name: a hop's.
    pub fn advertised_port(&self) -> u16 {
        self.advertised_port
    }

    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A command line that opens it as its owner, over the socket.
    pub fn psql_hint(&self) -> String {
        let user = if os::is_root() {
            format!(
                "setpriv --reuid {0} --regid {0} --init-groups ",
                os::POSTGRES_USER
            )
        } else {
            String::new()
        };
        format!(
            "{user}psql -h {} -p {} -U {SUPERUSER} postgres",
            self.socket_dir.display(),
            self.port
        )
    }

    /// The postmaster's number; none while it is down.
    pub fn pid(&self) -> Option<i32> {
        postmaster(&self.data_dir).map(|seen| seen.pid)
    }

    /// SIGKILL to the postmaster; its children notice and leave.
    pub fn kill9(&self) -> Result<()> {
        let postmaster = postmaster(&self.data_dir).with_context(|| format!("{} is down", self.name))?;
        postmaster.signal(Signal::KILL);
        ensure!(postmaster.wait_gone(PATIENCE), "{} survived SIGKILL", self.name);
        Ok(())
    }

    /// A shutdown that waits for nobody and needs no recovery afterwards.
    pub(crate) fn stop_fast(&self) {
        if let Some(postmaster) = postmaster(&self.data_dir) {
            postmaster.signal(Signal::INT);
            if !postmaster.wait_gone(PATIENCE) {
                tracing::warn!(instance = self.name, "did not shut down and is ended at once");
                postmaster.signal(Signal::QUIT);
                postmaster.wait_gone(PATIENCE);
            }
        }
    }

    /// Asks as the operating system's owner of the instance, over its socket: no network, no password.
    /// Rows come back one per line, columns parted by `|`.
    pub async fn ask(&self, database: &str, sql: &str) -> Result<String> {
        let mut command = match os::is_root() {
            true => {
                let mut command = Command::new("setpriv");
                let user = os::POSTGRES_USER;
                command.args(["--reuid", user, "--regid", user, "--init-groups", "--", "psql"]);
                command
            }
            false => Command::new("psql"),
        };
        command
            .args([
                "-X",
                "-A",
                "-t",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                SUPERUSER,
                "-d",
                database,
            ])
            .args(["-p", &self.port.to_string(), "-c", sql])
            .arg("-h")
            .arg(&self.socket_dir)
            .current_dir("/")
            .kill_on_drop(true);
        let output = command.output().await.context("starting psql")?;
        if !output.status.success() {
            bail!(
                "{}: {}",
                self.name,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// The postmaster of a data folder, by the file it keeps there.
pub(crate) fn postmaster(data_dir: &Path) -> Option<Seen> {
    let text = std::fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    // The file outlives a killed postmaster, and its number may be another's by now.
    let own = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    let is_its_own = own == std::fs::canonicalize(data_dir).ok()?;
    Seen::of(pid).filter(|_| is_its_own)
}
