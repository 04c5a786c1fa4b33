//! The hash of State, reckoned once at a time: many who ask at once cost as much as two, whatever changes meanwhile.
//!
//! ```text
//! ask ─► known is no older than mine? ─► it
//!                  └ no: wait until none is under way ─► look again ─► reckon the State of now, for all who wait
//! ```

use std::sync::Arc;

use reeve_domain::State;
use tokio::sync::Mutex;
use tokio::task::JoinError;

use crate::consensus::Published;

type Reckon = dyn Fn(&State) -> [u8; 32] + Send + Sync;

/// The last hash that was asked for.
#[derive(Clone)]
pub(super) struct Hashes {
    known: Arc<Mutex<Option<Known>>>,
    reckon: Arc<Reckon>,
}

/// A State and its hash.
#[derive(Clone)]
pub(super) struct Known {
    pub of: Arc<Published>,
    pub hash: [u8; 32],
}

impl Default for Hashes {
    fn default() -> Hashes {
        Hashes::by(State::hash)
    }
}

impl Hashes {
    fn by(reckon: impl Fn(&State) -> [u8; 32] + Send + Sync + 'static) -> Hashes {
        Hashes {
            known: Arc::default(),
            reckon: Arc::new(reckon),
        }
    }

    /// The hash of a State that is no older than this one, and that State. `now` is looked at when the turn has come.
    pub(super) async fn of(
        &self,
        state: &Arc<Published>,
        now: impl FnOnce() -> Arc<Published>,
    ) -> Result<Known, JoinError> {
        let mut turn = self.known.clone().lock_owned().await;
        if let Some(known) = turn.as_ref().filter(|known| is_as_new(known, state)) {
            return Ok(known.clone());
        }
        let reckon = self.reckon.clone();
        let of = newer(now(), state.clone());
        // The turn goes along: whoever asked may leave, and still there is only one under way.
        let reckoned = tokio::task::spawn_blocking(move || {
            let hash = reckon(&of.state);
            turn.insert(Known { of, hash }).clone()
        });
        reckoned.await
    }
}

fn is_as_new(known: &Known, state: &Published) -> bool {
    known.of.applied_index >= state.applied_index
}

fn newer(one: Arc<Published>, other: Arc<Published>) -> Arc<Published> {
    match one.applied_index >= other.applied_index {
        true => one,
        false => other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::*;

    /// A State after so many changes.
    fn after(changes: u64) -> Arc<Published> {
        let state = State {
            revision: reeve_domain::Revision(changes),
            ..State::default()
        };
        Arc::new(Published {
            state,
            applied_index: changes,
        })
    }

    /// Hashes that say when they begin one, and wait for a word before they end it.
    fn slow() -> (Hashes, mpsc::Receiver<u64>, mpsc::Sender<()>) {
        let (begun, begins) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        let goes = Mutex::new(goes);
        let hashes = Hashes::by(move |state| {
            begun.send(state.revision.0).unwrap();
            goes.lock().recv().unwrap();
            state.hash()
        });
        (hashes, begins, go)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_asks_while_one_is_under_way_shares_the_next_one_however_state_changes() {
        const ASKERS: u64 = 20;
        let (hashes, begins, go) = slow();
        let now = Arc::new(AtomicU64::new(0));
        let ask = |changes: u64| {
            let (hashes, now) = (hashes.clone(), now.clone());
            now.store(changes, Ordering::SeqCst);
            let known = async move {
                let latest = || after(now.load(Ordering::SeqCst));
                hashes.of(&after(changes), latest).await.unwrap()
            };
            tokio::spawn(known)
        };
        let first = ask(1);
        assert_eq!(tokio::task::block_in_place(|| begins.recv()), Ok(1));
        let others: Vec<_> = (2..=ASKERS).map(ask).collect();
        go.send(()).unwrap();
        assert_eq!(first.await.unwrap().hash, after(1).state.hash());
        assert_eq!(tokio::task::block_in_place(|| begins.recv()), Ok(ASKERS));
        go.send(()).unwrap();
        for other in others {
            let known = other.await.unwrap();
            assert_eq!(known.of.applied_index, ASKERS);
            assert_eq!(known.hash, after(ASKERS).state.hash());
        }
        assert!(begins.try_recv().is_err(), "two are enough for all of them");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_who_asks_and_leaves_does_not_begin_a_second_one() {
        let (hashes, begins, go) = slow();
        for changes in 1..=3 {
            let hashes = hashes.clone();
            let asked =
                tokio::spawn(async move { hashes.of(&after(changes), || after(changes)).await.map(drop) });
            if changes == 1 {
                assert_eq!(tokio::task::block_in_place(|| begins.recv()), Ok(1));
            }
            asked.abort();
            assert!(asked.await.unwrap_err().is_cancelled());
        }
        let last = tokio::spawn(async move { hashes.of(&after(4), || after(4)).await.unwrap() });
        // It waits in vain for a second one to begin; there is nothing else that it could wait for.
        let second = tokio::task::block_in_place(|| begins.recv_timeout(Duration::from_millis(300)));
        assert!(second.is_err(), "one is under way");
        go.send(()).unwrap();
        assert_eq!(tokio::task::block_in_place(|| begins.recv()), Ok(4));
        go.send(()).unwrap();
        assert_eq!(last.await.unwrap().of.applied_index, 4);
    }
}
