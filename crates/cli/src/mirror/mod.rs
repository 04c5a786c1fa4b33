//! `reeve service-file` and `reeve pgbouncer-ini`: for programs without a client of Reeve's. A file says where each tenant
//! is, and how to come in; it is kept true by watch.
//!
//! ```text
//! watch ─► Roll: who is where ─┐
//! GetCredential ─► Passwords ──┴─► Shape: the text ─► the file, whole or not at all ─► --then ─► acknowledged
//! ```
//! Deliberately absent: tenants that do not serve. Who looks for one of them finds nothing, and is turned away.

mod keep;
mod libpq;
mod passwords;
mod pgbouncer;
mod roll;
mod then;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reeve_client::v1;

use crate::fail::Failure;
use crate::session::{self, Session};

const SERVICE_HELP: &str = "Examples:
  reeve service-file pg_service.conf
  reeve service-file ~/.pg_service.conf --watch
  reeve service-file pg_service.conf --tenant cho-ray --tenant bach-mai --watch

One service for each tenant, by its slug: psql service=cho-ray, with PGSERVICEFILE naming the file.
It holds passwords, and nobody but its owner may read it. Needs the identity of a service:
`reeve cluster enroll` with a token of --role service.";

const PGBOUNCER_HELP: &str = "Examples:
  reeve pgbouncer-ini /etc/pgbouncer/reeve.ini
  reeve pgbouncer-ini reeve.ini --watch --then \"psql -h /run/postgresql -p 6432 -U pgbouncer pgbouncer -c RELOAD\"

One database for each tenant, by its slug. pgbouncer.ini takes it in by its last line, and says that
servers are verified:
  [pgbouncer]
  server_tls_sslmode = verify-full
  server_tls_ca_file = /etc/pgbouncer/reeve.ini.crt
  %include /etc/pgbouncer/reeve.ini
Who may come to pgbouncer is its own affair (auth_file). Run this as pgbouncer's user: the file holds
passwords, and nobody but its owner may read it; one that is there keeps its owner. Let --then ask pgbouncer
itself, which says when it could not read the file; a signal says nothing. Where it pools sessions, --drain
must outlast them. Needs the identity of a service.";

/// Write a libpq service file: for psql, psycopg, and whatever else stands on libpq
#[derive(Debug, Args)]
#[command(after_help = SERVICE_HELP)]
#[group(skip)]
pub struct ServiceFile {
    #[command(flatten)]
    plan: Plan,
}

/// Write pgbouncer's databases
#[derive(Debug, Args)]
#[command(after_help = PGBOUNCER_HELP)]
#[group(skip)]
pub struct PgbouncerIni {
    #[command(flatten)]
    plan: Plan,
}

#[derive(Debug, Args)]
struct Plan {
    /// The file to write; the CA goes beside it, as FILE.crt
    file: PathBuf,
    /// Only these, by id or slug; all that the identity may see without it
    #[arg(long = "tenant", value_name = "TENANT")]
    tenants: Vec<String>,
    /// The network that the addresses must be reachable from
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    network: String,
    /// Keep the file true until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Run by the shell after each change of the file
    #[arg(long, requires = "watch", value_name = "COMMAND")]
    then: Option<String>,
    /// How long connections of a former password may go on, once --then has succeeded, before the registry hears that
    /// none is left
    #[arg(long, requires = "watch", default_value = "60s", value_parser = session::duration, value_name = "TIME")]
    drain: Duration,
}

/// A tenant that serves, and the password of its role.
struct Open<'a> {
    resolution: &'a v1::Resolution,
    write: &'a v1::Endpoint,
    password: &'a str,
}

/// How a file is written: what begins it, and a tenant in it. Both are told where the CA is.
#[derive(Clone, Copy)]
struct Shape {
    head: fn(&Path) -> String,
    entry: fn(&Open<'_>, &Path) -> Result<String, Odd>,
}

/// A value that the file's form cannot say.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("such a file cannot say its {0}")]
struct Odd(&'static str);

pub async fn service_file(file: ServiceFile, session: &Session) -> Result<(), Failure> {
    keep::run(libpq::SHAPE, file.plan, session).await
}

pub async fn pgbouncer_ini(file: PgbouncerIni, session: &Session) -> Result<(), Failure> {
    keep::run(pgbouncer::SHAPE, file.plan, session).await
}
