//! `reeve tenant`: customers, each with a database of its own.

mod allowlist;
mod create;
mod delete;
mod door;
mod set;

use clap::{Args, Subcommand, ValueEnum};
use reeve_client::v1::{self, operation, tenant};

use crate::fail::Failure;
use crate::session::Session;
use crate::show::Freshness;
use crate::show::health::Health;
use crate::show::operation::Operation;
use crate::show::tenant::{Status, Tenant as Shown, Tenants};
use crate::{group, op};

#[derive(Debug, Args)]
pub struct Tenant {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(create::Create),
    /// List the tenants that you may see
    #[command(
        after_help = "Examples:\n  reeve tenant ls\n  reeve tenant ls --region vn --state active -o json"
    )]
    Ls(ListArgs),
    /// Show everything about one tenant
    #[command(
        after_help = "Examples:\n  reeve tenant get cho-ray\n  reeve tenant get t_0123456789ab -o json"
    )]
    Get(Named),
    /// Show how a tenant fares: its state, its hosts, its last operation
    #[command(after_help = "Examples:\n  reeve tenant status cho-ray")]
    Status(Named),
    Set(set::Set),
    Allowlist(allowlist::Allowlist),
    Suspend(door::Suspend),
    Resume(door::Resume),
    Delete(delete::Delete),
}

#[derive(Debug, Args)]
struct Named {
    /// Its id or slug
    tenant: String,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those at home in this region
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Only those in this state
    #[arg(long, value_enum)]
    state: Option<State>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Provisioning,
    Active,
    Suspended,
    Deleting,
    Deleted,
    Failed,
}

impl From<State> for tenant::State {
    fn from(state: State) -> tenant::State {
        match state {
            State::Provisioning => tenant::State::Provisioning,
            State::Active => tenant::State::Active,
            State::Suspended => tenant::State::Suspended,
            State::Deleting => tenant::State::Deleting,
            State::Deleted => tenant::State::Deleted,
            State::Failed => tenant::State::Failed,
        }
    }
}

pub async fn run(tenant: Tenant, session: &Session) -> Result<(), Failure> {
    match tenant.verb {
        Verb::Create(args) => create::run(args, session).await,
        Verb::Ls(args) => ls(args, session).await,
        Verb::Get(named) => {
            let (tenant, _) = get(session, &named.tenant).await?;
            session.print(&Shown::from(tenant))
        }
        Verb::Status(named) => status(&named.tenant, session).await,
        Verb::Set(args) => set::run(args, session).await,
        Verb::Allowlist(args) => allowlist::run(args, session).await,
        Verb::Suspend(args) => door::suspend(args, session).await,
        Verb::Resume(args) => door::resume(args, session).await,
        Verb::Delete(args) => delete::run(args, session).await,
    }
}

/// One tenant.
pub async fn get(session: &Session, named: &str) -> Result<(v1::Tenant, Freshness), Failure> {
    let asked = v1::GetTenantRequest {
        tenant: named.to_owned(),
        ..Default::default()
    };
    let answer = session
        .api()?
        .tenants()
        .get_tenant(session.ask(asked))
        .await?
        .into_inner();
    let freshness = Freshness::of(answer.freshness);
    let tenant = answer.tenant.map(|tenant| (tenant, freshness));
    tenant.ok_or_else(|| Failure::error(format!("{named} was not shown"), "the registry's answer is empty"))
}

/// What a change has made of one.
fn print(tenant: Option<v1::Tenant>, session: &Session) -> Result<(), Failure> {
    match tenant {
        Some(tenant) => session.print(&Shown::from(tenant)),
        None => Ok(()),
    }
}

async fn ls(args: ListArgs, session: &Session) -> Result<(), Failure> {
    let state = args.state.map_or(tenant::State::Unspecified, Into::into);
    let (tenants, freshness) = list(session, &args.region.unwrap_or_default(), state).await?;
    let tenants = tenants.into_iter().map(Shown::from).collect();
    session.print(&Tenants { tenants, freshness })
}

/// The tenants of a region, or of all of them, in a state or in any, over as many pages as it takes.
pub async fn list(
    session: &Session,
    region: &str,
    state: tenant::State,
) -> Result<(Vec<v1::Tenant>, Freshness), Failure> {
    let mut tenants = Vec::new();
    let mut page_token = String::new();
    loop {
        let asked = v1::ListTenantsRequest {
            page_size: 1000,
            page_token,
            region: region.to_owned(),
            state: state.into(),
            ..Default::default()
        };
        let answer = session
            .api()?
            .tenants()
            .list_tenants(session.ask(asked))
            .await?
            .into_inner();
        tenants.extend(answer.tenants);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok((tenants, Freshness::of(answer.freshness)));
        }
    }
}

async fn status(named: &str, session: &Session) -> Result<(), Failure> {
    let (tenant, freshness) = get(session, named).await?;
    let group = match tenant.placement.as_ref().filter(|place| !place.group.is_empty()) {
        Some(place) => group::get(&place.group, session).await?,
        None => None,
    };
    let state = operation::State::Unspecified;
    let (operations, _) = op::list(session, &tenant.id, state, 1).await?;
    let health = health(&tenant.id, session).await?;
    session.print(&Status {
        health,
        tenant: Shown::from(tenant),
        group,
        operation: operations.into_iter().next().map(Operation::from),
        freshness,
    })
}

/// Everything that is known of it; none from a registry that does not say yet.
async fn health(id: &str, session: &Session) -> Result<Option<Health>, Failure> {
    let asked = v1::GetHealthRequest {
        tenant: id.to_owned(),
        ..Default::default()
    };
    match session.api()?.databases().get_health(session.ask(asked)).await {
        Ok(answer) => Ok(Some(Health::from(answer.into_inner()))),
        Err(status) if status.code() == tonic::Code::Unimplemented => Ok(None),
        Err(status) => Err(status.into()),
    }
}
