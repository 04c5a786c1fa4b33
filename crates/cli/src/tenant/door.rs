//! `reeve tenant suspend|resume`: whether anybody is led to a tenant. Its data stays.

use clap::Args;
use reeve_client::v1;

use super::get;
use crate::fail::Failure;
use crate::session::Session;

/// Lead nobody to a tenant any more; its data stays
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve tenant suspend cho-ray --reason 'unpaid since May'\n\nIts services are turned away within the lease of what they know. `reeve tenant resume` undoes it."
)]
pub struct Suspend {
    /// Its id or slug
    tenant: String,
    /// One line for the audit log
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
}

/// Lead people to a suspended tenant again
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  reeve tenant resume cho-ray")]
pub struct Resume {
    /// Its id or slug
    tenant: String,
}

pub async fn suspend(args: Suspend, session: &Session) -> Result<(), Failure> {
    let (tenant, _) = get(session, &args.tenant).await?;
    let asked = v1::SuspendTenantRequest {
        request_id: session.request_id(),
        tenant: tenant.id,
        etag: tenant.etag,
        reason: args.reason,
    };
    let answer = session.api()?.tenants().suspend_tenant(session.ask(asked)).await;
    let stays = |status| Failure::from(status).doing(format!("{} was not suspended", tenant.slug));
    super::print(answer.map_err(stays)?.into_inner().tenant, session)
}

pub async fn resume(args: Resume, session: &Session) -> Result<(), Failure> {
    let (tenant, _) = get(session, &args.tenant).await?;
    let asked = v1::ResumeTenantRequest {
        request_id: session.request_id(),
        tenant: tenant.id,
        etag: tenant.etag,
    };
    let answer = session.api()?.tenants().resume_tenant(session.ask(asked)).await;
    let stays = |status| Failure::from(status).doing(format!("{} was not resumed", tenant.slug));
    super::print(answer.map_err(stays)?.into_inner().tenant, session)
}
