//! Copies of the registry that the leader makes by itself, and how their store is reached.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::backup::shelf::place::{self, Place};

/// Copies of the registry that the leader makes by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// 0: none are made.
    pub every_ms: u64,
    /// How many are kept.
    pub keep: usize,
    /// None is kept longer than this, but for the newest. 0: as long as `keep` says.
    pub keep_ms: u64,
    /// `s3://bucket/prefix`, or `file:///a/folder`, best on a disk of another machine that all nodes mount.
    pub url: String,
    /// One that takes longer is given up.
    pub deadline_ms: u64,
    pub s3: S3,
}

impl Default for Backup {
    fn default() -> Backup {
        Backup {
            every_ms: 0,
            keep: 48,
            keep_ms: 0,
            url: String::new(),
            deadline_ms: 3_600_000,
            s3: S3::default(),
        }
    }
}

/// How a bucket is reached. Keys stand in files or in the environment, never here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3 {
    /// `https://host:port`; empty for Amazon's own of the region.
    pub endpoint: String,
    pub region: String,
    /// The bucket stands in the path; false: it is a part of the host's name.
    pub path_style: bool,
    /// Empty, both of them: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` of the environment.
    pub access_key_file: PathBuf,
    pub secret_key_file: PathBuf,
    /// Only for keys that end.
    pub session_token_file: PathBuf,
    /// PEM; when set, these CAs are trusted and no others.
    pub ca_file: PathBuf,
    /// Whether an endpoint elsewhere may be plain http.
    pub allow_plain_http: bool,
    /// A store that sends and takes nothing for so long is given up.
    pub patience_ms: u64,
}

impl Default for S3 {
    fn default() -> S3 {
        S3 {
            endpoint: String::new(),
            region: "us-east-1".to_owned(),
            path_style: true,
            access_key_file: PathBuf::new(),
            secret_key_file: PathBuf::new(),
            session_token_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            allow_plain_http: false,
            patience_ms: 30_000,
        }
    }
}

impl Backup {
    pub(super) fn validate(&self) -> Result<(), Error> {
        if self.every_ms == 0 {
            return Ok(());
        }
        if self.every_ms < 1_000 {
            return Err(Error::field(
                "backup.every_ms",
                "must be 0 (none) or at least 1000",
            ));
        }
        if self.keep == 0 {
            return Err(Error::field("backup.keep", "must be at least 1"));
        }
        if self.keep > KEEP_MAX {
            return Err(Error::field("backup.keep", format!("must be at most {KEEP_MAX}")));
        }
        if self.keep_ms != 0 && self.keep_ms < self.every_ms {
            return Err(Error::field(
                "backup.keep_ms",
                "must be 0 or at least backup.every_ms",
            ));
        }
        if self.deadline_ms < 1_000 {
            return Err(Error::field("backup.deadline_ms", "must be at least 1000"));
        }
        match Place::parse(&self.url).map_err(|why| Error::field("backup.url", why))? {
            Place::Folder(_) => Ok(()),
            Place::Bucket { .. } => place::check(&self.s3).map_err(|(field, why)| Error::field(field, why)),
        }
    }
}

/// What one look at a store goes through.
const KEEP_MAX: usize = 4_000;
