//! The agent beside one PostgreSQL instance: the only hand that touches it.
//!
//! ```text
//! link ── order ─► fence ─► journal? ─► perform ─► steps ─► host (SQL, files, processes)
//!   ▲                                      │
//!   └──────────── report ◄── journal ◄─────┘           senses look, and never act
//! ```

pub mod agent;
mod backoff;
pub mod config;
pub mod disk;
pub mod fence;
mod hold;
pub mod host;
pub mod http;
pub mod identity;
pub mod journal;
pub mod link;
pub mod mend;
pub mod names;
pub mod perform;
pub mod place;
pub mod reap;
pub mod records;
pub mod rounds;
pub mod senses;
pub mod steps;
