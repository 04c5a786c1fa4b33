//! One watcher's place in the window.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use futures::Stream;
use parking_lot::RwLock;
use reeve_domain::Revision;
use tokio::sync::watch;

use super::window::{Batch, Window};

/// How far a stream that was up to date may fall behind before it is told so.
pub const QUEUE_MAX: usize = 1_024;
/// Batches taken under one lock.
const TAKE_MAX: usize = 256;

/// What a stream yields.
#[derive(Clone, Debug)]
pub enum HubItem {
    /// The next change.
    Batch(Arc<Batch>),
    /// The consumer was too slow, or a snapshot took the place of changes it had not seen. Nothing after
    /// this revision was delivered; the stream is over.
    Lagged { resume_after: Revision },
}

/// Everything after a revision, in order.
pub struct HubStream {
    window: Arc<RwLock<Window>>,
    head: watch::Receiver<Revision>,
    cursor: Revision,
    taken: VecDeque<Arc<Batch>>,
    is_live: bool,
    is_over: bool,
}

impl HubStream {
    pub(super) fn new(
        window: Arc<RwLock<Window>>,
        head: watch::Receiver<Revision>,
        after: Revision,
    ) -> HubStream {
        HubStream {
            window,
            head,
            cursor: after,
            taken: VecDeque::new(),
            is_live: false,
            is_over: false,
        }
    }

    /// The next change, waited for; `None` once the stream has lagged or the node stops.
    pub async fn next(&mut self) -> Option<HubItem> {
        loop {
            if self.is_over {
                return None;
            }
            if let Some(batch) = self.taken.pop_front() {
                self.cursor = batch.revision;
                return Some(HubItem::Batch(batch));
            }
            self.head.borrow_and_update();
            if self.take().is_err() {
                self.is_over = true;
                return Some(HubItem::Lagged {
                    resume_after: self.cursor,
                });
            }
            if self.taken.is_empty() && self.head.changed().await.is_err() {
                return None;
            }
        }
    }

    /// As a stream, for a response body.
    pub fn into_stream(self) -> impl Stream<Item = HubItem> + Send {
        futures::stream::unfold(self, |mut own| async move {
            let item = pin!(own.next()).await?;
            Some((item, own))
        })
    }

    /// Takes what is there. A stream that is still catching up may be far behind; one that was live may not.
    fn take(&mut self) -> Result<(), ()> {
        let window = self.window.read();
        if window.check(self.cursor).is_err() {
            return Err(());
        }
        let (taken, left) = window.after(self.cursor, TAKE_MAX);
        if self.is_live && taken.len() + left > QUEUE_MAX {
            return Err(());
        }
        self.is_live |= left == 0;
        self.taken = taken.into();
        Ok(())
    }
}
