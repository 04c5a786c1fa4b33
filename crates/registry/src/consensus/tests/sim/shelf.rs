//! A node's archive, as far as consensus asks for it: it is whole, or it has a hole that another node can fill.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reeve_domain::Revision;

use super::ground::time::sleep;
use super::world::{World, drawn};

/// What survives its node, as an archive does.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    last: Revision,
    has_hole: bool,
}

impl Shelf {
    pub fn applied(&self, revision: Revision) {
        let mut kept = self.0.lock();
        kept.last = kept.last.max(revision);
    }

    /// A snapshot took the place of what was not heard: that is missing.
    pub fn installed(&self, revision: Revision) {
        let mut kept = self.0.lock();
        kept.has_hole |= revision > kept.last;
        kept.last = kept.last.max(revision);
    }

    pub fn lose(&self) {
        self.0.lock().has_hole = true;
    }

    pub fn is_whole(&self) -> bool {
        !self.0.lock().has_hole
    }

    fn fill(&self) {
        self.0.lock().has_hole = false;
    }
}

/// Fetches what is missing from whoever has all of it, now and then.
pub async fn keep_whole(world: World, node: u64) {
    loop {
        sleep(Duration::from_millis(drawn(200..2_500))).await;
        let Some(own) = world.shelf(node) else { return };
        let others = world.running().into_iter().filter(|other| *other != node);
        let mut shelves = others.filter_map(|other| world.shelf(other));
        if !own.is_whole() && shelves.any(|shelf| shelf.is_whole()) {
            own.fill();
        }
    }
}
