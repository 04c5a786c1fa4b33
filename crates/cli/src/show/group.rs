//! Groups of PostgreSQL instances, and their members.

use reeve_client::v1;
use serde::Serialize;

use super::{Freshness, Page, Show, ago_ms, bytes, col, lines, pairs, plain, spare, table, wide};

#[derive(Clone, Debug, Serialize)]
pub struct Group {
    pub name: String,
    pub region: String,
    pub class: String,
    pub epoch: u64,
    pub fenced: bool,
    pub primary: String,
    pub members: Vec<Member>,
    pub databases: u32,
    pub capacity: u32,
}

#[derive(Clone, Debug, Serialize)]
pub struct Member {
    pub name: String,
    pub state: String,
    pub endpoints: Vec<Endpoint>,
    pub postgres_version: String,
    pub last_seen_ms: Option<u64>,
    pub lag_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Endpoint {
    pub network: String,
    pub host: String,
    pub port: u32,
}

impl From<v1::Group> for Group {
    fn from(group: v1::Group) -> Group {
        Group {
            class: plain(group.class().as_str_name(), "CLASS_"),
            name: group.name,
            region: group.region,
            epoch: group.epoch,
            fenced: group.fenced,
            primary: group.primary,
            members: group.members.into_iter().map(Member::from).collect(),
            databases: group.databases,
            capacity: group.capacity,
        }
    }
}

impl From<v1::Member> for Member {
    fn from(member: v1::Member) -> Member {
        Member {
            state: plain(member.state().as_str_name(), "STATE_"),
            name: member.name,
            endpoints: member.endpoints.into_iter().map(Endpoint::from).collect(),
            postgres_version: member.postgres_version,
            last_seen_ms: member.last_seen.map(ago_ms),
            lag_bytes: member.lag_bytes,
        }
    }
}

impl From<v1::Endpoint> for Endpoint {
    fn from(endpoint: v1::Endpoint) -> Endpoint {
        Endpoint {
            network: endpoint.network,
            host: endpoint.host,
            port: endpoint.port,
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Group {
    fn door(&self) -> &'static str {
        match self.fenced {
            true => "fenced",
            false => "open",
        }
    }

    pub fn members_page(&self) -> Page {
        let row = |member: &Member| {
            let role = if member.name == self.primary {
                "primary"
            } else {
                "standby"
            };
            let place = member.endpoints.first().map(ToString::to_string);
            vec![
                member.name.clone(),
                role.to_owned(),
                member.state.clone(),
                place.unwrap_or_default(),
                member.postgres_version.clone(),
                member
                    .last_seen_ms
                    .map(|ms| format!("{ms} ms"))
                    .unwrap_or_default(),
                bytes(member.lag_bytes),
            ]
        };
        table(
            [
                col("MEMBER"),
                col("ROLE"),
                col("STATE"),
                col("ADDRESS"),
                spare("POSTGRES"),
                spare("SEEN"),
                col("LAG"),
            ],
            self.members.iter().map(row),
        )
    }
}

impl Show for Group {
    fn page(&self) -> Page {
        let about = pairs([
            ("group", self.name.clone()),
            ("region", self.region.clone()),
            ("class", self.class.clone()),
            ("door", self.door().to_owned()),
            ("epoch", self.epoch.to_string()),
            ("databases", format!("{} of {}", self.databases, self.capacity)),
        ]);
        about.and(self.members_page())
    }
}

#[derive(Debug, Serialize)]
pub struct Groups {
    pub groups: Vec<Group>,
    pub freshness: Freshness,
}

fn of_members(group: &Group, what: impl Fn(&Member) -> &String) -> String {
    let all: Vec<&str> = group.members.iter().map(|member| what(member).as_str()).collect();
    all.join(",")
}

impl Show for Groups {
    fn lines(&self) -> Vec<String> {
        lines(&self.groups)
    }

    fn names(&self) -> Vec<String> {
        self.groups.iter().map(|one| one.name.clone()).collect()
    }

    fn page(&self) -> Page {
        let row = |group: &Group| {
            let ready = group
                .members
                .iter()
                .filter(|member| member.state == "ready")
                .count();
            vec![
                group.name.clone(),
                group.region.clone(),
                group.class.clone(),
                group.door().to_owned(),
                group.primary.clone(),
                format!("{ready}/{}", group.members.len()),
                format!("{}/{}", group.databases, group.capacity),
                group.epoch.to_string(),
                of_members(group, |member| &member.name),
                of_members(group, |member| &member.postgres_version),
            ]
        };
        table(
            [
                col("GROUP"),
                col("REGION"),
                spare("CLASS"),
                col("DOOR"),
                col("PRIMARY"),
                col("READY"),
                col("DATABASES"),
                spare("EPOCH"),
                wide("MEMBERS"),
                wide("POSTGRES"),
            ],
            self.groups.iter().map(row),
        )
    }
}
