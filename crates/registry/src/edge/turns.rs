//! Turns at something that only a few may do at once: in order, and no principal has them all.
//!
//! ```text
//! ask ─► the line of one's own principal (so many of it at once) ─► the line of all ─► a turn, until it is dropped
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Turns of one node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Turns {
    all: Arc<Semaphore>,
    each: usize,
    lines: Arc<Mutex<HashMap<Arc<str>, Weak<Semaphore>>>>,
}

/// One turn.
pub(super) struct Turn {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Turns {
    pub(super) fn new(all: usize, each: usize) -> Turns {
        Turns {
            all: Arc::new(Semaphore::new(all)),
            each,
            lines: Arc::default(),
        }
    }

    /// Waits for a turn. Of one principal, no more than its share stand in the line of all.
    pub(super) async fn take(&self, who: &Arc<str>) -> Result<Turn, AcquireError> {
        let own = self.line_of(who).acquire_owned().await?;
        let all = self.all.clone().acquire_owned().await?;
        Ok(Turn { _all: all, _own: own })
    }

    fn line_of(&self, who: &Arc<str>) -> Arc<Semaphore> {
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get(who).and_then(Weak::upgrade) {
            return line;
        }
        // Nobody stands in those; a new one comes seldom enough to look at all.
        lines.retain(|_, line| line.strong_count() > 0);
        let line = Arc::new(Semaphore::new(self.each));
        lines.insert(who.clone(), Arc::downgrade(&line));
        line
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn one_principal_has_its_share_however_many_of_it_wait() {
        let turns = Turns::new(3, 2);
        let [greedy, other, third]: [Arc<str>; 3] = ["greedy", "other", "third"].map(Into::into);
        let _first = turns.take(&greedy).await.unwrap();
        let second = turns.take(&greedy).await.unwrap();
        let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(turns.take(&greedy))).collect();
        for turn in &mut waiting {
            assert!(futures::poll!(turn.as_mut()).is_pending());
        }
        // The greedy one has not got them all.
        let others = tokio::time::timeout(PATIENCE, turns.take(&other)).await.unwrap();
        assert!(futures::poll!(waiting[0].as_mut()).is_pending());
        drop(second);
        let next = futures::poll!(waiting[0].as_mut());
        assert!(next.is_ready(), "its own line moves in order");
        assert!(futures::poll!(waiting[1].as_mut()).is_pending());
        drop((waiting, others, next));
        let _third = turns.take(&third).await.unwrap();
        let known = turns.lines.lock().len();
        assert_eq!(known, 2, "who has no turn and waits for none is forgotten");
    }
}
