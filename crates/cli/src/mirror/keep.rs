//! Writing the file, once or for as long as it is watched.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reeve_client::v1::watch_response::Event;
use reeve_client::{AnsweredBy, Api, v1};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Streaming};

use super::passwords::Passwords;
use super::roll::{Heard, Roll};
use super::then::Then;
use super::{Open, Plan, Shape};
use crate::fail::{Exit, Failure};
use crate::files;
use crate::session::Session;

/// A stream that says nothing for so long is given up; bookmarks come every second.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const BOOKMARK_EVERY: Duration = Duration::from_secs(1);
/// A node that has not heard a quorum for so long is left for another one.
const STALE_MAX: Duration = Duration::from_secs(10);
/// Between two looks at what is to be done beside listening.
const TICK: Duration = Duration::from_millis(500);
/// Before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(5);
/// Looks at a whole list before it is written without those whose passwords have just changed.
const LISTS_MAX: u32 = 10;

/// The file, and what stands in it.
struct Keeper<'a> {
    shape: Shape,
    plan: Plan,
    session: &'a Session,
    api: Api,
    roll: Roll,
    passwords: Passwords,
    then: Then,
    ca: PathBuf,
    text: Option<String>,
    /// When what could not be had is asked for again.
    retry: Option<Instant>,
    lists: u32,
}

pub(super) async fn run(shape: Shape, mut plan: Plan, session: &Session) -> Result<(), Failure> {
    let file = std::path::absolute(&plan.file);
    plan.file = file.map_err(|error| cannot_write(&plan.file, &error))?;
    let _only = plan.watch.then(|| lock(&plan.file)).transpose()?;
    let (api, fresh) = session.lasting()?;
    let mut keeper = Keeper {
        shape,
        session,
        api,
        roll: Roll::default(),
        passwords: Passwords::of(instance(&plan.file)),
        then: Then::of(plan.then.clone()),
        ca: beside(&plan.file, ".crt"),
        text: None,
        retry: None,
        lists: 0,
        plan,
    };
    if !keeper.plan.watch {
        return keeper.once().await;
    }
    let mut end = signal(SignalKind::terminate())
        .map_err(|error| Failure::error("signals cannot be listened to", error.to_string()))?;
    let fresh = tokio::spawn(fresh);
    let ended = tokio::select! {
        ended = keeper.watch() => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = end.recv() => Ok(()),
    };
    fresh.abort();
    ended
}

