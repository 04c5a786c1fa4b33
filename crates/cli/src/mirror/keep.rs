//! Writing the file, once or for as long as it is watched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reeve_client::{Api, v1};
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};
use tonic::Streaming;

use super::passwords::Passwords;
use super::roll::{Heard, Roll};
use super::{Open, Plan, Shape};
use crate::fail::{Exit, Failure};
use crate::files;
use crate::session::Session;

/// A stream that says nothing for so long is given up; bookmarks come every second.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const BOOKMARK_EVERY: Duration = Duration::from_secs(1);
/// Before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
const THEN_PATIENCE: Duration = Duration::from_secs(60);

/// The file, and what stands in it.
struct Keeper<'a> {
    shape: Shape,
    plan: Plan,
    session: &'a Session,
    api: Api,
    roll: Roll,
    passwords: Passwords,
    ca: PathBuf,
    text: Option<String>,
    /// The command of --then has not succeeded since the file was last written.
    owes_then: bool,
}

pub(super) async fn run(shape: Shape, mut plan: Plan, session: &Session) -> Result<(), Failure> {
    let file = std::path::absolute(&plan.file);
    plan.file = file.map_err(|error| cannot_write(&plan.file, &error))?;
    let mut ca = plan.file.clone().into_os_string();
    ca.push(".crt");
    let (api, fresh) = session.lasting()?;
    let mut keeper = Keeper {
        api,
        passwords: Passwords::of(instance(&plan.file)),
        roll: Roll::default(),
        ca: ca.into(),
        text: None,
        owes_then: false,
        shape,
        plan,
        session,
    };
    if !keeper.plan.watch {
        keeper.listed().await?;
        return keeper.write().await;
    }
    let fresh = tokio::spawn(fresh);
    let ended = tokio::select! {
        ended = keeper.watch() => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    fresh.abort();
    ended
}

impl Keeper<'_> {
    /// Reads a stream until the roll is whole.
    async fn listed(&mut self) -> Result<(), Failure> {
        let mut stream = self.stream().await?;
        loop {
            let said = timeout(SILENCE_MAX, stream.message()).await;
            let message = said.map_err(|_| silent())??;
            match self.roll.take(message.ok_or_else(silent)?.event) {
                Heard::Changed => return Ok(()),
                Heard::Nothing => {}
                Heard::Again => return Err(silent()),
            }
        }
    }

    /// Follows for ever; ends when what is wrong does not mend by itself.
    async fn watch(&mut self) -> Result<(), Failure> {
        loop {
            if let Err(failure) = self.follow().await {
                if failure.exit != Exit::Unavailable {
                    return Err(failure);
                }
                let told = format!("{failure}\n  the file stays as it is; it is tried again");
                self.session.complain(&told);
            }
            sleep(PAUSE).await;
        }
    }

    async fn follow(&mut self) -> Result<(), Failure> {
        let mut stream = self.stream().await?;
        // What was heard before and not written is owed still.
        let mut is_behind = self.roll.revision() > 0;
        loop {
            if is_behind {
                self.write().await?;
            }
            self.settle().await?;
            // A stream that ends, breaks or falls silent is followed by another one, which says what is wrong if anything is.
            let Ok(Ok(Some(message))) = timeout(SILENCE_MAX, stream.message()).await else {
                return Ok(());
            };
            is_behind = match self.roll.take(message.event) {
                Heard::Changed => true,
                Heard::Nothing => false,
                Heard::Again => return Ok(()),
            };
        }
    }

    async fn stream(&mut self) -> Result<Streaming<v1::WatchResponse>, Failure> {
        let asked = v1::WatchRequest {
            after_revision: self.roll.revision(),
            network: self.plan.network.clone(),
            bookmark_interval: prost_types::Duration::try_from(BOOKMARK_EVERY).ok(),
        };
        let stream = self.api.resolver().watch(asked).await?.into_inner();
        self.roll.begins();
        Ok(stream)
    }

    /// Writes the file when it says something else now.
    async fn write(&mut self) -> Result<(), Failure> {
        let missing = self.roll.missing(&self.plan.tenants);
        if let (false, Some(name)) = (self.plan.watch, missing.first()) {
            let why = "or this identity may not see it";
            return Err(Failure::new(
                Exit::NotFound,
                format!("there is no tenant {name}"),
                why,
            ));
        }
        let serving = self.roll.serving(&self.plan.tenants);
        let fetched = self.passwords.fetch(&self.api, self.session, &serving).await;
        fetched.map_err(|failure| match failure.exit {
            Exit::Auth => failure
                .fix("use the identity of a service: `reeve cluster enroll`, with a token of --role service"),
            _ => failure,
        })?;
        let open: Vec<Open<'_>> = serving
            .iter()
            .filter_map(|of| {
                let (resolution, password) = self.passwords.fitting(of)?;
                let write = resolution.write.as_ref()?;
                Some(Open {
                    resolution,
                    write,
                    password,
                })
            })
            .collect();
        let odd = |odd: super::Odd| Failure::error("the file was not written", odd.to_string());
        let text = (self.shape)(&open, &self.ca).map_err(odd)?;
        let count = open.len();
        if self.text.as_ref() != Some(&text) {
            let authorities = authorities(&serving);
            put(&self.ca, &authorities)?;
            put(&self.plan.file, &text)?;
            self.text = Some(text);
            self.owes_then = self.plan.then.is_some();
            let tenants = if count == 1 {
                "1 tenant".to_owned()
            } else {
                format!("{count} tenants")
            };
            self.session
                .say(&format!("wrote {}: {tenants}", self.plan.file.display()));
        }
        self.passwords.written(&serving, Instant::now() + self.plan.drain);
        Ok(())
    }

    /// What follows a written file: the command, and when that has succeeded, the acknowledgements.
    async fn settle(&mut self) -> Result<(), Failure> {
        if let (true, Some(command)) = (self.owes_then, &self.plan.then) {
            match then(command).await {
                Ok(()) => self.owes_then = false,
                Err(why) => {
                    let told = format!(
                        "`{command}` failed: {why}\n  it is tried again; nothing is acknowledged before"
                    );
                    self.session.complain(&told);
                    return Ok(());
                }
            }
        }
        self.passwords
            .acknowledge(&self.api, self.session, Instant::now())
            .await
    }
}

