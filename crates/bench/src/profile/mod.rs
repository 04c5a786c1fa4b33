//! Where the nodes' processor time goes: stacks as `perf script` writes them, made into shares and flamegraphs.
//!
//! ```text
//! perf script ─► fold ─► Stacks ─┬─► rooms, threads ─► shares ─► table
//!                                └─► flame (SVG)
//! ```
//! Deliberately absent: recording, which `drive/` does.

mod flame;
mod fold;
mod rooms;
mod shares;

pub use self::flame::{SVG_BYTES_MAX, draw};
pub use self::fold::Stacks;
pub use self::shares::markdown;

/// What was recorded of the nodes under one load.
pub struct Profile {
    /// As a column of the table, and in the name of its picture.
    pub load: &'static str,
    pub stacks: Stacks,
}
