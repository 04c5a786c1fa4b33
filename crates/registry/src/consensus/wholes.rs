//! Whose archive is whole, as the nodes told the leader: a node that lacks a part of the audit log is not counted on.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// The nodes that said so last.
#[derive(Clone, Default)]
pub(super) struct Wholes(Arc<Mutex<BTreeSet<u64>>>);

impl Wholes {
    pub(super) fn heard(&self, node: u64, is_whole: bool) {
        let mut nodes = self.0.lock();
        match is_whole {
            true => nodes.insert(node),
            false => nodes.remove(&node),
        };
    }

    pub(super) fn nodes(&self) -> BTreeSet<u64> {
        self.0.lock().clone()
    }
}
