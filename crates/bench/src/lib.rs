//! The registry beside an etcd of the same machine: what is made of the measurements.
//!
//! ```text
//! drive/ (the program: both clusters, interleaved rounds) ─► Samples ─► Pairing ─► Row ─► Summary (table, JSON) ─► plot (SVG)
//!                                             kills ─► gap ────────────────────────┘
//!         perf on busy nodes ─► profile (shares, flamegraphs)
//! ```
//! The load itself is `reeve bench`'s own. Deliberately absent: any number that is not beside its peer's.

pub mod cpu;
pub mod gap;
pub mod memory;
pub mod pairing;
pub mod plot;
pub mod profile;
pub mod summary;
