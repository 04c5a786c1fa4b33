//! `reeve cluster remove-node`: a node leaves for ever, when those that stay can decide without it.

use clap::Args;
use reeve_client::v1;
use serde::Serialize;

use super::change;
use super::look::{Picture, votes};
use crate::confirm::{Stake, confirmed};
use crate::fail::{Exit, Failure};
use crate::session::Session;
use crate::show::{Page, Show};

/// Take a node out for ever, and wait until it is gone; its id is never used again
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve cluster remove-node 3\n  reeve cluster remove-node 3 --confirm hospital/3"
)]
pub struct RemoveNode {
    /// Its id, as `reeve cluster members` shows it
    id: u64,
    /// Cluster and id, typed again; asked for on a terminal
    #[arg(long, value_name = "CLUSTER/ID")]
    confirm: Option<String>,
    /// Although fewer healthy voters than a quorum would be left: writes may end for good
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Removed {
    id: u64,
    voters_before: usize,
    voters: usize,
}

impl Show for Removed {
    fn page(&self) -> Page {
        let Removed {
            id,
            voters_before,
            voters,
        } = self;
        format!("node {id} is gone for ever; {voters_before} → {voters} voters").into()
    }
}

pub async fn run(args: RemoveNode, session: &Session) -> Result<(), Failure> {
    let id = args.id;
    let picture = change::before(session).await?;
    let voters_before = picture.voters().count();
    session.say(&meaning(&picture, id)?);
    let whole = format!("{}/{id}", picture.best.cluster);
    let stake = Stake {
        word: &whole,
        stays: format!("{whole} was not removed"),
        warning: format!("node {id} would be gone for ever"),
    };
    let confirm = confirmed(args.confirm, &stake)?;
    let asked = v1::RemoveNodeRequest {
        request_id: session.request_id(),
        node_id: id,
        confirm,
        force: args.force,
    };
    let answer = session.api()?.cluster().remove_node(session.ask(asked)).await;
    answer.map_err(|status| Failure::from(status).doing(format!("node {id} was not removed")))?;
    let gone = change::until(session, "the node to be gone", |now| {
        let is_gone = now.leader_id != id && now.nodes.iter().all(|node| node.id != id);
        is_gone.then(|| now.nodes.iter().filter(|node| votes(node)).count())
    });
    let voters = gone.await?;
    session.say("stop its program if it runs, and wipe its data folder");
    session.print(&Removed {
        id,
        voters_before,
        voters,
    })
}

/// What there is before and after.
fn meaning(picture: &Picture, id: u64) -> Result<String, Failure> {
    let Some(node) = picture.best.nodes.iter().find(|node| node.id == id) else {
        let failure = Failure::new(Exit::NotFound, format!("there is no node {id}"), "");
        return Err(failure.fix("`reeve cluster members` shows them"));
    };
    let now = picture.voters().count();
    let bears = |voters: usize| voters.saturating_sub(1) / 2;
    let address = &node.api_address;
    Ok(match votes(node) {
        false => format!("node {id} at {address} has no vote: {now} voters stay"),
        true => format!(
            "node {id} at {address}: {now} → {} voters, which bear the loss of {} instead of {}",
            now - 1,
            bears(now - 1),
            bears(now)
        ),
    })
}
