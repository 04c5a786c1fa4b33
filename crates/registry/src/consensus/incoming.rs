//! A snapshot on its way in. What has come is kept when the way is cut, and the sender goes on behind it.
//!
//! ```text
//! how much of this very file is here? ─► blocks from there on ─► the sum over all of it ─► a whole file
//!        ▲ cut: what came is put down ────────┘
//! ```
//! There is one draft at a time, of one file of one sender: whoever comes last has the turn.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex as Lock;
use reeve_proto::internal::v1 as wire;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::ground::{self, time};
use super::snapshot::{SnapshotFile, SnapshotStore, Writer};
use super::types::SnapshotMeta;

/// A sender that says nothing for so long has gone.
const STILL_MAX: Duration = Duration::from_secs(60);
/// What came is kept for so long.
const KEPT_MAX: Duration = Duration::from_secs(600);

/// Which snapshot: who sends it, which of its files, and what that says it holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Which {
    pub(super) from: u64,
    /// The file's own sum: no two files have the same.
    pub(super) id: Bytes,
    pub(super) meta: SnapshotMeta,
}

/// The place for the one draft. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Incoming {
    slot: Arc<Mutex<Option<Half>>>,
    /// Of whoever came last.
    turn: Arc<Lock<CancellationToken>>,
    put_down: Arc<AtomicU64>,
}

/// Half a snapshot.
struct Half {
    which: Which,
    writer: Writer,
    sum: Sha256,
    offset: u64,
    number: u64,
}

impl Half {
    async fn begin(store: &SnapshotStore, which: Which) -> io::Result<Half> {
        let (store, meta) = (store.clone(), which.meta.clone());
        let writer = ground::spawn_blocking(move || store.writer(&meta)).await;
        Ok(Half {
            which,
            writer: writer.map_err(io::Error::other)??,
            sum: Sha256::new(),
            offset: 0,
            number: 0,
        })
    }

    async fn take(mut self, block: Bytes) -> io::Result<Half> {
        let written = ground::spawn_blocking(move || {
            self.sum.update(&block);
            self.writer.write_all(&block)?;
            self.offset += block.len() as u64;
            Ok(self)
        });
        written.await.map_err(io::Error::other)?
    }
}

/// The turn to use the place.
struct Turn {
    slot: OwnedMutexGuard<Option<Half>>,
    /// Somebody else has come.
    is_over: CancellationToken,
}

impl Incoming {
    /// How much of this snapshot is here. A transfer that is still under way is over with this.
    pub(super) async fn offset(&self, which: &Which) -> u64 {
        let turn = self.take_turn().await;
        let half = turn.slot.as_ref().filter(|half| half.which == *which);
        half.map_or(0, |half| half.offset)
    }

    /// Receives a snapshot from an offset on, and gives the whole file once its sum is right.
    pub(super) async fn receive(
        &self,
        store: &SnapshotStore,
        which: Which,
        offset: u64,
        mut inbound: Streaming<wire::InstallSnapshotRequest>,
    ) -> Result<SnapshotFile, Status> {
        let mut turn = self.take_turn().await;
        let kept = turn.slot.take();
        let kept = kept.filter(|half| half.which == which && half.offset == offset && offset > 0);
        let mut half = match kept {
            Some(half) => half,
            None if offset == 0 => Half::begin(store, which).await.map_err(failed)?,
            None => {
                return Err(Status::failed_precondition(
                    "that much of the snapshot is not here; begin at 0",
                ));
            }
        };
        let sum = loop {
            let message = match next(&turn, &mut inbound).await {
                Ok(message) => message,
                Err(cut) => {
                    self.put_down(&mut turn, half);
                    return Err(cut);
                }
            };
            if message.offset != half.offset {
                return Err(Status::invalid_argument("a block of the snapshot is missing"));
            }
            if !message.sha256.is_empty() {
                break message.sha256;
            }
            half = half.take(message.block).await.map_err(failed)?;
        };
        if half.sum.finalize().as_slice() != sum.as_ref() {
            return Err(Status::data_loss("the snapshot was changed on the way"));
        }
        let file = ground::spawn_blocking(move || half.writer.finish()).await;
        file.map_err(failed)?.map_err(failed)
    }

    async fn take_turn(&self) -> Turn {
        let is_over = CancellationToken::new();
        std::mem::replace(&mut *self.turn.lock(), is_over.clone()).cancel();
        Turn {
            slot: self.slot.clone().lock_owned().await,
            is_over,
        }
    }

    /// Keeps what has come, for a while.
    fn put_down(&self, turn: &mut Turn, mut half: Half) {
        half.number = self.put_down.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            offset = half.offset,
            "the transfer of a snapshot was cut; what came is kept"
        );
        ground::spawn(forget(Arc::downgrade(&self.slot), half.number));
        *turn.slot = Some(half);
    }
}

/// Lets go of a half that nobody came back for.
async fn forget(slot: Weak<Mutex<Option<Half>>>, number: u64) {
    time::sleep(KEPT_MAX).await;
    let Some(slot) = slot.upgrade() else { return };
    let mut slot = slot.lock().await;
    if slot.as_ref().is_some_and(|half| half.number == number) {
        *slot = None;
    }
}

/// The next message; why there is none, when the way is cut.
async fn next(
    turn: &Turn,
    inbound: &mut Streaming<wire::InstallSnapshotRequest>,
) -> Result<wire::InstallSnapshotRequest, Status> {
    tokio::select! {
        biased;
        () = turn.is_over.cancelled() => Err(Status::aborted("another transfer of a snapshot has begun")),
        message = time::timeout(STILL_MAX, inbound.message()) => match message {
            Ok(message) => message?.ok_or_else(|| Status::invalid_argument("the snapshot is cut off")),
            Err(_) => Err(Status::deadline_exceeded("the sender of the snapshot is silent")),
        },
    }
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}
