//! What is done with files and folders while no node runs. `reeve` starts these as a program of its own: it links
//! neither log nor archive.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::shelf::ShelfError;
use super::shelf::source::{Source, is_url};
use super::shelf::trouble::chain;
use super::{BackupError, Header, Order, Report, check, extract, open, restore};
use crate::config::{self, S3};
use crate::vault::{KeyProvider, RootKey};

/// Work on backups without a node.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Check a snapshot: all of it with the root key, structure and sums without.
    Verify {
        #[command(flatten)]
        from: Origin,
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
    },
    /// Make the first node of a new cluster from a snapshot.
    Restore {
        #[command(flatten)]
        from: Origin,
        #[arg(long, value_name = "FILE")]
        root_key: PathBuf,
        /// A folder that is not there yet.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[arg(long, value_name = "HOST:PORT")]
        api: String,
        #[arg(long, value_name = "HOST:PORT")]
        peer: String,
        /// Who is admin afterwards.
        #[arg(long, value_name = "NAME")]
        admin: String,
        /// A folder with files that `reeve-agent records export` wrote.
        #[arg(long, value_name = "DIR")]
        records: Option<PathBuf>,
    },
    /// Save a snapshot file from the data folder of a stopped node.
    Extract {
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        #[arg(long, value_name = "FILE")]
        root_key: PathBuf,
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

/// Where a snapshot is.
#[derive(Clone, Debug, Args)]
pub struct Origin {
    /// A file, or `s3://bucket/prefix/name`, or `s3://bucket/prefix` for the newest below it.
    #[arg(long, value_name = "FILE|URL")]
    file: PathBuf,
    /// A node's settings, or any file with its `[backup.s3]`: how a bucket is reached.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Why it cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("{what}; {fix}")]
    Store { what: String, fix: &'static str },
    #[error("the settings of the store cannot be used: {0}")]
    Settings(String),
}

impl From<ShelfError> for Error {
    fn from(error: ShelfError) -> Error {
        match error {
            ShelfError::Backup(error) => Error::Backup(error),
            other => {
                let trouble = other.trouble();
                Error::Store {
                    fix: trouble.reason.fix(),
                    what: trouble.to_string(),
                }
            }
        }
    }
}

impl From<crate::vault::Error> for Error {
    fn from(error: crate::vault::Error) -> Error {
        Error::Backup(error.into())
    }
}

impl Origin {
    /// What it names in a store; none when it is a file of this machine.
    async fn source(&self) -> Result<Option<Source>, Error> {
        let Some(url) = self.file.to_str().filter(|text| is_url(text)) else {
            return Ok(None);
        };
        let settings = config::load_backup(self.settings.as_deref(), std::env::vars());
        let settings: S3 = settings.map_err(|error| Error::Settings(chain(&error)))?.s3;
        Ok(Some(Source::find(url, &settings).await?))
    }
}

/// Does it; the result is one object of JSON.
pub async fn run(verb: Verb) -> Result<Value, Error> {
    match verb {
        Verb::Verify { from, root_key } => {
            let root = root_key.map(|path| RootKey::read(&path)).transpose()?;
            let root = root.map(|root| Arc::new(root) as Arc<dyn KeyProvider>);
            match from.source().await? {
                Some(source) => {
                    let mut told = told(&source.verify(root).await?);
                    told["name"] = source.name().into();
                    Ok(told)
                }
                None => {
                    let (report, _) = check(open(&from.file)?, root.as_deref(), &mut |_| Ok(()))?;
                    Ok(told(&report))
                }
            }
        }
        Verb::Restore {
            from,
            root_key,
            out,
            api,
            peer,
            admin,
            records,
        } => {
            let source = from.source().await?;
            let fetched = match &source {
                Some(source) => Some(Fetched::get(source, &out).await?),
                None => None,
            };
            let order = Order {
                file: fetched.as_ref().map_or(from.file, |fetched| fetched.0.clone()),
                sum: source.as_ref().and_then(|source| source.sum().map(str::to_owned)),
                root_key,
                out,
                api_address: api,
                peer_address: peer,
                admin,
                records,
            };
            let mut made = json!(restore(&order).await?);
            if let Some(source) = &source {
                made["name"] = source.name().into();
            }
            Ok(made)
        }
        Verb::Extract {
            data_dir,
            root_key,
            file,
        } => Ok(about(&extract(&data_dir, &root_key, &file)?)),
    }
}

/// A copy beside the folder that is made, sealed as it is; it goes away with this.
struct Fetched(PathBuf);

impl Fetched {
    async fn get(source: &Source, out: &Path) -> Result<Fetched, Error> {
        let mut file = out.as_os_str().to_owned();
        file.push(".snapshot");
        let file = PathBuf::from(file);
        if file.exists() {
            return Err(BackupError::file(&file, "it is there already; move it away").into());
        }
        let fetched = Fetched(file);
        source.fetch(&fetched.0).await?;
        Ok(fetched)
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "a copy of the snapshot is left over; remove it");
        }
    }
}

fn told(report: &Report) -> Value {
    let inside = report.inside.as_ref().map(|inside| {
        let mut object = about(&inside.header);
        object["shards"] = inside.shards.into();
        object["records"] = inside.records.into();
        object
    });
    json!({
        "bytes": report.bytes,
        "blocks": report.blocks,
        "sha256": report.sum,
        "root_key": report.root_key,
        "inside": inside,
    })
}

fn about(header: &Header) -> Value {
    json!({
        "format": header.format,
        "program": header.program,
        "node": header.node,
        "cluster": header.cluster,
        "cluster_id": header.cluster_id,
        "cluster_version": header.cluster_version,
        "revision": header.revision,
        "tenants": header.tenants,
        "changes": header.changes,
        "saved_ms": header.saved_ms,
        "state_hash": hex::encode(header.state_hash),
    })
}
