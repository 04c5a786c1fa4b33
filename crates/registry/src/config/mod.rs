//! A node's settings, shaped like the program.
//!
//! ```text
//! defaults ◄ file (TOML) ◄ REEVE_REGISTRY_… (`__` between levels) ◄ --set key=value
//! ```

mod alerts;
mod backup;
mod layers;
mod limits;
mod print;
mod rotation;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use alerts::Alerts;
pub use backup::{Backup, S3};
pub use layers::{ENV_PREFIX, Layered, load, load_backup};
pub use limits::{Limits, Rate, Rates};
pub use rotation::Rotation;

/// All settings of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The cluster's name; the trust domain of every identity.
    pub cluster: String,
    /// 0: the one that `join` or the bootstrap file wrote down.
    pub node_id: u64,
    pub data_dir: PathBuf,
    pub listen: Listen,
    pub advertise: Advertise,
    pub identity: Identity,
    pub keys: Keys,
    pub raft: Raft,
    pub disk: Disk,
    pub scrub: Scrub,
    pub dial: Dial,
    pub seeds: Seeds,
    pub logs: Logs,
    pub runtime: Runtime,
    pub limits: Limits,
    pub backup: Backup,
    pub rotation: Rotation,
    pub alerts: Alerts,
    pub bench: Bench,
}

/// Where the doors are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    pub api: SocketAddr,
    pub peer: SocketAddr,
    pub http: SocketAddr,
}

/// Where others find the doors, as `host:port`; empty means where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Advertise {
    pub api: String,
    pub peer: String,
}

/// Files in PEM: the certificate chain, its key, the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

/// Who holds the root of all sealing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    pub provider: KeyProvider,
    /// 32 bytes in hex; the same on each node.
    pub path: PathBuf,
}

/// Which kind of key provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyProvider {
    #[default]
    File,
}

/// How consensus is timed, and how much log is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Raft {
    pub profile: RaftProfile,
    /// A snapshot is made after so many entries.
    pub snapshot_entries: u64,
    /// Entries kept behind a snapshot for a node that was away briefly.
    pub trailing_entries: u64,
    /// How often the nodes compare their States, in milliseconds.
    pub compare_ms: u64,
}

/// What is kept free on the disk of the data folder, and how slow it may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    /// With less free the disk counts as full: the node takes no changes, and reads go on. On a small disk an eighth of it.
    pub reserve_mb: u64,
    /// A file that is given up when a node could not start otherwise. 0 for none.
    pub ballast_mb: u64,
    /// A flush of the log that takes longer is slow; after three in a row another node leads.
    pub slow_flush_ms: u64,
}

/// How everything on the disk is read again, to find what it lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scrub {
    /// Once after each start, and again after so long.
    pub every_ms: u64,
    /// Not faster than this.
    pub mb_per_s: u64,
}

impl Default for Scrub {
    fn default() -> Scrub {
        Scrub {
            every_ms: 86_400_000,
            mb_per_s: 8,
        }
    }
}

impl Default for Disk {
    fn default() -> Disk {
        Disk {
            reserve_mb: 256,
            ballast_mb: 64,
            slow_flush_ms: 1_000,
        }
    }
}

impl Default for Raft {
    fn default() -> Raft {
        Raft {
            profile: RaftProfile::Lan,
            snapshot_entries: 20_000,
            trailing_entries: 5_000,
            compare_ms: 600_000,
        }
    }
}

/// How far apart the nodes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RaftProfile {
    #[default]
    Lan,
    Wan,
}

/// Where to reach a peer instead of its advertised address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dial {
    /// Node id to `host:port`.
    pub peers: BTreeMap<String, String>,
}

/// Whom `join` asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Seeds {
    pub api: Vec<String>,
}

/// What is logged, and how it looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    pub format: LogFormat,
    /// As in `info,reeve_registry=debug`.
    pub filter: String,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Threads and patience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    /// 0: one on two cores or fewer, else half of the cores.
    pub worker_threads: usize,
    /// Whether consensus and the door for peers have a thread besides those, so that heartbeats live through a flood of calls.
    pub consensus_thread: bool,
    /// How long a stopping node waits for the work under way, at the most.
    pub drain_ms: u64,
}

/// What only measuring needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bench {
    /// Whether `BenchService.Empty` is served.
    pub empty: bool,
}

