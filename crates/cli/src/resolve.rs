//! `reeve resolve`: why does this request go to that database?

use clap::Args;
use reeve_client::{Selector, v1};

use crate::fail::Failure;
use crate::session::Session;
use crate::show::resolution::Resolved;

/// Find the database that a request goes to
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve resolve cho-ray.example\n  reeve resolve cho-ray --explain\n  reeve resolve --header 'X-Tenant: cho-ray'\n  reeve resolve 'subject:https://id.example|ann' -o json"
)]
#[group(skip)]
pub struct Resolve {
    /// A domain, a slug, or kind:value with domain, slug, header or subject
    #[arg(required_unless_present = "header", conflicts_with = "header")]
    target: Option<String>,
    /// A header of the request
    #[arg(long, value_name = "NAME: VALUE")]
    header: Option<String>,
    /// Say which rules were tried
    #[arg(long)]
    explain: bool,
    /// The network that the addresses must be reachable from
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    network: String,
}

pub async fn run(resolve: Resolve, session: &Session) -> Result<(), Failure> {
    let text = match (resolve.header, resolve.target) {
        (Some(header), _) => format!("header:{header}"),
        (None, target) => target.unwrap_or_default(),
    };
    let selector = Selector::parse(&text)?;
    let asked = v1::ResolveRequest {
        claim: Some(reeve_proto::convert::claim(selector.claim())),
        network: resolve.network,
        explain: resolve.explain,
        ..Default::default()
    };
    let answer = session.api()?.resolver().resolve(session.ask(asked)).await;
    let answer = answer.map_err(|status| {
        let told = reeve_proto::error::info(&status).metadata.remove("explanation");
        if let Some(told) = told.filter(|told| !told.is_empty()) {
            session.say(&told);
        }
        Failure::from(status)
    })?;
    session.print(&Resolved::of(answer.into_inner()))
}
