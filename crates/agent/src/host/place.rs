//! Files and folders of the instance, owned by the user it runs as.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, fchown};
use std::path::Path;

use super::Error;

/// The OS user that PostgreSQL runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Unset: the same user as this process.
    pub(super) ids: Option<(u32, u32)>,
    pub(super) name: String,
}

const USER_DEFAULT: &str = "postgres";

impl Owner {
    /// PostgreSQL refuses root: then it runs as the named user, or as "postgres".
    pub(super) fn find(run_as: Option<&str>) -> Result<Owner, Error> {
        let me = rustix::process::geteuid();
        if !me.is_root() {
            return Ok(Owner {
                ids: None,
                name: user_of(me.as_raw())?,
            });
        }
        let name = run_as.unwrap_or(USER_DEFAULT);
        let users = fs::read_to_string("/etc/passwd")?;
        let ids = users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.first() == Some(&name))
                .then(|| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))?
        });
        match ids {
            Some((0, _)) | None => Err(Error::permanent(
                "RUN_AS",
                format!("postgres.run_as: {name} is no unprivileged user here"),
            )),
            Some(ids) => Ok(Owner {
                ids: Some(ids),
                name: name.to_owned(),
            }),
        }
    }

    /// Names that may come in over the socket as ctl_agent.
    pub(super) fn peers(&self) -> Result<Vec<String>, Error> {
        let mut peers = vec![user_of(rustix::process::geteuid().as_raw())?, self.name.clone()];
        peers.sort();
        peers.dedup();
        Ok(peers)
    }

    /// Makes a folder that the instance owns.
    pub(super) fn folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        self.give(path)
    }

    /// Replaces a file whole: beside, synced, owned, renamed, folder synced.
    pub(super) fn file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let draft = path.with_extension("draft");
        // The folder is the other user's: a draft that stands there, or a link, is not written through.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        if let Some((uid, gid)) = self.ids {
            fchown(&file, Some(uid), Some(gid))?;
        }
        fs::rename(&draft, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        match self.ids {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }
}

fn user_of(uid: u32) -> Result<String, Error> {
    let users = fs::read_to_string("/etc/passwd")?;
    let known = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id == uid.to_string()).then(|| name.to_owned())
    });
    known.ok_or_else(|| Error::permanent("RUN_AS", format!("user {uid} has no name on this machine")))
}
