//! `reeve region`: jurisdictions, in which data lives.

use clap::{Args, Subcommand};
use reeve_client::v1;

use crate::fail::Failure;
use crate::session::Session;
use crate::show::Freshness;
use crate::show::region::{Region as Shown, Regions};

#[derive(Debug, Args)]
pub struct Region {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the regions
    #[command(after_help = "Examples:\n  reeve region ls\n  reeve region ls -o name")]
    Ls,
    /// Add a region; it can never be taken away
    #[command(after_help = "Examples:\n  reeve region create vn --display-name Vietnam")]
    Create {
        /// a-z, 0-9 and '-'
        name: String,
        /// Its name for people
        #[arg(long, value_name = "TEXT")]
        display_name: Option<String>,
    },
}

pub async fn run(region: Region, session: &Session) -> Result<(), Failure> {
    match region.verb {
        Verb::Ls => ls(session).await,
        Verb::Create { name, display_name } => create(name, display_name, session).await,
    }
}

async fn ls(session: &Session) -> Result<(), Failure> {
    let asked = v1::ListRegionsRequest::default();
    let answer = session.api()?.groups().list_regions(session.ask(asked)).await?;
    let answer = answer.into_inner();
    session.print(&Regions {
        regions: answer.regions.into_iter().map(Shown::from).collect(),
        freshness: Freshness::of(answer.freshness),
    })
}

async fn create(name: String, display_name: Option<String>, session: &Session) -> Result<(), Failure> {
    let stays = format!("region {name} was not created");
    let asked = v1::CreateRegionRequest {
        request_id: session.request_id(),
        region: Some(v1::Region {
            display_name: display_name.unwrap_or_else(|| name.clone()),
            name,
        }),
    };
    let answer = session.api()?.groups().create_region(session.ask(asked)).await;
    let answer = answer.map_err(|status| Failure::from(status).doing(stays))?;
    match answer.into_inner().region {
        Some(region) => session.print(&Shown::from(region)),
        None => Ok(()),
    }
}
