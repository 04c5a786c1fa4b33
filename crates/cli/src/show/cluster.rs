//! The registry's own nodes.

use serde::Serialize;

use super::{Freshness, Page, Show, ago_ms, bytes, col, lines, pairs, plain, spare, table, wide};
use crate::cluster::alarms::{Alarm, Level, alarms, healthy};
use crate::cluster::look::{Picture, votes};

#[derive(Debug, Serialize)]
pub struct Cluster {
    pub cluster: String,
    pub cluster_id: String,
    pub cluster_version: u32,
    /// 0 while nobody leads.
    pub leader_id: u64,
    pub term: u64,
    pub applied_index: u64,
    pub tenants: u64,
    pub state_hash: String,
    pub quorum: Quorum,
    pub nodes: Vec<Node>,
    pub alarms: Vec<Alarm>,
    pub freshness: Freshness,
}

#[derive(Debug, Serialize)]
pub struct Quorum {
    pub voters: usize,
    /// Voters that answer and whose disks have room.
    pub healthy: usize,
    pub needed: usize,
    /// How many more may be lost.
    pub spare: usize,
}

#[derive(Debug, Serialize)]
pub struct Node {
    pub id: u64,
    pub role: String,
    pub api_address: String,
    pub peer_address: String,
    /// As the leader knows it.
    pub matched_index: u64,
    pub last_heard_ms: Option<u64>,
    pub lag_entries: Option<u64>,
    /// Why it did not answer; everything below is unknown then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
    #[serde(flatten)]
    pub own: Option<Own>,
}

/// What a node says of itself.
#[derive(Debug, Serialize)]
pub struct Own {
    pub applied_index: u64,
    pub revision: u64,
    pub staleness_ms: Option<u64>,
    pub disk: &'static str,
    pub disk_free_bytes: u64,
    pub disk_total_bytes: u64,
    pub fsync_p99_us: Option<u64>,
    pub log_bytes: u64,
    pub snapshots_bytes: u64,
    pub archive_bytes: u64,
    pub archive_whole: bool,
    pub program_version: String,
}

impl From<&Picture> for Cluster {
    fn from(picture: &Picture) -> Cluster {
        let best = &picture.best;
        let (voters, healthy) = (picture.voters().count(), healthy(picture));
        let needed = voters / 2 + 1;
        Cluster {
            cluster: best.cluster.clone(),
            cluster_id: best.cluster_id.clone(),
            cluster_version: best.cluster_version,
            leader_id: picture.leader().unwrap_or(0),
            term: best.term,
            applied_index: best.applied_index,
            tenants: best.tenants,
            state_hash: best.state_hash.clone(),
            quorum: Quorum {
                voters,
                healthy,
                needed,
                spare: healthy.saturating_sub(needed),
            },
            nodes: best.nodes.iter().map(|node| Node::of(picture, node)).collect(),
            alarms: alarms(picture)
                .into_iter()
                .filter(|alarm| alarm.level > Level::Note)
                .collect(),
            freshness: Freshness::of(best.freshness),
        }
    }
}

impl Node {
    fn of(picture: &Picture, node: &reeve_client::v1::Node) -> Node {
        let mut role = plain(node.role().as_str_name(), "ROLE_");
        if votes(node) && picture.leader() != Some(node.id) {
            // Whom the last quorum followed leads no more.
            role = "follower".to_owned();
        }
        Node {
            id: node.id,
            role,
            api_address: node.api_address.clone(),
            peer_address: node.peer_address.clone(),
            matched_index: node.matched_index,
            last_heard_ms: node.last_heard.map(ago_ms),
            lag_entries: picture.lag(node),
            unreachable: picture
                .answers
                .get(&node.id)
                .and_then(|answer| answer.clone().err()),
            own: Own::of(picture, node.id),
        }
    }
}

impl Own {
    fn of(picture: &Picture, id: u64) -> Option<Own> {
        let said = picture.said(id)?;
        let vitals = said.vitals.clone().unwrap_or_default();
        let freshness = Freshness::of(said.freshness);
        let micros =
            |span: prost_types::Duration| span.seconds as u64 * 1_000_000 + span.nanos as u64 / 1_000;
        Some(Own {
            applied_index: said.applied_index,
            revision: freshness.revision,
            staleness_ms: freshness.staleness_ms,
            disk: match (vitals.disk_full, vitals.disk_slow) {
                (true, _) => "full",
                (false, true) => "slow",
                (false, false) => "ok",
            },
            disk_free_bytes: vitals.disk_free_bytes,
            disk_total_bytes: vitals.disk_total_bytes,
            fsync_p99_us: vitals.fsync_p99.map(micros),
            log_bytes: vitals.log_bytes,
            snapshots_bytes: vitals.snapshots_bytes,
            archive_bytes: vitals.archive_bytes,
            archive_whole: vitals.archive_whole,
            program_version: vitals.program_version,
        })
    }

