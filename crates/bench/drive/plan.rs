//! How much is measured, for how long.

use std::num::NonZeroU32;
use std::time::Duration;

use reeve_bench::summary::Settings;
use reeve_cli::bench::load::Load;
use reeve_cli::bench::watch;

use crate::Args;

pub const NODES: usize = 3;
/// Two to each node: with either cluster one call in three meets the leader.
pub const CONNECTIONS: usize = 6;
/// Calls in flight while reading.
pub const READING: usize = 256;
/// Calls in flight while writing, one row each.
pub const WRITING: [usize; 5] = [1, 16, 64, 256, 1024];
pub const WATCHERS: usize = 1_000;
/// HTTP/2 servers allow 200 streams on a connection.
pub const WATCHER_CONNECTIONS: usize = 12;
/// A registry remembers a million request ids for a day; the rest is for watchers and kills.
const CHANGES_MAX: u64 = 900_000;

#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: usize,
    pub kills: usize,
    pub tenants: usize,
    pub etcd_version: String,
    warm_up: Duration,
    seconds: u64,
    watch_seconds: u64,
    commit: String,
    quick: bool,
}

impl Plan {
    pub fn of(args: &Args, etcd_version: String) -> Plan {
        let (rounds, kills, tenants, seconds, watch_seconds) = match args.quick {
            true => (2, 2, 60, 1, 1),
            false => (4, 20, 1_000, 5, 5),
        };
        Plan {
            rounds: args.rounds.unwrap_or(rounds).max(1),
            kills: args.kills.unwrap_or(kills).max(1),
            tenants: args.tenants.unwrap_or(tenants).max(1),
            etcd_version,
            warm_up: Duration::from_millis(if args.quick { 300 } else { 1_000 }),
            seconds,
            watch_seconds,
            commit: args.commit.clone(),
            quick: args.quick,
        }
    }

    pub fn reading(&self) -> Load {
        self.load(READING, None)
    }

    pub fn writing(&self, in_flight: usize) -> Load {
        let each = CHANGES_MAX / (self.rounds * WRITING.len()) as u64;
        self.load(in_flight, Some(each))
    }

    fn load(&self, in_flight: usize, calls_max: Option<u64>) -> Load {
        Load {
            in_flight,
            warm_up: self.warm_up,
            measured: Duration::from_secs(self.seconds),
            rate: None,
            calls_max,
        }
    }

    pub fn watching(&self) -> watch::Plan {
        watch::Plan {
            watchers: WATCHERS,
            rate: NonZeroU32::MIN.saturating_add(4),
            warm_up: self.warm_up,
            measured: Duration::from_secs(self.watch_seconds),
        }
    }

    /// What every row says of its circumstances.
    pub fn settings(&self) -> Settings {
        Settings {
            reeve: env!("CARGO_PKG_VERSION").to_owned(),
            commit: self.commit.clone(),
            etcd: self.etcd_version.clone(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            nodes: NODES,
            tls: "mutual, of clients and peers",
            fsync: "on",
            quick: self.quick,
            tenants: self.tenants,
            connections: CONNECTIONS,
            ..Settings::default()
        }
    }

    /// The same, of what was measured round by round.
    pub fn settings_of_rounds(&self, in_flight: usize) -> Settings {
        Settings {
            in_flight: Some(in_flight),
            rounds: Some(self.rounds),
            seconds: Some(self.seconds),
            ..self.settings()
        }
    }

    pub fn settings_of_watching(&self) -> Settings {
        Settings {
            connections: WATCHER_CONNECTIONS,
            watchers: Some(WATCHERS),
            rounds: Some(self.rounds),
            seconds: Some(self.watch_seconds),
            ..self.settings()
        }
    }
}
