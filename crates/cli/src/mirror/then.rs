//! The command that follows each change of the file: beside everything else, one at a time, until it has succeeded.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
/// After failures in a row the pauses double, up to this.
const PAUSE_MAX: Duration = Duration::from_secs(60);

pub struct Then {
    command: Option<String>,
    /// When it is due; none while nothing has changed since it succeeded.
    due: Option<Instant>,
    running: Option<JoinHandle<Result<(), String>>>,
    failed: u32,
}

impl Then {
    pub fn of(command: Option<String>) -> Then {
        Then {
            command,
            due: None,
            running: None,
            failed: 0,
        }
    }

    /// The file has changed.
    pub fn owe(&mut self, now: Instant) {
        if self.command.is_some() {
            self.due = Some(now);
        }
    }

    /// Whether whoever reads the file has been told of all that stands in it.
    pub fn is_settled(&self) -> bool {
        self.due.is_none() && self.running.is_none()
    }

    /// Looks after it, and waits for nothing; why it failed, when it has.
    pub async fn look(&mut self, now: Instant) -> Option<String> {
        let mut told = None;
        if let Some(running) = self.running.take_if(|running| running.is_finished()) {
            match running.await.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(()) => self.failed = 0,
                Err(why) => {
                    self.failed += 1;
                    let pause = Duration::from_secs(1).saturating_mul(1 << self.failed.min(10));
                    // What has changed meanwhile is due all the same.
                    self.due = Some(self.due.unwrap_or(now) + pause.min(PAUSE_MAX));
                    told = Some(why);
                }
            }
        }
        let is_due = self.running.is_none() && self.due.is_some_and(|due| due <= now);
        if let (true, Some(command)) = (is_due, &self.command) {
            self.due = None;
            self.running = Some(tokio::spawn(run(command.clone())));
        }
        told
    }
}

impl Drop for Then {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

/// All processes of the command end with it, however it ends.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Whoever is left of it; mostly nobody is.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn run(command: String) -> Result<(), String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).stdin(Stdio::null()).process_group(0);
    let mut child = shell.spawn().map_err(|error| error.to_string())?;
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let group = Group(pid);
    let ended = timeout(PATIENCE, child.wait()).await;
    match ended {
        Ok(Ok(status)) => {
            // What it left running in the background goes on.
            std::mem::forget(group);
            of(status)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it took longer than {} s", PATIENCE.as_secs())),
    }
}

fn of(status: ExitStatus) -> Result<(), String> {
    match (status.success(), status.signal()) {
        (true, _) => Ok(()),
        (false, Some(signal)) => Err(format!("signal {signal}")),
        (false, None) => Err(status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ended(then: &mut Then, now: Instant) -> Option<String> {
        loop {
            let told = then.look(now).await;
            if told.is_some() || then.running.is_none() {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn it_is_owed_until_it_succeeds_and_again_when_the_file_changes_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let (is_ready, runs) = (folder.path().join("ready"), folder.path().join("runs"));
        let command = format!(
            "echo >> {}; test -e {} || exit 3",
            runs.display(),
            is_ready.display()
        );
        let mut then = Then::of(Some(command));
        let now = Instant::now();
        assert!(then.is_settled());
        then.owe(now);
        assert!(!then.is_settled());
        assert_eq!(ended(&mut then, now).await.as_deref(), Some("exit status: 3"));
        assert_eq!(then.look(now).await, None, "it pauses");
        assert!(!then.is_settled() && then.running.is_none());
        std::fs::write(&is_ready, "").unwrap();
        let later = now + Duration::from_secs(2);
        then.look(later).await;
        // What changes while it runs is owed once more.
        then.owe(later);
        assert_eq!(ended(&mut then, later).await, None);
        assert!(then.is_settled());
        assert_eq!(std::fs::read_to_string(&runs).unwrap().lines().count(), 3);
    }

    #[tokio::test]
    async fn without_a_command_nothing_is_owed_and_one_that_is_killed_says_so() {
        let mut none = Then::of(None);
        none.owe(Instant::now());
        assert!(none.is_settled());
        assert_eq!(run("kill -9 $$".to_owned()).await, Err("signal 9".to_owned()));
    }
}
