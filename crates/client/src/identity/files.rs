//! The files of an identity: chain, key, and the root that is trusted.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use reeve_proto::identity::Credentials;
use tracing::warn;

use crate::{Api, Error};

/// Where a service's certificate is kept, and the next one put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    chain: PathBuf,
    key: PathBuf,
    root: PathBuf,
}

/// Who renews now, of all processes with the same files.
pub(super) enum Turn {
    /// This process, until the file is dropped.
    Ours {
        _lock: File,
    },
    Anothers,
    /// Nothing can be written there; what is renewed is kept in memory alone.
    Nobodys,
}

impl IdentityFiles {
    /// The certificate chain, its key and the cluster's root certificate, all PEM.
    pub fn new(
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        root: impl Into<PathBuf>,
    ) -> IdentityFiles {
        IdentityFiles {
            chain: chain.into(),
            key: key.into(),
            root: root.into(),
        }
    }

    /// `client.crt`, `client.key` and `root.crt` in a folder, as `reeve cluster enroll` leaves them.
    pub fn in_folder(folder: impl AsRef<Path>) -> IdentityFiles {
        let file = |name| folder.as_ref().join(name);
        IdentityFiles::new(file("client.crt"), file("client.key"), file("root.crt"))
    }

    /// Renews the certificate at half of its life, for ever: what is in use, and these files. Done at once when it is no
    /// service's.
    pub async fn keep_fresh(self, api: Api, credentials: Credentials) {
        super::keep_fresh(api, credentials, Some(self)).await;
    }

    /// Reads them; a renewal that was cut off in between is completed first.
    pub fn credentials(&self) -> Result<Credentials, Error> {
        let read = || Credentials::from_files(&self.chain, &self.key, &self.root);
        // Once more, because both may have been replaced between reading one and the other.
        read().or_else(|_| read()).or_else(|error| {
            // The chain is put in its place before the key.
            let next = next_of(&self.key);
            let whole = Credentials::from_files(&self.chain, &next, &self.root);
            let completed = whole.ok().filter(|_| fs::rename(&next, &self.key).is_ok());
            completed.ok_or_else(|| unusable(&error))
        })
    }

    pub(super) fn turn(&self) -> Turn {
        let mut path = self.chain.clone().into_os_string();
        path.push(".lock");
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let locked = opened
            .map_err(TryLockError::Error)
            .and_then(|file| file.try_lock().map(|()| file));
        match locked {
            Ok(file) => Turn::Ours { _lock: file },
            Err(TryLockError::WouldBlock) => Turn::Anothers,
            Err(TryLockError::Error(error)) => {
                warn!(%error, chain = %self.chain.display(), "a renewed certificate cannot be kept on disk");
                Turn::Nobodys
            }
        }
    }

    /// Takes what is on disk, when that lasts longer than what is in use.
    pub(super) fn take_newer(&self, held: &Credentials) -> Result<bool, Error> {
        let there = self.credentials()?;
        let is_newer = there.not_after() > held.not_after();
        if is_newer {
            held.replace_with(&there).map_err(|error| unusable(&error))?;
        }
        Ok(is_newer)
    }

    /// Puts the next ones in place: both are on disk before the first is renamed.
    pub(super) fn write(&self, chain: &str, key: &str) -> Result<(), Error> {
        let files = [(&self.key, key), (&self.chain, chain)];
        let written = files
            .iter()
            .try_for_each(|(path, text)| fill(&next_of(path), path, text));
        let renamed = written.and_then(|()| {
            fs::rename(next_of(&self.chain), &self.chain)?;
            match fs::rename(next_of(&self.key), &self.key) {
                // Who read them in between has completed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                renamed => renamed,
            }
        });
        renamed.map_err(|error| Error::Invalid {
            what: "identity",
            why: format!("{} could not be written: {error}", self.chain.display()),
        })
    }
}

fn next_of(path: &Path) -> PathBuf {
    let mut next = OsString::from(path);
    next.push(".next");
    next.into()
}

/// What an earlier process left there is no file that we would go on with.
fn fill(path: &Path, beside: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    // Whoever may read it now may read the next one: a root that renews takes it from nobody.
    let (before, now) = (fs::metadata(beside)?, file.metadata()?);
    if (before.uid(), before.gid()) != (now.uid(), now.gid()) {
        fchown(&file, Some(before.uid()), Some(before.gid()))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn unusable(error: &reeve_proto::identity::credentials::Error) -> Error {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let why = causes.fold(error.to_string(), |why, cause| format!("{why}: {cause}"));
    Error::Invalid {
        what: "identity",
        why,
    }
}
