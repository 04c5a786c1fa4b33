//! `reeve tenant delete`: doors closed, database and roles dropped, absence proved, claims freed.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use reeve_client::v1;

use super::get;
use crate::fail::Failure;
use crate::session::Session;
use crate::turn::Turn;
use crate::wait::{self, Goal, Wait};

/// Offboard a tenant and destroy its data
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve tenant delete cho-ray\n  reeve tenant delete cho-ray --confirm cho-ray --no-wait"
)]
pub struct Delete {
    /// Its id or slug
    tenant: String,
    /// Its slug, typed again; asked for on a terminal
    #[arg(long, value_name = "SLUG")]
    confirm: Option<String>,
    /// Check everything, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    turn: Turn,
    #[command(flatten)]
    wait: Wait,
}

pub async fn run(args: Delete, session: &Session) -> Result<(), Failure> {
    let (tenant, _) = get(session, &args.tenant).await?;
    let confirm = match args.confirm {
        Some(confirm) => confirm,
        None => ask(&tenant)?,
    };
    let asked = v1::DeleteTenantRequest {
        request_id: session.request_id(),
        tenant: tenant.id.clone(),
        etag: tenant.etag.clone(),
        confirm,
        validate_only: args.dry_run,
        turn: args.turn.wire(),
    };
    let answer = session.api()?.tenants().delete_tenant(session.ask(asked)).await;
    let answer =
        answer.map_err(|status| Failure::from(status).doing(format!("{} was not deleted", tenant.slug)))?;
    if args.dry_run {
        session.say("nothing stands against it; nothing was changed");
        return Ok(());
    }
    wait::answer(session, answer.into_inner().operation, &args.wait, Goal::Done).await
}

/// Has a person type the slug.
fn ask(tenant: &v1::Tenant) -> Result<String, Failure> {
    let slug = &tenant.slug;
    if !io::stdin().is_terminal() {
        let why = "its data would be destroyed, and nobody is there to confirm it";
        let failure = Failure::usage(format!("{slug} was not deleted"), why);
        return Err(failure.fix(format!("add --confirm {slug}")));
    }
    let unheard = |error: io::Error| Failure::error(format!("{slug} was not deleted"), error.to_string());
    let mut err = io::stderr().lock();
    write!(
        err,
        "This destroys all data of {slug} ({}). Type its slug to go on: ",
        tenant.id
    )
    .map_err(unheard)?;
    err.flush().map_err(unheard)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(unheard)?;
    match line.trim() {
        typed if typed == slug => Ok(slug.clone()),
        _ => Err(Failure::usage(
            format!("{slug} was not deleted"),
            "what you typed is not its slug",
        )),
    }
}
