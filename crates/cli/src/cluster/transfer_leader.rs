//! `reeve cluster transfer-leader`: another node leads, before the one that does is stopped.

use std::time::Instant;

use clap::Args;
use reeve_client::v1;
use serde::Serialize;

use super::change;
use crate::fail::Failure;
use crate::session::Session;
use crate::show::{Page, Show};

/// Hand leadership over, and wait until the next leader is there
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  reeve cluster transfer-leader\n  reeve cluster transfer-leader --to 3")]
pub struct TransferLeader {
    /// The next leader; whoever has most of the log unless told
    #[arg(long, value_name = "ID", default_value_t = 0, hide_default_value = true)]
    to: u64,
}

#[derive(Serialize)]
struct Handed {
    from: u64,
    to: u64,
    term: u64,
    took_ms: u64,
}

impl Show for Handed {
    fn page(&self) -> Page {
        let Handed {
            from,
            to,
            term,
            took_ms,
        } = self;
        format!(
            "node {to} leads in term {term}, after node {from}; known {took_ms} ms after it was asked for"
        )
        .into()
    }
}

pub async fn run(args: TransferLeader, session: &Session) -> Result<(), Failure> {
    let picture = change::before(session).await?;
    let (from, term) = (picture.best.leader_id, picture.best.term);
    if args.to == from {
        session.say(&format!("node {from} leads already"));
        return session.print(&Handed {
            from,
            to: from,
            term,
            took_ms: 0,
        });
    }
    let began = Instant::now();
    let asked = v1::TransferLeaderRequest { to_node_id: args.to };
    let answer = session.api()?.cluster().transfer_leader(session.ask(asked)).await;
    answer.map_err(|status| Failure::from(status).doing(format!("node {from} leads on")))?;
    let next = change::until(session, "the next leader", |now| {
        (now.term > term && now.leader_id != from).then_some((now.leader_id, now.term))
    });
    let (to, term) = next.await?;
    let took_ms = began.elapsed().as_millis() as u64;
    session.print(&Handed {
        from,
        to,
        term,
        took_ms,
    })
}
