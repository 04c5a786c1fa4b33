//! `reeve cluster join-token`: a single-use token with which somebody gets a first certificate.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reeve_client::v1;
use serde::Serialize;

use crate::fail::Failure;
use crate::files;
use crate::session::{Session, duration};
use crate::show::{Page, Show, time};

/// Make a single-use token for a node, an agent, a service or a person
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve cluster join-token --role node --out n2.token\n  reeve cluster join-token --role agent --name vn-1 --region vn --out vn-1.token\n  reeve cluster join-token --role service --name kiosk --tenant cho-ray --out kiosk.token\n  reeve cluster join-token --role auditor --name vera --ttl 1h --out vera.token"
)]
pub struct JoinToken {
    /// What it will be
    #[arg(long, value_enum)]
    role: Role,
    /// What it will be called; the registry numbers nodes itself
    #[arg(long, required_if_eq_any([("role", "agent"), ("role", "service"), ("role", "operator"), ("role", "auditor"), ("role", "admin")]))]
    name: Option<String>,
    /// Agents: where its PostgreSQL stands
    #[arg(long, required_if_eq("role", "agent"), value_name = "REGION")]
    region: Option<String>,
    /// Agents: the group it serves; one named like the agent unless told
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Services: the tenants it is limited to; all unless told
    #[arg(long, value_delimiter = ',', value_name = "TENANTS")]
    tenant: Vec<String>,
    /// How long it can be used; at most 24h
    #[arg(long, value_parser = duration, default_value = "10m", value_name = "TIME")]
    ttl: Duration,
    /// File to write it to, for its owner alone; standard output unless told
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Node,
    Agent,
    Service,
    Operator,
    Auditor,
    Admin,
}

impl From<Role> for v1::Role {
    fn from(role: Role) -> v1::Role {
        match role {
            Role::Node => v1::Role::Node,
            Role::Agent => v1::Role::Agent,
            Role::Service => v1::Role::Service,
            Role::Operator => v1::Role::Operator,
            Role::Auditor => v1::Role::Auditor,
            Role::Admin => v1::Role::Admin,
        }
    }
}

#[derive(Serialize)]
struct Minted {
    /// Left out when it went to a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    expire_time: String,
}

impl Show for Minted {
    fn page(&self) -> Page {
        match (&self.token, &self.file) {
            (Some(token), _) => Page::from(token.as_str()),
            (None, Some(file)) => file.display().to_string().into(),
            (None, None) => Page::default(),
        }
    }
}

pub async fn run(args: JoinToken, session: &Session) -> Result<(), Failure> {
    let name = args.name.filter(|_| args.role != Role::Node).unwrap_or_default();
    let asked = v1::CreateJoinTokenRequest {
        request_id: session.request_id(),
        role: v1::Role::from(args.role).into(),
        name,
        region: args.region.unwrap_or_default(),
        group: args.group.unwrap_or_default(),
        tenants: args.tenant,
        ttl: Some(prost_types::Duration {
            seconds: i64::try_from(args.ttl.as_secs()).unwrap_or(i64::MAX),
            nanos: 0,
        }),
    };
    let made = session
        .api()?
        .access()
        .create_join_token(session.ask(asked))
        .await?
        .into_inner();
    let expire_time = time(made.expire_time);
    session.say(&format!("usable once, until {expire_time}"));
    let token = match &args.out {
        None => Some(made.token),
        Some(file) => {
            files::write_secret(file, format!("{}\n", made.token)).map_err(|error| {
                Failure::error(format!("{} was not written", file.display()), error.to_string())
            })?;
            None
        }
    };
    session.print(&Minted {
        token,
        file: args.out,
        expire_time,
    })
}
