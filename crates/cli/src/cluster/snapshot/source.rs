//! Where a snapshot is: a file of this machine, or a bucket.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

#[derive(Debug, Args)]
pub struct Origin {
    /// A file that `reeve cluster snapshot save` wrote; or s3://bucket/prefix/NAME, or s3://bucket/prefix for the newest
    /// backup below it
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// How a bucket is reached: a node's registry.toml, or any file with its [backup.s3]; REEVE_REGISTRY_BACKUP__S3__…
    /// are on top
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

impl Origin {
    /// A file of this machine.
    pub(super) fn file(file: &Path) -> Origin {
        Origin {
            source: file.to_owned(),
            settings: None,
        }
    }

    pub(super) fn shown(&self) -> String {
        self.source.display().to_string()
    }

    /// As `reeve-registry snapshot` is asked for it.
    pub(super) fn asked(&self) -> Vec<OsString> {
        let mut asked: Vec<OsString> = vec!["--file".into(), self.source.clone().into()];
        if let Some(settings) = &self.settings {
            asked.extend(["--settings".into(), settings.clone().into()]);
        }
        asked
    }
}
