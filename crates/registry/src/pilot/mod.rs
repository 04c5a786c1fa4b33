//! The leader's loops: each a small shell around a function of `domain::plan`.
//!
//! ```text
//! State + sightings + now ──► plan ──► leadership confirmed? ──► propose
//! ```
//! Deliberately absent: any side effect of its own. The pilot only proposes.

mod alerts;
mod operations;
mod rotation;
mod sightings;
mod version;
mod vitals;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use reeve_domain::{Stamp, State};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use sightings::{Beat, SightingsBoard};
pub use vitals::{Measured, VitalsBoard};

use crate::Rooms;
use crate::config::Rotation;

/// Starts all loops; they end with the token.
pub fn spawn(rooms: &Rooms, rotation: Rotation, tasks: &TaskTracker, stop: &CancellationToken) {
    tasks.spawn(alerts::run(rooms.clone(), stop.clone()));
    tasks.spawn(operations::run(rooms.clone(), stop.clone()));
    tasks.spawn(rotation::run(rooms.clone(), rotation, stop.clone()));
    tasks.spawn(version::run(rooms.clone(), stop.clone()));
    tasks.spawn(sightings::refresh(rooms.sightings.clone(), stop.clone()));
}

/// The leader's time: this machine's clock, never behind the log's.
pub fn now(state: &State) -> Stamp {
    wall().max(state.clock)
}

fn wall() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

type Shared<T> = Arc<parking_lot::Mutex<T>>;