impl Default for Listen {
    fn default() -> Listen {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Listen {
            api: local(7400),
            peer: local(7401),
            http: local(7403),
        }
    }
}

impl Default for Logs {
    fn default() -> Logs {
        Logs {
            format: LogFormat::Text,
            filter: "info,openraft=error,raft_log=warn".to_owned(),
        }
    }
}

impl Default for Runtime {
    fn default() -> Runtime {
        Runtime {
            worker_threads: 0,
            consensus_thread: true,
            drain_ms: 5_000,
        }
    }
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not readable as settings at all.
    #[error("configuration cannot be read")]
    Read(#[source] Box<figment::Error>),
    /// One field is wrong.
    #[error("{field}: {why}")]
    Field { field: &'static str, why: String },
}

impl Error {
    fn field(field: &'static str, why: impl Into<String>) -> Error {
        Error::Field {
            field,
            why: why.into(),
        }
    }
}

impl Config {
    /// Holds every field to what it must be; nothing is looked up on disk.
    pub fn validate(&self) -> Result<(), Error> {
        if reeve_domain::words::Name::parse(&self.cluster).is_err() {
            return Err(Error::field(
                "cluster",
                "must be the cluster's name: 1 to 63 of a-z, 0-9 and '-'",
            ));
        }
        let paths = [
            ("data_dir", &self.data_dir),
            ("identity.cert", &self.identity.cert),
            ("identity.key", &self.identity.key),
            ("identity.ca", &self.identity.ca),
            ("keys.path", &self.keys.path),
        ];
        for (field, path) in paths {
            if path.as_os_str().is_empty() {
                return Err(Error::field(field, "must be set to a path"));
            }
        }
        for (field, address) in [
            ("advertise.api", &self.advertise.api),
            ("advertise.peer", &self.advertise.peer),
        ] {
            if !address.is_empty() {
                host_port(field, address)?;
            }
        }
        if self.raft.compare_ms < 100 {
            return Err(Error::field("raft.compare_ms", "must be at least 100"));
        }
        if self.disk.slow_flush_ms == 0 {
            return Err(Error::field("disk.slow_flush_ms", "must be at least 1"));
        }
        if self.scrub.every_ms < 1_000 {
            return Err(Error::field("scrub.every_ms", "must be at least 1000"));
        }
        if !(1..=10_000).contains(&self.scrub.mb_per_s) {
            return Err(Error::field("scrub.mb_per_s", "must be 1 to 10000"));
        }
        if self.raft.snapshot_entries == 0 {
            return Err(Error::field("raft.snapshot_entries", "must be at least 1"));
        }
        self.backup.validate()?;
        self.rotation.validate()?;
        self.alerts.validate()?;
        self.limits.validate()?;
        for seed in &self.seeds.api {
            host_port("seeds.api", seed)?;
        }
        self.dialled().map(drop)
    }

    /// Where the API is reached.
    pub fn api_address(&self) -> String {
        or_else(&self.advertise.api, self.listen.api)
    }

    /// Where peers reach this node.
    pub fn peer_address(&self) -> String {
        or_else(&self.advertise.peer, self.listen.peer)
    }

    /// The peers that are reached elsewhere than where they say.
    pub fn dialled(&self) -> Result<BTreeMap<u64, String>, Error> {
        let peers = self.dial.peers.iter().map(|(id, address)| {
            let id = id.parse().map_err(|_| {
                Error::field(
                    "dial.peers",
                    format!("{id:?} is not a node id; write `\"2\" = \"host:port\"`"),
                )
            })?;
            host_port("dial.peers", address)?;
            Ok((id, address.clone()))
        });
        peers.collect()
    }

    /// Threads that carry calls: one on a small machine, because more of them only wait for each other.
    pub fn worker_threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        match self.runtime.worker_threads {
            0 if cores <= 2 => 1,
            0 => cores / 2,
            set => set,
        }
    }
}

fn or_else(advertised: &str, listened: SocketAddr) -> String {
    if advertised.is_empty() {
        listened.to_string()
    } else {
        advertised.to_owned()
    }
}

fn host_port(field: &'static str, text: &str) -> Result<(), Error> {
    let fits = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !fits {
        return Err(Error::field(field, format!("{text:?} is not host:port")));
    }
    Ok(())
}
