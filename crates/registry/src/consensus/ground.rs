//! The ground that consensus stands on: time, tasks, threads for the disk, calls to other nodes.
//!
//! In a program that is tokio, tonic and the machine's clock, and nothing lies between. In this crate's own tests a
//! simulation may take their place (`tests/sim`); whatever in this room waits, or begins a task, names them from here.

#[cfg(not(test))]
mod real {
    use std::time::{SystemTime, UNIX_EPOCH};

    use crate::consensus::Dialer;

    pub(in crate::consensus) use crate::threads::in_background;
    pub use openraft_rt_tokio::TokioRuntime as Runtime;
    pub(in crate::consensus) use tokio::spawn;
    pub(in crate::consensus) use tokio::task::spawn_blocking;
    /// What a client of another node sends its calls through.
    pub(in crate::consensus) type Wire = tonic::transport::Channel;

    pub(in crate::consensus) fn dial(dialer: &dyn Dialer, node: u64, address: &str) -> Wire {
        dialer.channel(node, address)
    }

    pub(in crate::consensus) mod time {
        pub(in crate::consensus) use tokio::time::{interval, sleep, timeout, timeout_at};

        pub(in crate::consensus) fn now() -> tokio::time::Instant {
            tokio::time::Instant::now()
        }
    }

    /// The machine's own idea of the time of day.
    pub(in crate::consensus) fn wall_ms() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as u64)
    }
}

#[cfg(not(test))]
pub use real::Runtime;
#[cfg(not(test))]
pub(super) use real::{Wire, dial, in_background, spawn, spawn_blocking, time, wall_ms};

#[cfg(test)]
pub use super::tests::sim::ground::Runtime;
#[cfg(test)]
pub(super) use super::tests::sim::ground::{Wire, dial, in_background, spawn, spawn_blocking, time, wall_ms};
