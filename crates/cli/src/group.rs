//! `reeve group`: PostgreSQL instances and what is on them.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use reeve_client::v1::{Group, ListGroupsRequest, member};
use serde::Serialize;

use crate::args::Format;
use crate::connect::Connection;
use crate::output;

/// What can be done with groups.
#[derive(Subcommand)]
pub enum Verb {
    /// List them with their members
    #[command(after_help = "Example:\n  reeve group ls")]
    Ls {
        /// Only those in a region
        #[arg(long, default_value = "")]
        region: String,
    },
}

#[derive(Serialize)]
struct Row {
    group: String,
    region: String,
    epoch: u64,
    fenced: bool,
    databases: u32,
    capacity: u32,
    member: String,
    state: &'static str,
    postgres: String,
    endpoint: String,
    seen_seconds_ago: Option<f64>,
}

/// Carries a verb out.
pub async fn run(verb: Verb, connection: &Connection) -> Result<ExitCode> {
    let Verb::Ls { region } = verb;
    let request = ListGroupsRequest { page_size: 1000, region, ..Default::default() };
    let groups = connection.api.groups().list_groups(connection.call(request)).await?.into_inner().groups;
    let rows: Vec<Row> = groups.iter().flat_map(rows).collect();
    if connection.format == Format::Json {
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        output::table(&["GROUP", "REGION", "MEMBER", "STATE", "POSTGRES", "ENDPOINT", "DATABASES", "EPOCH", "SEEN"]);
    for row in rows {
        table.add_row([
            row.group,
            row.region,
            row.member,
            row.state.to_owned(),
            row.postgres,
            row.endpoint,
            format!("{}/{}", row.databases, row.capacity),
            row.epoch.to_string(),
            row.seen_seconds_ago.map_or("never".to_owned(), |s| format!("{s:.1} s ago")),
        ]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

fn rows(group: &Group) -> Vec<Row> {
    let of = |member: &reeve_client::v1::Member| Row {
        group: group.name.clone(),
        region: group.region.clone(),
        epoch: group.epoch,
        fenced: group.fenced,
        databases: group.databases,
        capacity: group.capacity,
        member: member.name.clone(),
        state: match member.state() {
            member::State::Joining => "joining",
            member::State::Ready => "ready",
            member::State::Down => "down",
            member::State::Fenced => "fenced",
            member::State::Unspecified => "",
        },
        postgres: member.postgres_version.clone(),
        endpoint: member.endpoints.first().map(|e| format!("{}:{}", e.host, e.port)).unwrap_or_default(),
        seen_seconds_ago: member.last_seen.as_ref().map(|d| d.seconds as f64 + f64::from(d.nanos) / 1e9),
    };
    group.members.iter().map(of).collect()
}
