//! A node whose own data cannot be believed comes back as a new one: what it has is set aside, and it joins.
//!
//! ```text
//! lock ─► note (rejoin.json) ─► everything into quarantine-<time> ─► ask ─► the new id into the note ─► joined
//!                                                                                 └─ the old id counts as a former one
//! ```
//! The old id is never used again: what it voted and promised is what cannot be believed any more. Each step can be cut
//! off anywhere, and the same command goes on from there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};
use reeve_proto::identity::{Credentials, Kind};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::config::Config;
use crate::consensus::Consensus;
use crate::{files, join};

/// What was begun and has not ended.
const NOTE: &str = "rejoin.json";
/// Which ids this node had before.
pub const FORMER: &str = "former_ids.json";
const QUARANTINE: &str = "quarantine-";
/// It holds room and nothing else.
const BALLAST: &str = "ballast";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    was: Option<u64>,
    quarantine: String,
    former: BTreeSet<u64>,
    /// The new id, once it is known. Only an id that stands here was given to this rejoin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    joined: Option<u64>,
    /// Over all of it: whoever is told to remove the old id must be told the right one. Programs of before wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc32c: Option<u32>,
}

impl Note {
    fn sum(&self) -> u32 {
        let said = format!(
            "{:?}/{}/{:?}/{:?}",
            self.was, self.quarantine, self.former, self.joined
        );
        crc32c::crc32c(said.as_bytes())
    }

    fn write(&self, data_dir: &Path) -> anyhow::Result<()> {
        let crc32c = Some(self.sum());
        let whole = Note {
            crc32c,
            ..self.clone()
        };
        Ok(files::write(&data_dir.join(NOTE), &serde_json::to_vec(&whole)?)?)
    }

