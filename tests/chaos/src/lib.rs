//! What Reeve promises, checked while things break.
//!
//! ```text
//! cluster ◄─ faults         a real fleet, and what is done to it
//! workload ─► history       what was asked, and what was answered
//! trace                 the system calls of a process, and faults put into them
//! world                 a registry with clocks and disks of its own, for the faults that need them
//! scenarios ─► storm    a fault after the other, as a story or by chance, while clients play
//! callers               services none of whose calls may fail
//! changes, watchers ─► judge  what watchers were told (watching)
//! registers ─► linear   clients of a few values, and whether some order explains what they were told
//! release ◄─ steady     nodes of two releases, and clients that forgive nothing
//! invariants                observe(fleet) ─► judge(history, observed): one file per promise
//! broken                    what a promise says that did not hold, unlike a play that could not be played
//! ```
//! Each promise lists mutants: ways to break what it reads. A promise that does not notice one is no promise.

pub mod broken;
pub mod callers;
pub mod cluster;
pub mod faults;
pub mod flood;
pub mod history;
pub mod invariants;
pub mod linear;
pub mod memory;
pub mod metrics;
mod player;
pub mod registers;
pub mod release;
pub mod scenarios;
pub mod steady;
pub mod storm;
pub mod trace;
pub mod watching;
pub mod workload;
pub mod world;
