//! Consensus in a simulation: real nodes on one thread, with time, network and disks of its own.
//!
//! ```text
//! seed ─► day: found ─► clients + faults ─► heal ─► judge          oracle: what must be true, whatever happens
//!          │                                                         ▲
//!          ├─ exec: every task of every node, a clock that jumps     ├─ clients' answers, views, what nodes apply
//!          ├─ net + wire: each call late, lost, doubled, cut off     │
//!          └─ disk: a crash forgets what was not flushed             history: what happened, the same for each seed
//! ```
//! What runs is what a program runs, `Consensus` with its loops, doors and snapshots, but for the log's file, TLS and
//! sockets. `SIM_SEED=7 SIM_SEEDS=1` plays one seed again, `make sim SEEDS=5000 SEED=1` many.

mod chance;
mod client;
mod day;
mod disk;
mod exec;
mod faults;
pub(in crate::consensus) mod ground;
mod history;
mod net;
mod oracle;
mod roll;
mod seeds;
mod shelf;
pub(in crate::consensus) mod wire;
mod world;
