//! A whole fleet on one machine: registry nodes, agents and PostgreSQL instances as child processes.
//!
//! ```text
//! Fleet ─┬─► Node   reeve-registry ◄─┐
//!        ├─► Agent  reeve-agent ◄────┼─ Hop: every link between two processes, to be cut, delayed or frozen
//!        │            └► PostgreSQL ◄┘
//!        └─► Ledger  what a killed owner left running is ended by the next fleet
//! ```
//! It uses the same `cluster init`, join and configuration as a real cluster; no feature exists only here.

mod agent;
mod binaries;
mod clinic;
mod config;
mod fleet;
pub mod hand;
mod hop;
pub mod init;
mod ledger;
mod node;
mod os;
mod plan;
mod ports;
mod postgres;
mod process;
mod ready;
mod schemas;
pub mod tenants;

pub use agent::Agent;
pub use binaries::{Binaries, registry as registry_program};
pub use clinic::Clinic;
pub use config::{Dial, Doors, NodeConfig};
pub use fleet::{Builder, Fleet, Restart};
pub use hop::{Hop, Hops, Mode};
pub use init::{Founded, InitOptions, cluster_init};
pub use node::Node;
pub use ports::free as free_ports;
pub use postgres::Postgres;
pub use ready::until;
pub use schemas::examples_dir;
