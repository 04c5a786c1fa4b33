//! `reeve resolve`: which database a request leads to, and why.

use std::process::ExitCode;

use anyhow::{Result, bail};
use reeve_client::v1::{Claim, ResolveRequest, claim};
use serde::Serialize;

use crate::args::Format;
use crate::connect::Connection;
use crate::output;

/// What to resolve.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  reeve resolve cho-ray.example --explain\n  reeve resolve cho-ray\n  reeve resolve --header 'X-Tenant: cho-ray'"
)]
pub struct Args {
    /// A domain, or a slug
    target: Option<String>,
    /// A header, as 'Name: value'
    #[arg(long, conflicts_with = "target")]
    header: Option<String>,
    /// The network the caller is in
    #[arg(long, default_value = "")]
    network: String,
    /// Show the reasoning
    #[arg(long)]
    explain: bool,
}

#[derive(Serialize)]
struct Row {
    tenant_id: String,
    slug: String,
    region: String,
    group: String,
    database: String,
    role: String,
    host: String,
    port: u32,
    epoch: u64,
    placement_number: u64,
    credential_version: u64,
    schema_version: u32,
    revision: u64,
    node_id: u64,
    stale: bool,
    explanation: Vec<String>,
}

/// Asks and prints.
pub async fn run(args: Args, connection: &Connection) -> Result<ExitCode> {
    let claim = match (args.target, args.header) {
        (_, Some(key)) => Claim { kind: claim::Kind::Header as i32, key },
        (Some(key), None) if key.contains('.') => Claim { kind: claim::Kind::Domain as i32, key },
        (Some(key), None) => Claim { kind: claim::Kind::Slug as i32, key },
        (None, None) => bail!("name a domain or a slug, or give --header 'Name: value'"),
    };
    let request =
        ResolveRequest { claim: Some(claim), read: None, network: args.network, explain: args.explain };
    let answer = connection.api.resolver().resolve(connection.call(request)).await?.into_inner();
    let resolution = answer.resolution.unwrap_or_default();
    let freshness = answer.freshness.unwrap_or_default();
    let write = resolution.write.unwrap_or_default();
    let row = Row {
        tenant_id: resolution.tenant_id,
        slug: resolution.slug,
        region: resolution.region,
        group: resolution.group,
        database: resolution.database,
        role: resolution.role,
        host: write.host,
        port: write.port,
        epoch: resolution.epoch,
        placement_number: resolution.placement_number,
        credential_version: resolution.credential_version,
        schema_version: resolution.schema_version,
        revision: freshness.revision,
        node_id: freshness.node_id,
        stale: freshness.stale,
        explanation: answer.explanation,
    };
    if connection.format == Format::Json {
        output::json(&row)?;
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{} → {}:{}/{} as {} (region {}, group {}, epoch {}, placement {}, schema {}, credential v{})",
        row.slug, row.host, row.port, row.database, row.role, row.region, row.group, row.epoch, row.placement_number,
        row.schema_version, row.credential_version
    );
    let stale = if row.stale { ", STALE" } else { "" };
    println!("revision {} from node {}{stale}", row.revision, row.node_id);
    for line in &row.explanation {
        println!("  {line}");
    }
    Ok(ExitCode::SUCCESS)
}
