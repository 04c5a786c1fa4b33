//! A schema channel's folder: versions.toml names every file with its SHA-256, and the files are held to it.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::host::Error;

/// The folder as versions.toml describes it, with the files' text.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) versions: Vec<Script>,
    pub(super) seeds: Vec<Script>,
}

/// One SQL file.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) file: String,
    pub(super) sha256: String,
    pub(super) sql: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    channel: String,
    #[serde(default)]
    version: Vec<Listed>,
    #[serde(default)]
    seed: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    number: u32,
    name: String,
    file: String,
    sha256: String,
}

const FILE_BYTES_MAX: u64 = 64 << 20;

fn wrong(why: impl ToString) -> Error {
    Error::permanent("SCHEMA_FOLDER", why)
}

impl Channel {
    /// Reads a folder whole; anything that does not fit is an error, and nothing is run.
    pub(super) fn read(folder: &Path, channel: &str) -> Result<Channel, Error> {
        let path = folder.join("versions.toml");
        let text = fs::read_to_string(&path)
            .map_err(|error| wrong(format!("channel {channel}: cannot read versions.toml: {error}")))?;
        let manifest: Manifest = toml::from_str(&text)
            .map_err(|error| wrong(format!("channel {channel}: versions.toml: {}", error.message())))?;
        if manifest.channel != channel {
            return Err(wrong(format!(
                "channel {channel}: versions.toml is of channel {}",
                manifest.channel
            )));
        }
        let versions = scripts(folder, manifest.version, "version")?;
        if versions.is_empty() {
            return Err(wrong(format!(
                "channel {channel}: versions.toml lists no version"
            )));
        }
        Ok(Channel {
            versions,
            seeds: scripts(folder, manifest.seed, "seed")?,
        })
    }
}

fn scripts(folder: &Path, listed: Vec<Listed>, kind: &str) -> Result<Vec<Script>, Error> {
    let mut scripts = Vec::new();
    for (listed, expected) in listed.into_iter().zip(1..) {
        if listed.number != expected {
            return Err(wrong(format!(
                "{kind} {expected} is missing, twice or out of order"
            )));
        }
        let inside = Path::new(&listed.file)
            .components()
            .all(|c| matches!(c, std::path::Component::Normal(_)));
        if !inside {
            return Err(wrong(format!(
                "{kind} {expected}: {} leads out of the folder",
                listed.file
            )));
        }
        let path = folder.join(&listed.file);
        let size = fs::metadata(&path)
            .map_err(|e| wrong(format!("{}: {e}", listed.file)))?
            .len();
        if size > FILE_BYTES_MAX {
            return Err(wrong(format!(
                "{} has {size} bytes; at most {FILE_BYTES_MAX} are allowed",
                listed.file
            )));
        }
        let bytes = fs::read(&path).map_err(|e| wrong(format!("{}: {e}", listed.file)))?;
        let sum = hex::encode(Sha256::digest(&bytes));
        if sum != listed.sha256 {
            return Err(wrong(format!(
                "{} was changed after it was listed (its SHA-256 is another one)",
                listed.file
            )));
        }
        let sql = String::from_utf8(bytes).map_err(|_| wrong(format!("{} is not UTF-8", listed.file)))?;
        scripts.push(Script {
            number: expected,
            name: listed.name,
            file: listed.file,
            sha256: sum,
            sql,
        });
    }
    Ok(scripts)
}
