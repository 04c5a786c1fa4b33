//! `reeve group`: where databases can live.

use clap::{Args, Subcommand};
use reeve_client::v1;

use crate::confirm::{Stake, confirmed};
use crate::fail::Failure;
use crate::session::Session;
use crate::show::Freshness;
use crate::show::group::{Group as Shown, Groups};

#[derive(Debug, Args)]
pub struct Group {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the groups of PostgreSQL instances
    #[command(after_help = "Examples:\n  reeve group ls\n  reeve group ls --region vn -o json")]
    Ls {
        /// Only those in this region
        #[arg(long, value_name = "REGION")]
        region: Option<String>,
    },
    /// Show one group and its members
    #[command(after_help = "Examples:\n  reeve group get vn-1\n  reeve group get vn-1 -o json")]
    Get {
        /// Its name
        group: String,
    },
    Fence(Fence),
    Unfence(Unfence),
}

/// Lead nobody to a group any more, whatever state it is in
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve group fence vn-1 --reason 'its disk lies'\n  reeve group fence vn-1 --confirm vn-1\n\nAll of its tenants stop being served, and its epoch grows. `reeve group unfence` undoes it."
)]
struct Fence {
    /// Its name
    group: String,
    /// One line for the audit log
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// Its name, typed again; asked for on a terminal
    #[arg(long, value_name = "GROUP")]
    confirm: Option<String>,
}

/// Lead people to a fenced group again
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  reeve group unfence vn-1 --reason 'new disk, checked'")]
struct Unfence {
    /// Its name
    group: String,
    /// One line for the audit log
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
}

pub async fn run(group: Group, session: &Session) -> Result<(), Failure> {
    match group.verb {
        Verb::Ls { region } => session.print(&all(session, &region.unwrap_or_default()).await?),
        Verb::Get { group } => match get(&group, session).await? {
            Some(shown) => session.print(&shown),
            None => Ok(()),
        },
        Verb::Fence(args) => fence(args, session).await,
        Verb::Unfence(args) => unfence(args, session).await,
    }
}

/// One group.
pub async fn get(name: &str, session: &Session) -> Result<Option<Shown>, Failure> {
    let asked = v1::GetGroupRequest {
        group: name.to_owned(),
        ..Default::default()
    };
    let answer = session.api()?.groups().get_group(session.ask(asked)).await?;
    Ok(answer.into_inner().group.map(Shown::from))
}

async fn fence(args: Fence, session: &Session) -> Result<(), Failure> {
    let group = args.group;
    let held = get(&group, session).await?.map_or(0, |group| group.databases);
    let stake = Stake {
        word: &group,
        stays: format!("{group} was not fenced"),
        warning: format!("nobody would be led to {group} any more (databases: {held})"),
    };
    let asked = v1::FenceGroupRequest {
        request_id: session.request_id(),
        group: group.clone(),
        reason: args.reason,
        confirm: confirmed(args.confirm, &stake)?,
    };
    let answer = session.api()?.groups().fence_group(session.ask(asked)).await;
    let answer = answer.map_err(|status| Failure::from(status).doing(stake.stays))?;
    print(answer.into_inner().group, session)
}

async fn unfence(args: Unfence, session: &Session) -> Result<(), Failure> {
    let stays = format!("{} stays as it was", args.group);
    let asked = v1::UnfenceGroupRequest {
        request_id: session.request_id(),
        group: args.group,
        reason: args.reason,
    };
    let answer = session.api()?.groups().unfence_group(session.ask(asked)).await;
    let answer = answer.map_err(|status| Failure::from(status).doing(stays))?;
    print(answer.into_inner().group, session)
}

fn print(group: Option<v1::Group>, session: &Session) -> Result<(), Failure> {
    match group {
        Some(group) => session.print(&Shown::from(group)),
        None => Ok(()),
    }
}

/// The groups of a region, or of all of them.
pub async fn all(session: &Session, region: &str) -> Result<Groups, Failure> {
    let mut groups = Vec::new();
    let mut page_token = String::new();
    loop {
        let asked = v1::ListGroupsRequest {
            page_size: 1000,
            page_token,
            region: region.to_owned(),
            ..Default::default()
        };
        let answer = session
            .api()?
            .groups()
            .list_groups(session.ask(asked))
            .await?
            .into_inner();
        groups.extend(answer.groups.into_iter().map(Into::into));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            let freshness = Freshness::of(answer.freshness);
            return Ok(Groups { groups, freshness });
        }
    }
}
