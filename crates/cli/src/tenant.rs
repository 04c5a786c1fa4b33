//! `reeve tenant`: bring in, look at, take out.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use reeve_client::v1::{
    Claim, CreateTenantRequest, DeleteTenantRequest, GetTenantRequest, Limits, ListTenantsRequest, RegionPolicy,
    ResolveRequest, SchemaPolicy, Tenant, claim, tenant,
};
use serde::Serialize;

use crate::args::Format;
use crate::connect::Connection;
use crate::{op, output};

/// What can be done with tenants.
#[derive(Subcommand)]
pub enum Verb {
    /// Bring a tenant in: claims, roles, database, schema, doors, proof
    #[command(
        after_help = "Examples:\n  reeve tenant create cho-ray --region vn --domain cho-ray.example --channel ehr\n  reeve tenant create cho-ray --region vn --channel ehr --no-wait"
    )]
    Create(Create),
    /// List tenants
    #[command(after_help = "Example:\n  reeve tenant ls --region vn")]
    Ls {
        /// Only those in a region
        #[arg(long, default_value = "")]
        region: String,
        /// At the most so many
        #[arg(long, default_value_t = 1000)]
        limit: u32,
    },
    /// Show one (id or slug)
    #[command(after_help = "Example:\n  reeve tenant get cho-ray -o json")]
    Get { tenant: String },
    /// Answer "is it safe?" on one page
    #[command(after_help = "Example:\n  reeve tenant status cho-ray")]
    Status { tenant: String },
    /// Take a tenant out: doors closed, database and roles dropped, absence proved
    #[command(after_help = "Example:\n  reeve tenant delete cho-ray --confirm cho-ray")]
    Delete {
        tenant: String,
        /// The slug, typed again; asked for when somebody is there to answer
        #[arg(long, value_name = "SLUG")]
        confirm: Option<String>,
        /// Print the operation and do not wait
        #[arg(long)]
        no_wait: bool,
    },
}

/// A tenant to bring in.
#[derive(clap::Args)]
pub struct Create {
    /// Its short name: a-z, 0-9 and '-'
    slug: String,
    /// The region its data lives in
    #[arg(long)]
    region: String,
    /// The schema channel
    #[arg(long)]
    channel: String,
    /// The schema version; 0: the newest
    #[arg(long, default_value_t = 0)]
    schema_version: u32,
    /// Domains that lead to it
    #[arg(long = "domain")]
    domains: Vec<String>,
    /// Headers that lead to it, as 'Name: value'
    #[arg(long = "header")]
    headers: Vec<String>,
    /// Its name for people
    #[arg(long, default_value = "")]
    name: String,
    /// Address ranges that may connect; none: the fleet's default
    #[arg(long = "allow", value_name = "CIDR")]
    allowlist: Vec<String>,
    /// Connections its logins may open
    #[arg(long, default_value_t = 50)]
    connections: u32,
    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the operation and do not wait
    #[arg(long)]
    no_wait: bool,
}

/// A tenant as JSON.
#[derive(Debug, Serialize)]
pub struct Row {
    id: String,
    slug: String,
    display_name: String,
    state: &'static str,
    region: String,
    group: String,
    database: String,
    schema_channel: String,
    schema_version: u32,
    credential_version: u64,
    claims: Vec<String>,
    allowlist: Vec<String>,
    operation: String,
    etag: String,
    create_time: String,
}