/// Runs a command of the shell.
async fn then(command: &str) -> Result<(), String> {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    match timeout(THEN_PATIENCE, shell.status()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(status.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it took longer than {} s", THEN_PATIENCE.as_secs())),
    }
}

/// Every CA that signs a server of theirs.
fn authorities(serving: &[&v1::Resolution]) -> String {
    let mut all: Vec<&str> = serving.iter().map(|of| of.server_ca_pem.trim()).collect();
    all.sort_unstable();
    all.dedup();
    all.iter().map(|pem| format!("{pem}\n")).collect()
}

/// The same name for the same file, whichever process keeps it: who comes back goes on as the same holder.
fn instance(file: &Path) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hash = Sha256::digest(format!("{}\0{}", host.trim(), file.display()));
    format!("file-{}", hex::encode(&hash[..8]))
}

fn put(file: &Path, text: &str) -> Result<(), Failure> {
    files::write_secret(file, text).map_err(|error| cannot_write(file, &error))
}

fn cannot_write(file: &Path, error: &std::io::Error) -> Failure {
    Failure::error(
        format!("{} could not be written", file.display()),
        error.to_string(),
    )
}

fn silent() -> Failure {
    Failure::new(
        Exit::Unavailable,
        "the registry fell silent",
        "no node told all tenants",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_holder_whoever_keeps_it() {
        let name = instance(Path::new("/etc/reeve.ini"));
        assert_eq!(name, instance(Path::new("/etc/reeve.ini")));
        assert_ne!(name, instance(Path::new("/etc/other.ini")));
        assert!(name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    }

    #[tokio::test]
    async fn a_command_that_fails_says_how() {
        assert_eq!(then("exit 0").await, Ok(()));
        assert_eq!(then("exit 3").await, Err("exit status: 3".to_owned()));
    }
}