impl Keeper<'_> {
    /// Lists, and writes what was listed.
    async fn once(&mut self) -> Result<(), Failure> {
        loop {
            self.list().await?;
            let serving = self.roll.serving(&self.plan.tenants);
            if let Some(name) = self.roll.missing(&self.plan.tenants).first() {
                let what = format!("there is no tenant {name}");
                return Err(Failure::new(
                    Exit::NotFound,
                    what,
                    "or this identity may not see it",
                ));
            }
            if serving.is_empty() || serving.len() < self.plan.tenants.len() {
                let network = match self.plan.network.as_str() {
                    "" => "default",
                    name => name,
                };
                let why = format!("each must be active, and have an address in network {network}");
                return Err(Failure::new(Exit::Conflict, "not all of them serve", why));
            }
            self.write().await?;
            match self.retry {
                None => return Ok(()),
                Some(_) if self.lists > LISTS_MAX => return Err(silent()),
                Some(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Reads a stream until the roll is whole.
    async fn list(&mut self) -> Result<(), Failure> {
        self.roll = Roll::default();
        let (_, mut stream) = self.stream().await?;
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

    /// Follows for ever; ends when this identity may not, or the file cannot be written.
    async fn watch(&mut self) -> Result<(), Failure> {
        loop {
            if let Err(failure) = self.follow().await {
                if !matches!(failure.exit, Exit::Unavailable | Exit::NotFound | Exit::Conflict) {
                    return Err(failure);
                }
                let told = format!("{failure}\n  the file stays as it is; it is tried again");
                self.session.complain(&told);
            }
            sleep(PAUSE).await;
        }
    }

    async fn follow(&mut self) -> Result<(), Failure> {
        let (node, mut stream) = self.stream().await?;
        let (mut heard, mut vouched) = (Instant::now(), Instant::now());
        // What was heard before and not written is owed still.
        let mut is_behind = self.roll.revision() > 0;
        loop {
            let now = Instant::now();
            if is_behind || self.retry.is_some_and(|at| at <= now) {
                self.write().await?;
            }
            self.look_after().await?;
            is_behind = false;
            let event = match timeout(TICK, stream.message()).await {
                Ok(Ok(Some(message))) => message.event,
                // Another stream goes on where this one ended.
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(status)) => {
                    if status.code() == Code::Unavailable {
                        self.leave(node, "it cannot serve now");
                    }
                    return Ok(());
                }
                Err(_) if heard.elapsed() > SILENCE_MAX => {
                    self.leave(node, "it fell silent");
                    return Ok(());
                }
                Err(_) => continue,
            };
            heard = Instant::now();
            if let Some(Event::Bookmark(bookmark)) = &event {
                let has_heard = |freshness: &v1::Freshness| freshness.staleness.is_some() && !freshness.stale;
                if bookmark.freshness.as_ref().is_some_and(has_heard) {
                    vouched = heard;
                } else if vouched.elapsed() > STALE_MAX && self.roll.revision() > 0 {
                    self.leave(node, "it has not heard the others for too long");
                    return Ok(());
                }
            }
            is_behind = match self.roll.take(event) {
                Heard::Changed => true,
                Heard::Nothing => false,
                Heard::Again => return Ok(()),
            };
        }
    }

    async fn stream(&mut self) -> Result<(Option<AnsweredBy>, Streaming<v1::WatchResponse>), Failure> {
        let asked = v1::WatchRequest {
            after_revision: self.roll.revision(),
            network: self.plan.network.clone(),
            bookmark_interval: prost_types::Duration::try_from(BOOKMARK_EVERY).ok(),
        };
        let answer = self.api.resolver().watch(asked).await?;
        let node = answer.extensions().get::<AnsweredBy>().copied();
        self.roll.begins();
        Ok((node, answer.into_inner()))
    }

    /// Another node is asked next.
    fn leave(&self, node: Option<AnsweredBy>, why: &str) {
        if let Some(node) = node {
            let addr = self.api.channel().addr(node);
            self.session
                .say(&format!("node {addr} is left for another one: {why}"));
            self.api.channel().blame(node);
        }
    }

    /// Writes the file when it says something else now.
    async fn write(&mut self) -> Result<(), Failure> {
        self.retry = None;
        self.lists += 1;
        let serving = self.roll.serving(&self.plan.tenants);
        if let Err(failure) = self.passwords.fetch(&self.api, self.session, &serving).await {
            if failure.exit == Exit::Auth {
                let fix =
                    "use the identity of a service: `reeve cluster enroll`, with a token of --role service";
                return Err(failure.fix(fix));
            }
            self.retry = Some(Instant::now() + failure.pause.unwrap_or(RETRY));
            self.session.complain(&failure.to_string());
        }
        let fitting: Vec<_> = serving
            .iter()
            .filter_map(|of| self.passwords.fitting(of))
            .collect();
        if fitting.len() < serving.len() {
            // Its password is changing this moment, or this list is an old one.
            self.retry.get_or_insert(Instant::now() + PAUSE);
            if self.text.is_none() && self.lists <= LISTS_MAX {
                return Ok(());
            }
        }
        let mut text = (self.shape.head)(&self.ca);
        let mut tenants = 0;
        for (resolution, password) in fitting {
            let Some(write) = &resolution.write else {
                continue;
            };
            let open = Open {
                resolution,
                write,
                password,
            };
            match (self.shape.entry)(&open, &self.ca) {
                Ok(entry) => {
                    text.push_str(&entry);
                    tenants += 1;
                }
                Err(odd) => self
                    .session
                    .complain(&format!("{} is left out: {odd}", resolution.slug)),
            }
        }
        if self.text.as_ref() != Some(&text) {
            let authorities = authorities(&serving);
            // An empty one would verify nobody, and pgbouncer would not start with it.
            if !authorities.is_empty() {
                put(&self.ca, &authorities)?;
            }
            put(&self.plan.file, &text)?;
            self.text = Some(text);
            self.then.owe(Instant::now());
            let noun = if tenants == 1 { "tenant" } else { "tenants" };
            let told = format!("wrote {}: {tenants} {noun}", self.plan.file.display());
            self.session.say(&told);
        }
        self.passwords.written(&serving);
        Ok(())
    }

    /// What follows a written file: the command, and when that has succeeded and the time is over, the acknowledgements.
    async fn look_after(&mut self) -> Result<(), Failure> {
        if let Some(why) = self.then.look(Instant::now()).await {
            let told = format!("--then failed: {why}\n  it is tried again; nothing is acknowledged before");
            self.session.complain(&told);
        }
        if self.then.is_settled() {
            self.passwords.settled(Instant::now() + self.plan.drain);
        }
        self.passwords
            .acknowledge(&self.api, self.session, Instant::now())
            .await
    }
}

/// One process keeps a file: what another one writes is not what this one has acknowledged.
fn lock(file: &Path) -> Result<File, Failure> {
    let path = beside(file, ".lock");
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let held = opened.map_err(|error| cannot_write(&path, &error))?;
    match held.try_lock() {
        Ok(()) => Ok(held),
        Err(TryLockError::WouldBlock) => {
            let what = format!("{} is kept already", file.display());
            Err(Failure::new(
                Exit::Conflict,
                what,
                "another process watches for it",
            ))
        }
        Err(TryLockError::Error(error)) => Err(cannot_write(&path, &error)),
    }
}

/// Every CA that signs a server of theirs.
fn authorities(serving: &[&v1::Resolution]) -> String {
    let mut all: Vec<&str> = serving.iter().map(|of| of.server_ca_pem.trim()).collect();
    all.sort_unstable();
    all.dedup();
    all.iter().map(|pem| format!("{pem}\n")).collect()
}

/// The same name for the same file of the same machine, whichever process keeps it: who comes back goes on as the same
/// holder.
fn instance(file: &Path) -> String {
    let of = ["/etc/machine-id", "/proc/sys/kernel/hostname"]
        .map(|path| fs::read_to_string(path).unwrap_or_default());
    let hash = Sha256::digest(format!("{}\0{}\0{}", of[0].trim(), of[1].trim(), file.display()));
    format!("file-{}", hex::encode(&hash[..8]))
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(ending);
    path.into()
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
    fn a_file_is_the_same_holder_whoever_keeps_it_and_only_one_does() {
        let name = instance(Path::new("/etc/reeve.ini"));
        assert_eq!(name, instance(Path::new("/etc/reeve.ini")));
        assert_ne!(name, instance(Path::new("/etc/other.ini")));
        assert!(name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("reeve.ini");
        let held = lock(&file).unwrap();
        assert_eq!(lock(&file).unwrap_err().exit, Exit::Conflict);
        drop(held);
        lock(&file).unwrap();
    }
}
