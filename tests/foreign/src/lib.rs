//! Clients of other languages against a real fleet, and what all of them must be told alike.
//!
//! ```text
//! contract.json ─► table ─┬─► asked                 Rust, through reeve-client
//!                         ├─► python/contract.py    says what it was answered
//!                         └─► node/contract.js      likewise        ─► matching: one judge for all
//! ```
//! What docs/clients.md shows is what runs here: `example.rs`, `python/{fleet,errors}.py`, `node/{fleet,errors}.js`.

mod asked;
pub mod example;
mod matching;
mod program;
mod table;
mod tools;
mod world;

pub use asked::ask;
pub use program::Program;
pub use table::{Case, cases, judge};
pub use tools::{Language, Tools, root};
pub use world::World;