    fn row(&self) -> [String; 9] {
        [
            self.disk.to_owned(),
            bytes(self.disk_free_bytes),
            self.fsync_p99_us
                .map(|us| format!("{:.1} ms", us as f64 / 1_000.0))
                .unwrap_or_default(),
            bytes(self.log_bytes),
            if self.archive_whole { "whole" } else { "has a hole" }.to_owned(),
            self.program_version.clone(),
            bytes(self.disk_total_bytes),
            bytes(self.snapshots_bytes),
            bytes(self.archive_bytes),
        ]
    }
}

impl Show for Cluster {
    fn page(&self) -> Page {
        let tables = self.group().and(self.disks());
        self.about().and(tables).and(told(&self.alarms))
    }
}

impl Cluster {
    fn about(&self) -> Page {
        let leader = match self.leader_id {
            0 => format!("nobody, last term {}", self.term),
            id => format!("node {id}, term {}", self.term),
        };
        let at = format!(
            "index {}, revision {}",
            self.applied_index, self.freshness.revision
        );
        pairs([
            ("cluster", self.cluster.clone()),
            ("id", self.cluster_id.clone()),
            ("leader", leader),
            ("quorum", self.quorum.words()),
            ("applied", at),
            ("tenants", self.tenants.to_string()),
            ("told by", format!("node {}", self.freshness.node_id)),
        ])
    }

    /// Two tables, so that neither is wider than a terminal.
    fn group(&self) -> Page {
        let ms = |ms: Option<u64>| ms.map(|ms| format!("{ms} ms")).unwrap_or_default();
        let row = |node: &Node| {
            let own = node.own.as_ref();
            let stale = match (own, own.and_then(|own| own.staleness_ms)) {
                (None, _) => "no answer".to_owned(),
                (Some(_), None) => "unknown".to_owned(),
                (Some(_), stale) => ms(stale),
            };
            vec![
                node.id.to_string(),
                node.role.clone(),
                node.api_address.clone(),
                node.lag_entries.map(|lag| lag.to_string()).unwrap_or_default(),
                ms(node.last_heard_ms),
                own.map(|own| own.applied_index.to_string()).unwrap_or_default(),
                stale,
                node.peer_address.clone(),
                own.map(|own| own.revision.to_string()).unwrap_or_default(),
                node.unreachable.clone().unwrap_or_default(),
            ]
        };
        table(
            [
                col("NODE"),
                col("ROLE"),
                col("API"),
                col("LAG"),
                spare("HEARD"),
                col("APPLIED"),
                col("STALE"),
                wide("PEER"),
                wide("REVISION"),
                wide("WHY NO ANSWER"),
            ],
            self.nodes.iter().map(row),
        )
    }

    fn disks(&self) -> Page {
        let row = |node: &Node| {
            let own = node.own.as_ref().map(Own::row).unwrap_or_default();
            [vec![node.id.to_string()], own.to_vec()].concat()
        };
        table(
            [
                col("NODE"),
                col("DISK"),
                col("FREE"),
                col("FSYNC P99"),
                spare("LOG"),
                col("ARCHIVE"),
                col("VERSION"),
                wide("OF"),
                wide("SNAPSHOTS"),
                wide("ARCHIVED"),
            ],
            self.nodes.iter().map(row),
        )
    }
}

impl Quorum {
    fn words(&self) -> String {
        let Quorum {
            voters,
            healthy,
            needed,
            spare,
        } = self;
        match healthy < needed {
            true => format!("lost: {healthy} of {voters} voters, {needed} are needed"),
            false => format!("{healthy} of {voters} voters, bears the loss of {spare}"),
        }
    }
}

fn told(alarms: &[Alarm]) -> String {
    if alarms.is_empty() {
        return "no alarms".to_owned();
    }
    let line = |alarm: &Alarm| format!("\n! {}\n  {}", alarm.what, alarm.fix);
    format!("ALARMS{}", alarms.iter().map(line).collect::<String>())
}

/// Who is in it, without asking each.
#[derive(Debug, Serialize)]
pub struct Members {
    pub nodes: Vec<Member>,
}

#[derive(Debug, Serialize)]
pub struct Member {
    pub id: u64,
    pub role: String,
    pub api_address: String,
    pub peer_address: String,
}

impl From<reeve_client::v1::GetClusterResponse> for Members {
    fn from(cluster: reeve_client::v1::GetClusterResponse) -> Members {
        let member = |node: reeve_client::v1::Node| Member {
            id: node.id,
            role: plain(node.role().as_str_name(), "ROLE_"),
            api_address: node.api_address,
            peer_address: node.peer_address,
        };
        Members {
            nodes: cluster.nodes.into_iter().map(member).collect(),
        }
    }
}

impl Show for Members {
    fn page(&self) -> Page {
        let row = |node: &Member| {
            let addresses = [node.api_address.clone(), node.peer_address.clone()];
            [vec![node.id.to_string(), node.role.clone()], addresses.to_vec()].concat()
        };
        table(["NODE", "ROLE", "API", "PEER"], self.nodes.iter().map(row))
    }

    fn lines(&self) -> Vec<String> {
        lines(&self.nodes)
    }

    fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.id.to_string()).collect()
    }
}
