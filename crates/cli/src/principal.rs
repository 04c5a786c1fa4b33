//! `reeve principal` and `reeve whoami`: who may do what.

use clap::{Args, Subcommand};
use reeve_client::v1;

use crate::confirm::{Stake, confirmed};
use crate::fail::Failure;
use crate::session::Session;
use crate::show::Freshness;
use crate::show::principal::{Principal as Shown, Principals, Yourself};

#[derive(Debug, Args)]
pub struct Principal {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List who has an identity of this cluster
    #[command(after_help = "Examples:\n  reeve principal ls\n  reeve principal ls -o jsonl")]
    Ls,
    Revoke(Revoke),
}

/// Turn an identity away, at once
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve principal revoke spiffe://hospital/svc/ehr --reason 'its laptop was stolen'\n\nIts calls are refused and its streams ended at once, whatever certificate it shows.\nAn admin can enrol it anew."
)]
struct Revoke {
    /// Its id, as `reeve principal ls` shows it
    id: String,
    /// One line for the audit log
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// Its id, typed again; asked for on a terminal
    #[arg(long, value_name = "ID")]
    confirm: Option<String>,
}

/// Say who you are to the registry, and what you may do
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  reeve whoami\n  reeve whoami -o json")]
pub struct WhoAmI {}

pub async fn run(principal: Principal, session: &Session) -> Result<(), Failure> {
    match principal.verb {
        Verb::Ls => ls(session).await,
        Verb::Revoke(args) => revoke(args, session).await,
    }
}

pub async fn whoami(session: &Session) -> Result<(), Failure> {
    let asked = session.ask(v1::WhoAmIRequest {});
    let answer = session.api()?.access().who_am_i(asked).await?.into_inner();
    session.print(&Yourself {
        principal: Shown::from(answer.principal.unwrap_or_default()),
        actions: answer.actions,
    })
}

async fn ls(session: &Session) -> Result<(), Failure> {
    let mut principals = Vec::new();
    let mut page_token = String::new();
    loop {
        let asked = v1::ListPrincipalsRequest {
            page_size: 1000,
            page_token,
            ..Default::default()
        };
        let answer = session
            .api()?
            .access()
            .list_principals(session.ask(asked))
            .await?
            .into_inner();
        principals.extend(answer.principals.into_iter().map(Shown::from));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            let freshness = Freshness::of(answer.freshness);
            return session.print(&Principals {
                principals,
                freshness,
            });
        }
    }
}

async fn revoke(args: Revoke, session: &Session) -> Result<(), Failure> {
    let id = args.id;
    let stake = Stake {
        word: &id,
        stays: format!("{id} was not revoked"),
        warning: format!("{id} would be turned away at once"),
    };
    let asked = v1::RevokePrincipalRequest {
        request_id: session.request_id(),
        principal_id: id.clone(),
        reason: args.reason,
        confirm: confirmed(args.confirm, &stake)?,
    };
    let answer = session.api()?.access().revoke_principal(session.ask(asked)).await;
    let answer = answer.map_err(|status| Failure::from(status).doing(stake.stays))?;
    match answer.into_inner().principal {
        Some(principal) => session.print(&Shown::from(principal)),
        None => Ok(()),
    }
}
