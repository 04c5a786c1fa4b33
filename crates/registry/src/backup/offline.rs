//! What is done with files and folders while no node runs. `reeve` starts these as a program of its own: it links
//! neither log nor archive.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{BackupError, Header, Order, Report, check, extract, open, restore};
use crate::vault::RootKey;

/// Work on backups without a node.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Check a snapshot file: all of it with the root key, structure and sums without.
    Verify {
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
    },
    /// Make the first node of a new cluster from a snapshot file.
    Restore {
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
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

/// Does it; the result is one object of JSON.
pub async fn run(verb: Verb) -> Result<Value, BackupError> {
    match verb {
        Verb::Verify { file, root_key } => {
            let root = root_key.map(|path| RootKey::read(&path)).transpose()?;
            let root = root.as_ref().map(|root| root as &dyn crate::vault::KeyProvider);
            let (report, _) = check(open(&file)?, root, &mut |_| Ok(()))?;
            Ok(told(&report))
        }
        Verb::Restore {
            file,
            root_key,
            out,
            api,
            peer,
            admin,
            records,
        } => {
            let order = Order {
                file,
                root_key,
                out,
                api_address: api,
                peer_address: peer,
                admin,
                records,
            };
            Ok(json!(restore(&order).await?))
        }
        Verb::Extract {
            data_dir,
            root_key,
            file,
        } => Ok(about(&extract(&data_dir, &root_key, &file)?)),
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
