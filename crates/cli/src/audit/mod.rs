//! `reeve audit`: the record of every change, as it is written, taken along and checked.

pub mod export;
mod line;
mod tail;
#[cfg(test)]
mod tests;
pub mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reeve_domain::audit::Head;
use serde::Serialize;

use crate::fail::Failure;
use crate::session::Session;
use crate::show::{self, Page, Show};

/// What an export holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub shards: usize,
    pub records: u64,
    /// In the order of the shards' names. Keep them elsewhere: nobody can make another chain that ends in them.
    pub heads: Vec<(String, Head)>,
}

#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Tail(tail::Args),
    Export(ExportArgs),
    Verify(VerifyArgs),
}

/// Write all records of all shards to a file
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve audit export audit.jsonl\n  reeve audit export audit.jsonl -o json"
)]
struct ExportArgs {
    /// Where to; appears when it is whole
    file: PathBuf,
}

/// Check an export offline: every byte, every hash, every shard's end
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve audit verify audit.jsonl\n  reeve audit verify audit.jsonl -o json\n\nIt asks no registry. Compare the heads with heads that you kept elsewhere."
)]
struct VerifyArgs {
    /// A file that `reeve audit export` wrote
    file: PathBuf,
}

pub async fn run(audit: Audit, session: &Session) -> Result<(), Failure> {
    match audit.verb {
        Verb::Tail(args) => tail::run(args, session).await,
        Verb::Export(args) => {
            let summary = export::file(session.api()?, &args.file).await?;
            session.say(&format!("wrote {}", args.file.display()));
            session.print(&Told::from(&summary))
        }
        Verb::Verify(args) => {
            let summary = verify::file(&args.file).map_err(|e| {
                Failure::error(format!("{} is not whole", args.file.display()), e.to_string())
                    .fix("keep the file as evidence, export again from another node, and compare")
            })?;
            session.say(&format!("{} is whole", args.file.display()));
            session.print(&Told::from(&summary))
        }
    }
}

#[derive(Serialize)]
struct Told {
    records: u64,
    shards: Vec<Shard>,
}

#[derive(Serialize)]
struct Shard {
    shard: String,
    records: u64,
    head: String,
}

impl From<&Summary> for Told {
    fn from(summary: &Summary) -> Told {
        let shard = |(name, head): &(String, Head)| Shard {
            shard: name.clone(),
            records: head.sequence,
            head: hex::encode(head.chain),
        };
        Told {
            records: summary.records,
            shards: summary.heads.iter().map(shard).collect(),
        }
    }
}

impl Show for Told {
    fn page(&self) -> Page {
        let row = |shard: &Shard| vec![shard.shard.clone(), shard.records.to_string(), shard.head.clone()];
        show::table(["SHARD", "RECORDS", "HEAD"], self.shards.iter().map(row))
    }
}
