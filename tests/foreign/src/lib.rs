//! Clients of other languages against a real fleet, and what all of them must be told alike.
//!
//! ```text
//! contract.json ─► table ─┬─► asked                 Rust, through reeve-client
//!                         ├─► python/contract.py    says what it was answered
//!                         └─► node/contract.js      likewise        ─► matching: one judge for all
//! python/live.py, node/live.js ─► program ─► watched: a service at work while the leader dies
//! ```
//! What docs/clients.md shows is what runs here: `example.rs`, and of `python` and `node` all
//! but the programs themselves: `fleet`, `errors`, `watch`, `renewal`.

mod asked;
pub mod example;
mod matching;
mod program;
mod table;
mod tools;
mod watched;
mod world;

pub use asked::ask;
pub use program::Program;
pub use table::{Case, cases, judge};
pub use tools::{Language, Tools, root};
pub use watched::judge as judge_watch;
pub use world::World;
