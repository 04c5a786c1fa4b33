//! `reeve cluster`: the registry's own nodes, and who may join.

mod enroll;
mod init;
mod snapshot;
mod token;

use clap::{Args, Subcommand};
use reeve_client::v1;

use crate::fail::Failure;
use crate::session::Session;

#[derive(Debug, Args)]
pub struct Cluster {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Init),
    /// Show the nodes, their leader and how far each one is
    #[command(
        after_help = "Examples:\n  reeve cluster status\n  reeve cluster status --nodes n2.example:7400 -o json"
    )]
    Status,
    JoinToken(token::JoinToken),
    Enroll(enroll::Enroll),
    /// Copies of the registry itself: save, check, begin anew from one
    #[command(subcommand)]
    Snapshot(snapshot::Verb),
    Recover(snapshot::recover::Recover),
}

pub async fn run(cluster: Cluster, session: &Session) -> Result<(), Failure> {
    match cluster.verb {
        Verb::Init(args) => init::run(args, session),
        Verb::Status => status(session).await,
        Verb::JoinToken(args) => token::run(args, session).await,
        Verb::Enroll(args) => enroll::run(args, session).await,
        Verb::Snapshot(verb) => snapshot::run(verb, session).await,
        Verb::Recover(args) => snapshot::recover::run(args, session),
    }
}

async fn status(session: &Session) -> Result<(), Failure> {
    // Also without a quorum: that is when it is asked for.
    let read = v1::ReadLevel {
        level: Some(v1::read_level::Level::Stale(v1::read_level::Stale {})),
    };
    let asked = v1::GetClusterRequest { read: Some(read) };
    let answer = session.api()?.cluster().get_cluster(session.ask(asked)).await?;
    session.print(&crate::show::cluster::Cluster::from(answer.into_inner()))
}
