//! One registry node: a Raft group that keeps the roll of the fleet, and the doors to it.
//!
//! ```text
//! edge ──► policy ──► consensus ──► domain::apply ──► State ──► hub (watch)
//!            ▲            ▲                             └─────► archive (audit, operations, history)
//! pilot ─────┴────────────┘        authority signs, vault seals, node starts and stops all of it
//! ```

pub mod archive;
pub mod asks;
pub mod authority;
pub mod backup;
pub mod config;
pub mod consensus;
pub mod damage;
pub mod descriptors;
pub mod edge;
pub mod files;
pub mod fill;
pub mod found;
#[cfg(test)]
#[path = "../../domain/tests/gold/mod.rs"]
mod gold;
pub mod http;
pub mod hub;
pub mod join;
pub mod mutant;
pub mod node;
pub mod notify;
pub mod pilot;
pub mod policy;
pub mod rejoin;

pub mod release;
pub mod rooms;
pub mod scrub;
pub mod sink;
mod stop;
pub mod telemetry;
pub mod threads;
pub mod vault;
pub mod wire;

pub use rooms::Rooms;
