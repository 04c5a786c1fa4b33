//! `reeve secret`: tenants' credentials, how old they are, and changing them. No secret is ever shown.

use std::time::Duration;

use clap::{Args, Subcommand};
use reeve_client::v1;

use crate::fail::Failure;
use crate::session::{self, Session};
use crate::show::Freshness;
use crate::show::secret::Secrets;
use crate::tenant as tenants;
use crate::turn::Turn;
use crate::wait::{self, Goal, Wait};

#[derive(Debug, Args)]
pub struct Secret {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Rotate(RotateArgs),
    Age(AgeArgs),
}

/// Change a tenant's credential, and retire the former one when its clients have the new one
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve secret rotate cho-ray\n  reeve secret rotate cho-ray --grace 1h --no-wait\n  reeve secret rotate cho-ray --leaked\n\nClients follow by themselves. With --leaked the former credential ends at once, and every session with it."
)]
struct RotateArgs {
    /// Its id or slug
    tenant: String,
    /// Somebody has it who must not: wait for no client, and end every session of the former one
    #[arg(long, conflicts_with = "grace")]
    leaked: bool,
    /// How long clients may take to follow, 1s to 168h [default: 10m]
    #[arg(long, value_parser = session::duration, value_name = "TIME")]
    grace: Option<Duration>,
    #[command(flatten)]
    turn: Turn,
    #[command(flatten)]
    wait: Wait,
}

/// Show how old credentials are, and who holds them
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve secret age\n  reeve secret age cho-ray --clients\n  reeve secret age --clients -o json\n\nThe oldest come first. BEHIND counts the processes that hold an earlier version still."
)]
struct AgeArgs {
    /// An id or slug; all tenants that you may see without one
    tenant: Option<String>,
    /// Also the processes that hold each of them
    #[arg(long)]
    clients: bool,
}

pub async fn run(secret: Secret, session: &Session) -> Result<(), Failure> {
    match secret.verb {
        Verb::Rotate(args) => rotate(args, session).await,
        Verb::Age(args) => age(args, session).await,
    }
}

async fn rotate(args: RotateArgs, session: &Session) -> Result<(), Failure> {
    let (tenant, _) = tenants::get(session, &args.tenant).await?;
    let grace = args.grace.map(prost_types::Duration::try_from).transpose();
    let asked = v1::RotateCredentialRequest {
        request_id: session.request_id(),
        tenant: tenant.id.clone(),
        etag: tenant.etag.clone(),
        leaked: args.leaked,
        turn: args.turn.wire(),
        grace: grace.map_err(|_| Failure::usage("--grace is too long", "at most 168h are allowed"))?,
    };
    let answer = session
        .api()?
        .databases()
        .rotate_credential(session.ask(asked))
        .await;
    let answer = answer.map_err(|status| {
        Failure::from(status).doing(format!("the credential of {} was not changed", tenant.slug))
    })?;
    wait::answer(session, answer.into_inner().operation, &args.wait, Goal::Done).await
}

async fn age(args: AgeArgs, session: &Session) -> Result<(), Failure> {
    let mut secrets = Secrets::default();
    let mut page_token = String::new();
    loop {
        let asked = v1::ListCredentialsRequest {
            page_size: 1000,
            page_token,
            tenant: args.tenant.clone().unwrap_or_default(),
            include_clients: args.clients,
            ..Default::default()
        };
        let answer = session
            .api()?
            .databases()
            .list_credentials(session.ask(asked))
            .await?
            .into_inner();
        secrets.take(answer.credentials);
        secrets.freshness = Some(Freshness::of(answer.freshness));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    secrets.sort();
    session.print(&secrets)
}