    /// Takes a new id. A token that was spent on a request is answered as it was the first time, so an old request
    /// would bring the old id back.
    fn accept(&self, data_dir: &Path, id: u64) -> anyhow::Result<()> {
        if self.was == Some(id) || self.former.contains(&id) {
            join::wipe_request(data_dir)?;
            bail!(
                "the token gives this node the id {id} again, which it had before: that token is spent; make another \
                 one with `reeve cluster join-token --role node`, and run `rejoin` again with it"
            );
        }
        let joined = Some(id);
        Note {
            joined,
            ..self.clone()
        }
        .write(data_dir)
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Rejoined {
    pub id: u64,
    /// Which node it was, if that can still be read.
    pub was: Option<u64>,
    /// Whether that one is still on the roll.
    pub is_listed: bool,
    pub quarantine: PathBuf,
}

/// Sets everything aside and joins with the token, as a new node.
pub async fn rejoin(config: &Config, token_file: &Path) -> anyhow::Result<Rejoined> {
    let data_dir = &config.data_dir;
    if !data_dir.is_dir() {
        bail!(
            "data_dir: {} is not there; a node without any data comes in by `join`",
            data_dir.display()
        );
    }
    let _alone = Consensus::lock_folder(data_dir).context("data_dir")?;
    // Whatever can be wrong with what was given is told before anything is moved.
    join::check(config, token_file)?;
    let (note, is_new) = match read_note(data_dir)? {
        Some(note) => (note, false),
        None => (begin(config)?, true),
    };
    let aside = data_dir.join(&note.quarantine);
    let joined = match join::known_id(data_dir) {
        // It had joined already, and was cut off then.
        Ok(Some(id)) if note.joined == Some(id) => {
            join::wipe_request(data_dir)?;
            join::Joined { id, roll: Vec::new() }
        }
        _ => {
            set_aside(data_dir, &aside, is_new)?;
            join::join_if(config, token_file, |id| note.accept(data_dir, id)).await?
        }
    };
    let former: BTreeSet<u64> = note.former.iter().copied().chain(note.was).collect();
    files::write(&data_dir.join(FORMER), &serde_json::to_vec(&former)?)?;
    fs::remove_file(data_dir.join(NOTE))?;
    File::open(data_dir)?.sync_all()?;
    Ok(Rejoined {
        id: joined.id,
        was: note.was,
        is_listed: note.was.is_some_and(|was| joined.roll.contains(&was)),
        quarantine: aside,
    })
}

/// The ids that this node had before: its configuration may still say one of them.
pub fn former(data_dir: &Path) -> anyhow::Result<BTreeSet<u64>> {
    let path = data_dir.join(FORMER);
    match path.exists() {
        true => serde_json::from_slice(&fs::read(&path)?)
            .with_context(|| format!("{} is damaged", path.display())),
        false => Ok(BTreeSet::new()),
    }
}

/// Refuses to run a node that is only half of one.
pub fn check(data_dir: &Path) -> anyhow::Result<()> {
    if data_dir.join(NOTE).exists() {
        bail!(
            "data_dir: a rejoin was cut off ({}); run the same `rejoin` again",
            data_dir.join(NOTE).display()
        );
    }
    Ok(())
}

fn read_note(data_dir: &Path) -> anyhow::Result<Option<Note>> {
    let path = data_dir.join(NOTE);
    if !path.exists() {
        return Ok(None);
    }
    let told = || format!("{} is damaged; remove it and run `rejoin` again", path.display());
    let note: Note = serde_json::from_slice(&fs::read(&path)?).with_context(told)?;
    if note.crc32c.is_some_and(|sum| sum != note.sum()) {
        bail!(told());
    }
    Ok(Some(note))
}

/// Writes down what is about to happen.
fn begin(config: &Config) -> anyhow::Result<Note> {
    let data_dir = &config.data_dir;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let note = Note {
        was: old_id(config),
        quarantine: format!("{QUARANTINE}{}", since.unwrap_or_default().as_secs()),
        former: former(data_dir).unwrap_or_default(),
        joined: None,
        crc32c: None,
    };
    let aside = data_dir.join(&note.quarantine);
    files::make_private(&aside).with_context(|| format!("cannot make {}", aside.display()))?;
    // Its certificate tells who it was; it is written over when the new one comes.
    let kept =
        fs::read(&config.identity.cert).and_then(|cert| files::write(&aside.join("identity.crt"), &cert));
    if let Err(error) = kept {
        warn!(%error, "the old certificate is not kept");
    }
    // A request that the old node left behind is not this rejoin's.
    for name in join::REQUEST {
        let left_over = data_dir.join(name);
        if left_over.exists() {
            files::rename(&left_over, &aside.join(name))?;
        }
    }
    note.write(data_dir)?;
    Ok(note)
}

/// Who this node was: its certificate knows best, because the data folder is what is doubted.
fn old_id(config: &Config) -> Option<u64> {
    let files = &config.identity;
    let own = Credentials::from_files(&files.cert, &files.key, &files.ca).ok();
    let certified = own.and_then(|own| match own.spiffe().kind() {
        Kind::Node(id) => Some(*id),
        _ => None,
    });
    certified
        .or_else(|| Consensus::owner_of(&config.data_dir).ok())
        .or_else(|| join::known_id(&config.data_dir).ok().flatten())
        .or(Some(config.node_id).filter(|id| *id > 0))
}

/// Moves all there is out of the way, but for earlier quarantines and what this command itself keeps there.
fn set_aside(data_dir: &Path, aside: &Path, is_new: bool) -> anyhow::Result<()> {
    let mut moved = 0;
    for entry in fs::read_dir(data_dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A request that was shown already is shown again: the token is spent on it.
        let is_request = !is_new && join::REQUEST.contains(&name.as_str());
        let is_kept = name == NOTE || name == Consensus::LOCK || name.starts_with(QUARANTINE) || is_request;
        if is_kept {
            continue;
        }
        if name == BALLAST {
            fs::remove_file(entry.path())?;
            continue;
        }
        let to = aside.join(&name);
        fs::rename(entry.path(), &to)
            .with_context(|| format!("cannot move {} to {}", entry.path().display(), to.display()))?;
        moved += 1;
    }
    // Keys are in it, and whoever looks into it later may not be careful.
    files::restrict(aside).with_context(|| format!("cannot close {} to others", aside.display()))?;
    File::open(aside)?.sync_all()?;
    File::open(data_dir)?.sync_all()?;
    info!(moved, kept = %aside.display(), "the old data is set aside");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::files::tests::open_to_others;

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn everything_is_kept_but_what_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (data, aside) = (folder.path(), folder.path().join("quarantine-7"));
        for name in [
            "owner.json",
            "node_id",
            "node.key",
            "durable.json",
            "ballast",
            "lock",
            NOTE,
            "join.key",
        ] {
            fs::write(data.join(name), name).unwrap();
        }
        for name in ["wal", "archive", "quarantine-3", "quarantine-7"] {
            fs::create_dir(data.join(name)).unwrap();
        }
        fs::write(data.join("wal/000.log"), "entries").unwrap();
        set_aside(data, &aside, true).unwrap();
        assert_eq!(open_to_others(&aside), Vec::<String>::new());
        assert_eq!(names(data), set(&["lock", NOTE, "quarantine-3", "quarantine-7"]));
        let kept = [
            "archive",
            "durable.json",
            "join.key",
            "node.key",
            "node_id",
            "owner.json",
            "wal",
        ];
        assert_eq!(names(&aside), set(&kept));

        // It goes on after it was cut off: a request that was shown stays.
        fs::write(data.join("join.key"), "shown").unwrap();
        fs::write(data.join("stray"), "").unwrap();
        set_aside(data, &aside, false).unwrap();
        assert_eq!(
            names(data),
            set(&["join.key", "lock", NOTE, "quarantine-3", "quarantine-7"])
        );
        assert!(
            check(data)
                .unwrap_err()
                .to_string()
                .contains("run the same `rejoin` again")
        );
    }

    #[test]
    fn what_is_kept_is_its_owners_alone_from_the_first_moment() {
        let folder = tempfile::tempdir().unwrap();
        let cert = folder.path().join("node.crt");
        fs::write(&cert, "its certificate").unwrap();
        fs::set_permissions(&cert, fs::Permissions::from_mode(0o644)).unwrap();
        let mut config = Config {
            data_dir: folder.path().join("data"),
            ..Config::default()
        };
        config.identity.cert = cert;
        fs::create_dir(&config.data_dir).unwrap();
        let note = begin(&config).unwrap();
        let aside = config.data_dir.join(note.quarantine);
        assert_eq!(names(&aside), set(&["identity.crt"]));
        assert_eq!(open_to_others(&aside), Vec::<String>::new());
    }

    #[test]
    fn each_bit_of_what_was_begun_is_missed_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut note = Note {
            was: Some(3),
            quarantine: "quarantine-1764000000".to_owned(),
            former: [1, 2].into(),
            joined: Some(4),
            crc32c: None,
        };
        let file = folder.path().join(NOTE);
        fs::write(&file, serde_json::to_vec(&note).unwrap()).unwrap();
        // As programs of before wrote it.
        assert_eq!(read_note(folder.path()).unwrap().unwrap().was, Some(3));
        note.crc32c = Some(note.sum());
        let whole = serde_json::to_vec(&note).unwrap();
        for (at, bit) in (0..whole.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut odd = whole.clone();
            odd[at] ^= 1 << bit;
            fs::write(&file, odd).unwrap();
            match read_note(folder.path()) {
                Ok(read) => assert_eq!(
                    read.unwrap().sum(),
                    note.sum(),
                    "byte {at} bit {bit}: it was believed"
                ),
                Err(error) => assert!(
                    format!("{error:#}").contains(NOTE),
                    "byte {at} bit {bit}: {error:#}"
                ),
            }
        }
    }

    #[test]
    fn nothing_is_moved_for_what_cannot_work_or_while_a_process_is_there() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("owner.json"), "x").unwrap();
        let config = Config {
            data_dir: folder.path().to_owned(),
            ..Config::default()
        };
        let said = |config: &Config| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            format!(
                "{:#}",
                runtime
                    .block_on(rejoin(config, Path::new("/no/token")))
                    .unwrap_err()
            )
        };
        assert!(said(&config).contains("/no/token"));
        assert_eq!(names(folder.path()), set(&["lock", "owner.json"]));
        let held = Consensus::lock_folder(folder.path()).unwrap();
        assert!(said(&config).contains("another process uses"));
        drop(held);
        let gone = Config {
            data_dir: folder.path().join("gone"),
            ..config
        };
        assert!(said(&gone).contains("comes in by `join`"));
    }
}
