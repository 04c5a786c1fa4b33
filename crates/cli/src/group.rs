//! `reeve group`: where databases can live.

use clap::{Args, Subcommand};
use reeve_client::v1;

use crate::fail::Failure;
use crate::session::Session;
use crate::show::Freshness;
use crate::show::group::Groups;

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
}

pub async fn run(group: Group, session: &Session) -> Result<(), Failure> {
    let Verb::Ls { region } = group.verb;
    session.print(&all(session, &region.unwrap_or_default()).await?)
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
