//! `reeve tenant allowlist`: from where a tenant's services may come.

use clap::Args;
use reeve_client::v1;

use super::get;
use crate::fail::Failure;
use crate::session::Session;
use crate::show::tenant::Tenant as Shown;
use crate::turn::Turn;
use crate::wait::{self, Goal, Wait};

/// Show or set from where a tenant's services may come
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve tenant allowlist cho-ray\n  reeve tenant allowlist cho-ray 10.1.0.0/16 2001:db8::/32\n  reeve tenant allowlist cho-ray --default\n\nThe list is set whole. Sessions that do not fit any more are ended."
)]
pub struct Allowlist {
    /// Its id or slug
    tenant: String,
    /// All ranges, IPv4 and IPv6; none: only show it
    #[arg(value_name = "CIDR")]
    cidrs: Vec<String>,
    /// From where the fleet's default says, and no list of its own
    #[arg(long, conflicts_with = "cidrs")]
    default: bool,
    #[command(flatten)]
    turn: Turn,
    #[command(flatten)]
    wait: Wait,
}

pub async fn run(args: Allowlist, session: &Session) -> Result<(), Failure> {
    let (tenant, _) = get(session, &args.tenant).await?;
    if args.cidrs.is_empty() && !args.default {
        return session.print(&Shown::from(tenant));
    }
    let asked = v1::SetAllowlistRequest {
        request_id: session.request_id(),
        tenant: tenant.id.clone(),
        etag: tenant.etag.clone(),
        allowlist_cidrs: args.cidrs,
        turn: args.turn.wire(),
    };
    let answer = session.api()?.tenants().set_allowlist(session.ask(asked)).await;
    let answer = answer.map_err(|status| {
        Failure::from(status).doing(format!("the allowlist of {} was not changed", tenant.slug))
    })?;
    wait::answer(session, answer.into_inner().operation, &args.wait, Goal::Done).await
}
