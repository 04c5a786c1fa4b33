//! `reeve tenant delete`: doors closed, database and roles dropped, absence proved, claims freed.

use clap::Args;
use reeve_client::v1;

use super::get;
use crate::confirm::{Stake, confirmed};
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
    let stake = Stake {
        word: &tenant.slug,
        stays: format!("{} was not deleted", tenant.slug),
        warning: format!("this destroys all data of {} ({})", tenant.slug, tenant.id),
    };
    let confirm = confirmed(args.confirm, &stake)?;
    let asked = v1::DeleteTenantRequest {
        request_id: session.request_id(),
        tenant: tenant.id.clone(),
        etag: tenant.etag.clone(),
        confirm,
        validate_only: args.dry_run,
        turn: args.turn.wire(),
    };
    let answer = session.api()?.tenants().delete_tenant(session.ask(asked)).await;
    let answer = answer.map_err(|status| Failure::from(status).doing(stake.stays))?;
    if args.dry_run {
        session.say("nothing stands against it; nothing was changed");
        return Ok(());
    }
    wait::answer(session, answer.into_inner().operation, &args.wait, Goal::Done).await
}
