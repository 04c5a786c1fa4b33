//! Watchers on every node, what each was told, and whether all of it fits together.
//!
//! ```text
//! changes (acknowledged, by revision) ────────────────┐
//! watchers: begin, follow, pause, resume ─► streams ──┴─► judge: the six properties of a watch
//! ```

pub mod changes;
pub mod judge;
pub mod watchers;

use std::collections::BTreeMap;

use reeve_client::v1::Resolution;

/// One message of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Initial(Box<Resolution>),
    InitialDone(u64),
    Delta(u64, Change),
    Bookmark(u64),
    Lagged(u64),
    Compacted(u64),
}

/// All that one revision did, by tenant; none for a tenant that is gone.
pub type Change = BTreeMap<String, Option<Resolution>>;

/// One stream from its first message to its last.
#[derive(Clone, Debug)]
pub struct Stream {
    pub watcher: usize,
    pub node: u64,
    /// The revision it was to begin after; 0 for the present state.
    pub after: u64,
    pub heard: Vec<Heard>,
}