/// Carries a verb out.
pub async fn run(verb: Verb, connection: &Connection) -> Result<ExitCode> {
    match verb {
        Verb::Create(create) => return bring_in(connection, create).await,
        Verb::Ls { region, limit } => list(connection, region, limit).await?,
        Verb::Get { tenant } => {
            let tenant = get(connection, &tenant).await?;
            match connection.format {
                Format::Json => output::json(&row(&tenant))?,
                Format::Table => println!("{}", table(&[tenant])),
            }
        }
        Verb::Status { tenant } => status(connection, &tenant).await?,
        Verb::Delete { tenant, confirm, no_wait } => return take_out(connection, &tenant, confirm, no_wait).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn bring_in(connection: &Connection, create: Create) -> Result<ExitCode> {
    let claims = create
        .domains
        .into_iter()
        .map(|key| Claim { kind: claim::Kind::Domain as i32, key })
        .chain(create.headers.into_iter().map(|key| Claim { kind: claim::Kind::Header as i32, key }));
    let request = CreateTenantRequest {
        request_id: connection.request_id(),
        slug: create.slug,
        display_name: create.name,
        region_policy: Some(RegionPolicy { home: create.region, allowed: vec![] }),
        claims: claims.collect(),
        schema: Some(SchemaPolicy {
            channel: create.channel,
            target_version: create.schema_version,
            ..Default::default()
        }),
        allowlist_cidrs: create.allowlist,
        limits: Some(Limits { connections: create.connections }),
        validate_only: create.dry_run,
        ..Default::default()
    };
    let answer = connection.api.tenants().create_tenant(connection.call(request)).await?.into_inner();
    let operation = answer.operation.unwrap_or_default();
    if create.dry_run {
        eprintln!("it would work; nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    began(connection, &operation.id, create.no_wait).await
}

async fn began(connection: &Connection, operation: &str, no_wait: bool) -> Result<ExitCode> {
    if no_wait {
        println!("{operation}");
        return Ok(ExitCode::SUCCESS);
    }
    if !connection.quiet {
        eprintln!("operation {operation}");
    }
    op::follow(connection, operation, None).await
}

async fn take_out(
    connection: &Connection,
    tenant: &str,
    confirm: Option<String>,
    no_wait: bool,
) -> Result<ExitCode> {
    let known = get(connection, tenant).await?;
    let confirm = match confirm {
        Some(confirm) => confirm,
        None if std::io::stdin().is_terminal() => ask(&known)?,
        None => bail!("--confirm {} is needed where nobody can be asked", known.slug),
    };
    let request = DeleteTenantRequest {
        request_id: connection.request_id(),
        tenant: known.id,
        etag: known.etag,
        confirm,
        validate_only: false,
    };
    let answer = connection.api.tenants().delete_tenant(connection.call(request)).await?.into_inner();
    began(connection, &answer.operation.unwrap_or_default().id, no_wait).await
}

fn ask(tenant: &Tenant) -> Result<String> {
    eprint!("All data of {} ({}) will be gone. Type its slug to go on: ", tenant.slug, tenant.id);
    std::io::stderr().flush()?;
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed).context("nobody answered")?;
    Ok(typed.trim().to_owned())
}

async fn get(connection: &Connection, tenant: &str) -> Result<Tenant> {
    let request = GetTenantRequest { tenant: tenant.to_owned(), read: None };
    let answer = connection.api.tenants().get_tenant(connection.call(request)).await?.into_inner();
    Ok(answer.tenant.unwrap_or_default())
}

async fn list(connection: &Connection, region: String, limit: u32) -> Result<()> {
    let mut tenants = Vec::new();
    let mut page_token = String::new();
    loop {
        let page_size = limit.saturating_sub(tenants.len() as u32).min(1000);
        let request = ListTenantsRequest { page_size, page_token, region: region.clone(), ..Default::default() };
        let page = connection.api.tenants().list_tenants(connection.call(request)).await?.into_inner();
        tenants.extend(page.tenants);
        page_token = page.next_page_token;
        if page_token.is_empty() || tenants.len() as u32 >= limit {
            break;
        }
    }
    match connection.format {
        Format::Json => output::json(&tenants.iter().map(row).collect::<Vec<_>>()),
        Format::Table => {
            println!("{}", table(&tenants));
            Ok(())
        }
    }
}

/// The page that answers whether a tenant is safe.
async fn status(connection: &Connection, tenant: &str) -> Result<()> {
    let tenant = get(connection, tenant).await?;
    let row = row(&tenant);
    if connection.format == Format::Json {
        return output::json(&row);
    }
    let claim = Claim { kind: claim::Kind::Slug as i32, key: row.slug.clone() };
    let request = ResolveRequest { claim: Some(claim), explain: true, ..Default::default() };
    let resolved = connection.api.resolver().resolve(connection.call(request)).await;
    let serves = match &resolved {
        Ok(answer) => {
            let answer = answer.get_ref();
            let host = answer.resolution.as_ref().and_then(|r| r.write.as_ref());
            let age = answer.freshness.as_ref().and_then(|f| f.staleness.as_ref());
            let age = age.map_or("age unknown".to_owned(), |a| format!("{} ms old", a.seconds * 1000 + i64::from(a.nanos) / 1_000_000));
            host.map_or("nowhere".to_owned(), |h| format!("{}:{} ({age})", h.host, h.port))
        }
        Err(status) => format!("no: {}", status.message()),
    };
    println!("{}  {}  region {}  group {}", row.slug, row.state, row.region, row.group);
    let operation = if row.operation.is_empty() { "none".to_owned() } else { row.operation.clone() };
    for (key, value) in [
        ("serves at", serves),
        ("database", row.database),
        ("schema", format!("{} version {}", row.schema_channel, row.schema_version)),
        ("credential", format!("version {}", row.credential_version)),
        ("claims", row.claims.join(", ")),
        ("may connect", if row.allowlist.is_empty() { "the fleet's default network".into() } else { row.allowlist.join(", ") }),
        ("operation", operation),
    ] {
        println!("  {key:<12} {value}");
    }
    Ok(())
}

fn table(tenants: &[Tenant]) -> comfy_table::Table {
    let now = jiff::Timestamp::now();
    let mut table = output::table(&["SLUG", "ID", "STATE", "REGION", "GROUP", "SCHEMA", "DOMAINS", "AGE"]);
    for tenant in tenants {
        let row = row(tenant);
        let domains: Vec<String> =
            row.claims.iter().filter_map(|c| c.strip_prefix("domain ")).map(ToOwned::to_owned).collect();
        table.add_row([
            row.slug,
            row.id,
            row.state.to_owned(),
            row.region,
            row.group,
            format!("{} {}", row.schema_channel, row.schema_version),
            domains.join(","),
            output::ago(tenant.create_time.as_ref(), now),
        ]);
    }
    table
}

fn row(tenant: &Tenant) -> Row {
    let placement = tenant.placement.clone().unwrap_or_default();
    let schema = tenant.schema.clone().unwrap_or_default();
    let claims = tenant.claims.iter().map(|c| {
        let kind = match c.kind() {
            claim::Kind::Domain => "domain",
            claim::Kind::Slug => "slug",
            claim::Kind::Header => "header",
            claim::Kind::Subject => "subject",
            claim::Kind::Unspecified => "",
        };
        format!("{kind} {}", c.key)
    });
    Row {
        id: tenant.id.clone(),
        slug: tenant.slug.clone(),
        display_name: tenant.display_name.clone(),
        state: match tenant.state() {
            tenant::State::Provisioning => "provisioning",
            tenant::State::Active => "active",
            tenant::State::Suspended => "suspended",
            tenant::State::Deleting => "deleting",
            tenant::State::Deleted => "deleted",
            tenant::State::Failed => "failed",
            tenant::State::Unspecified => "",
        },
        region: placement.region,
        group: placement.group,
        database: placement.database,
        schema_channel: schema.channel,
        schema_version: schema.applied_version,
        credential_version: tenant.credential_version,
        claims: claims.collect(),
        allowlist: tenant.allowlist_cidrs.clone(),
        operation: tenant.current_operation.clone(),
        etag: tenant.etag.clone(),
        create_time: output::rfc3339(tenant.create_time.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_shown_in_one_line_and_as_stable_json() {
        let tenant = Tenant {
            id: "t_0123456789ab".into(),
            slug: "cho-ray".into(),
            state: tenant::State::Active as i32,
            claims: vec![Claim { kind: claim::Kind::Domain as i32, key: "cho-ray.example".into() }],
            schema: Some(SchemaPolicy { channel: "ehr".into(), applied_version: 6, ..Default::default() }),
            ..Default::default()
        };
        let lines: Vec<String> = table(std::slice::from_ref(&tenant)).to_string().lines().map(str::to_owned).collect();
        assert!(lines[1].starts_with("cho-ray  t_0123456789ab  active"), "{lines:?}");
        assert!(lines[1].contains("ehr 6   cho-ray.example"), "{lines:?}");
        let json = serde_json::to_value(row(&tenant)).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 15);
        assert_eq!(json["claims"][0], "domain cho-ray.example");
    }
}
