//! `reeve cluster`: the registry's own nodes, and who may join.

mod add_node;
pub(crate) mod alarms;
mod change;
pub(crate) mod check;
mod enroll;
mod init;
pub(crate) mod look;
mod remove_node;
mod snapshot;
mod status;
mod token;
mod transfer_leader;

#[cfg(test)]
mod tests;

use clap::{Args, Subcommand};

use crate::fail::Failure;
use crate::session::Session;
use crate::show;

#[derive(Debug, Args)]
pub struct Cluster {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Init),
    Status(status::Status),
    /// List the nodes, as the one that is asked knows them
    #[command(after_help = "Examples:\n  reeve cluster members\n  reeve cluster members -o name")]
    Members,
    Check(check::Check),
    AddNode(add_node::AddNode),
    RemoveNode(remove_node::RemoveNode),
    TransferLeader(transfer_leader::TransferLeader),
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
        Verb::Status(args) => status::run(args, session).await,
        Verb::Members => members(session).await,
        Verb::Check(args) => check::run(args, session).await,
        Verb::AddNode(args) => add_node::run(args, session).await,
        Verb::RemoveNode(args) => remove_node::run(args, session).await,
        Verb::TransferLeader(args) => transfer_leader::run(args, session).await,
        Verb::JoinToken(args) => token::run(args, session).await,
        Verb::Enroll(args) => enroll::run(args, session).await,
        Verb::Snapshot(verb) => snapshot::run(verb, session).await,
        Verb::Recover(args) => snapshot::recover::run(args, session),
    }
}

async fn members(session: &Session) -> Result<(), Failure> {
    let mut client = session.api()?.cluster();
    let answer = client.get_cluster(session.ask(look::stale())).await?;
    session.print(&show::cluster::Members::from(answer.into_inner()))
}
