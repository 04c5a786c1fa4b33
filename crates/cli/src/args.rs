//! What can be said to `reeve`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{audit, cluster, context, demo, dev, group, op, resolve, tenant};

/// Keeps the roll of a PostgreSQL fleet in which every tenant has a database of its own.
#[derive(Parser)]
#[command(
    name = "reeve",
    version,
    propagate_version = true,
    after_help = "Examples:\n  reeve dev                                   a whole fleet on this machine\n  reeve tenant create cho-ray --region vn --domain cho-ray.example --channel ehr\n  reeve resolve cho-ray.example --explain\n  reeve op ls\n\nExit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 conflict, 5 not allowed, 6 unavailable,\n7 still running, 8 failed and undone, 9 waits for a person, 130 interrupted"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options that every verb takes.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Context to use instead of the current one
    #[arg(long, global = true, env = "REEVE_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Nodes to talk to, as host:port
    #[arg(long, global = true, value_delimiter = ',', value_name = "ADDRESSES")]
    pub nodes: Vec<String>,
    /// Root certificate, PEM
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Own certificate chain, PEM
    #[arg(long, global = true, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Own key, PEM
    #[arg(long, global = true, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How to print
    #[arg(short, long, global = true, default_value = "table", value_name = "FORMAT")]
    pub output: Format,
    /// Seconds that one call may take
    #[arg(long, global = true, default_value_t = 30, value_name = "SECONDS")]
    pub timeout: u64,
    /// Nothing but data
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Name of this change, so that it can be sent again safely
    #[arg(long, global = true, value_name = "ID")]
    pub request_id: Option<String>,
}

/// How data is printed. JSON is stable, tables are for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// The nouns.
#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "read once, at the start")]
pub enum Verb {
    /// The registry's nodes, and who may join them
    Cluster {
        #[command(subcommand)]
        verb: cluster::Verb,
    },
    /// Tenants: bring in, look at, take out
    Tenant {
        #[command(subcommand)]
        verb: tenant::Verb,
    },
    /// Which database a domain, slug or header leads to, and why
    Resolve(resolve::Args),
    /// Operations: durable jobs, forwards and back
    Op {
        #[command(subcommand)]
        verb: op::Verb,
    },
    /// Groups of PostgreSQL instances
    Group {
        #[command(subcommand)]
        verb: group::Verb,
    },
    /// The audit log: follow, export, verify offline
    Audit {
        #[command(subcommand)]
        verb: audit::Verb,
    },
    /// Clusters that this machine knows
    Context {
        #[command(subcommand)]
        verb: context::Verb,
    },
    /// A whole fleet on this machine, until Ctrl-C
    Dev(dev::Args),
    /// A fleet, eight hospitals and a bad day, shown and checked
    Demo(demo::Args),
    /// Print the version
    Version,
}
