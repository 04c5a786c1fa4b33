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
pub const WATCHERS: [usize; 2] = [1_000, 10_000];
/// HTTP/2 servers allow 200 streams on a connection.
const WATCHERS_PER_CONNECTION: usize = 84;
/// Of what was reached closed, how much is asked for by the clock.
const OPEN_LOOP_PART: f64 = 0.7;
/// Calls under way in an open run at most.
pub const OPEN_LOOP_IN_FLIGHT: usize = 1_024;
/// A registry remembers a million request ids for a day; the rest is for watchers and kills.
const CHANGES_MAX: u64 = 900_000;

/// Of one principal 100 000 are remembered.
const PROFILED_CHANGES_MAX: u64 = 90_000;

#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: usize,
    pub kills: usize,
    pub tenants: usize,
    /// Tenants of the part that is about many of them.
    pub scale: usize,
    pub etcd_version: String,
    warm_up: Duration,
    seconds: u64,
    watch_seconds: u64,
    commit: String,
    quick: bool,
}

impl Plan {
    pub fn of(args: &Args, etcd_version: String) -> Plan {
        let (rounds, kills, tenants, scale, seconds, watch_seconds) = match args.quick {
            true => (2, 2, 60, 1_500, 1, 1),
            false => (4, 20, 1_000, 100_000, 5, 5),
        };
        Plan {
            rounds: args.rounds.unwrap_or(rounds).max(1),
            kills: args.kills.unwrap_or(kills).max(1),
            tenants: args.tenants.unwrap_or(tenants).max(1),
            scale: args.scale.unwrap_or(scale).max(1),
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

    /// By the clock, at a part of what was reached without one.
    pub fn open_loop(&self, reached: f64, calls_max: Option<u64>) -> Load {
        Load {
            rate: NonZeroU32::new(((reached * OPEN_LOOP_PART) as u32).max(1)),
            ..self.load(OPEN_LOOP_IN_FLIGHT, calls_max)
        }
    }

    /// While snapshots are built.
    pub fn scale_writing(&self) -> Load {
        Load {
            measured: Duration::from_secs(if self.quick { 12 } else { 30 }),
            ..self.load(READING, None)
        }
    }

    /// How long a load goes before it is profiled, and for how long it is.
    pub fn profiling(&self) -> (Duration, Duration) {
        (self.warm_up, Duration::from_secs(2 * self.seconds))
    }

    pub fn profiled_reading(&self) -> Load {
        Load {
            measured: self.profiling().1,
            ..self.load(READING, None)
        }
    }

    /// As many as one principal's changes are remembered.
    pub fn profiled_writing(&self) -> Load {
        Load {
            calls_max: Some(PROFILED_CHANGES_MAX),
            ..self.profiled_reading()
        }
    }

    pub fn writing(&self, in_flight: usize) -> Load {
        self.load(in_flight, Some(self.changes_max()))
    }

    /// Of one measurement: those in flight, and one by the clock.
    pub fn changes_max(&self) -> u64 {
        CHANGES_MAX / (self.rounds * (WRITING.len() + 1)) as u64
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

    pub fn watching(&self, watchers: usize) -> watch::Plan {
        watch::Plan {
            watchers,
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

    pub fn settings_of_watching(&self, watchers: usize) -> Settings {
        Settings {
            connections: watcher_connections(watchers),
            watchers: Some(watchers),
            rounds: Some(self.rounds),
            seconds: Some(self.watch_seconds),
            ..self.settings()
        }
    }
}

/// As many as carry so many streams, the same to each node.
pub fn watcher_connections(watchers: usize) -> usize {
    watchers.div_ceil(WATCHERS_PER_CONNECTION).next_multiple_of(NODES)
}
