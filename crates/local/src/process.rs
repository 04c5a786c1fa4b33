//! One child process: its command, its log file, and the ways to end, halt and restart it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use rustix::process::Signal;

use crate::ledger::Ledger;
use crate::os::Seen;
use crate::ready;

/// How long a process may take to leave after SIGTERM; then it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const LOG_LINES_SHOWN: usize = 12;

/// A program with its arguments, started again and again under one name.
pub(crate) struct Process {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    log: PathBuf,
    ledger: Arc<Ledger>,
    env: Mutex<Vec<(String, String)>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    child: Option<Child>,
    /// Whether it should run: a supervisor starts it again when it does not.
    is_wanted: bool,
    ended: Option<ExitStatus>,
}

impl Process {
    pub(crate) fn new(
        name: &str,
        program: &Path,
        args: Vec<OsString>,
        log: PathBuf,
        ledger: Arc<Ledger>,
    ) -> Process {
        Process {
            name: name.to_owned(),
            program: program.to_owned(),
            args,
            log,
            ledger,
            env: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// Variables that it is started with, beside this process's own.
    pub(crate) fn with_env(mut self, env: Vec<(String, String)>) -> Process {
        self.env = Mutex::new(env);
        self
    }

    /// Another value for one of them, from the next start on.
    pub(crate) fn set_env(&self, key: &str, value: &str) {
        let mut env = self.env.lock();
        env.retain(|(known, _)| known != key);
        env.push((key.to_owned(), value.to_owned()));
    }

    /// Starts it, in a process group of its own: a Ctrl-C at the terminal is for us to carry out.
    pub(crate) fn start(&self) -> Result<()> {
        self.start_in(&mut self.state.lock())
    }

    fn start_in(&self, state: &mut State) -> Result<()> {
        state.look();
        ensure!(state.child.is_none(), "{} runs already", self.name);
        let mut command = self.command(&self.args)?;
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("starting {}", self.program.display()))?;
        if let Some(seen) = i32::try_from(child.id()).ok().and_then(Seen::of) {
            self.ledger.running(&self.name, seen)?;
        }
        *state = State {
            child: Some(child),
            is_wanted: true,
            ended: None,
        };
        Ok(())
    }

    /// Runs the program to its end with other arguments, into the same log.
    pub(crate) async fn run_once(&self, args: Vec<OsString>) -> Result<()> {
        let mut command = tokio::process::Command::from(self.command(&args)?);
        let status = command.kill_on_drop(true).status().await;
        let status = status.with_context(|| format!("starting {}", self.program.display()))?;
        ensure!(
            status.success(),
            "{} {:?} ended with {status}\n{}",
            self.name,
            args,
            self.tail()
        );
        Ok(())
    }

    fn command(&self, args: &[OsString]) -> Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("opening {}", self.log.display()))?;
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .envs(self.env.lock().iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }

    pub(crate) fn is_running(&self) -> bool {
        let mut state = self.state.lock();
        state.look();
        state.child.is_some()
    }

    /// An error with the end of its log when it has died unasked.
    pub(crate) fn ensure_running(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.look();
        if let (None, Some(ended)) = (&state.child, state.ended) {
            bail!("{} ended with {ended}\n{}", self.name, self.tail());
        }
        Ok(())
    }

    /// Starts it again if it should run and does not.
    pub(crate) fn revive(&self) -> Result<bool> {
        let mut state = self.state.lock();
        state.look();
        let is_missed = state.is_wanted && state.child.is_none();
        if is_missed {
            self.start_in(&mut state)?;
        }
        Ok(is_missed)
    }

    /// Nobody wants it any more; what runs goes on until it is ended.
    pub(crate) fn retire(&self) {
        self.state.lock().is_wanted = false;
    }

    pub(crate) fn pid(&self) -> Option<i32> {
        self.state
            .lock()
            .child
            .as_ref()
            .and_then(|child| i32::try_from(child.id()).ok())
    }

    pub(crate) fn exit_code(&self) -> Option<i32> {
        let mut state = self.state.lock();
        state.look();
        state.ended.and_then(|status| status.code())
    }

    /// SIGKILL, and the certainty that it is gone.
    pub(crate) fn kill9(&self) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(mut child) = state.child.take() {
            child.kill().with_context(|| format!("killing {}", self.name))?;
            state.ended = Some(child.wait()?);
        }
        Ok(())
    }

    /// SIGTERM, patience, then SIGKILL. It stays away until it is started.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.stop_within(STOP_PATIENCE).await
    }

    async fn stop_within(&self, patience: Duration) -> Result<()> {
        self.retire();
        self.signal(Signal::CONT);
        self.signal(Signal::TERM);
        let left = ready::until("a process to leave", patience, async || {
            Ok((!self.is_running()).then_some(()))
        });
        if left.await.is_err() {
            tracing::warn!(process = self.name, "did not leave when asked and is killed");
            self.kill9()?;
        }
        Ok(())
    }

    /// Halts it where it stands, as a machine that hangs.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        if let Some(seen) = self.pid().and_then(Seen::of) {
            seen.signal(signal);
        }
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    pub(crate) fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
        format!("{}:\n  {}", self.log.display(), lines[from..].join("\n  "))
    }
}

impl State {
    /// Buries the child if it has died.
    fn look(&mut self) {
        if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
            self.child = None;
            self.ended = Some(status);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill9() {
            tracing::warn!(%error, "a process could not be ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (tempfile::TempDir, Process) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(&dir.path().join("fleet"), true).unwrap());
        let args = vec!["-c".into(), script.into()];
        let process = Process::new(
            "shell",
            Path::new("/bin/sh"),
            args,
            dir.path().join("log"),
            ledger,
        );
        (dir, process)
    }

    #[tokio::test]
    async fn a_process_that_is_wanted_is_revived_and_one_that_was_stopped_is_not() {
        let (_dir, process) = shell("exec sleep 60");
        process.start().unwrap();
        assert!(process.start().is_err(), "one at a time");
        assert!(!process.revive().unwrap(), "it runs");
        process.kill9().unwrap();
        assert!(!process.is_running());
        assert!(process.revive().unwrap() && process.is_running());
        process.stop().await.unwrap();
        assert!(!process.revive().unwrap() && !process.is_running());
    }

    #[tokio::test]
    async fn one_that_ignores_the_farewell_leaves_anyway() {
        let (_dir, process) = shell("trap '' TERM; echo deaf; while :; do sleep 0.05; done");
        process.start().unwrap();
        let heard = ready::until("the trap", STOP_PATIENCE, async || {
            Ok(process.tail().contains("deaf").then_some(()))
        });
        heard.await.unwrap();
        process.pause();
        process.resume();
        process.stop_within(Duration::from_millis(100)).await.unwrap();
        assert!(!process.is_running());
    }

    #[tokio::test]
    async fn one_that_dies_is_told_with_the_end_of_its_log() {
        let (_dir, process) = shell("echo no such file >&2; exit 3");
        process.start().unwrap();
        let dead = ready::until("its death", STOP_PATIENCE, async || {
            Ok(process.ensure_running().err())
        });
        let told = dead.await.unwrap().to_string();
        assert!(
            told.contains("exit status: 3") && told.contains("no such file"),
            "{told}"
        );
        let once = process
            .run_once(vec!["-c".into(), "echo bad token; exit 1".into()])
            .await;
        assert!(once.unwrap_err().to_string().contains("bad token"));
    }
}
