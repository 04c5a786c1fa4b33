//! The state machine: applies entries to one State and publishes it without a lock.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, RaftSnapshotBuilder};
use reeve_domain::{Applied, State, apply};

use super::compare::Compare;
use super::decode::decode;
use super::disk::Disk;
use super::ground;
use super::progress::Progress;
use super::snapshot::{Best, SnapshotFile, SnapshotStore};
use super::types::{C, Committed, LogId, SnapshotMeta, StoredMembership};
use super::under_way::UnderWay;
use super::{AppliedSink, Fatal, Work};
use crate::mutant::Mutant;
use crate::release;

/// The state as readers see it.
#[derive(Clone, Debug, Default)]
pub struct Published {
    pub state: State,
    /// Index of the last log entry in it.
    pub applied_index: u64,
}

/// What readers and waiters share with the state machine.
#[derive(Clone)]
pub(super) struct Board {
    pub(super) published: Arc<ArcSwap<Published>>,
    /// Who waits for one index or one revision is told after the state is published.
    pub(super) reached: Arc<Reached>,
}

#[derive(Default)]
pub(super) struct Reached {
    pub(super) index: Progress,
    pub(super) revision: Progress,
}

impl Board {
    pub(super) fn new() -> Board {
        Board {
            published: Arc::default(),
            reached: Arc::default(),
        }
    }

    fn publish(&self, state: &State, applied_index: u64) {
        self.published.store(Arc::new(Published {
            state: state.clone(),
            applied_index,
        }));
        self.reached.index.reach(applied_index);
        self.reached.revision.reach(state.revision.0);
    }
}

/// openraft's state machine over the domain's State.
pub struct Machine {
    state: State,
    last: Option<LogId>,
    membership: StoredMembership,
    board: Board,
    store: SnapshotStore,
    sink: Arc<dyn AppliedSink>,
    fatal: Fatal,
    compare: Option<Compare>,
    disk: Option<Disk>,
    under_way: UnderWay,
    /// What was under way and is applied, until everyone can read it.
    settled: Vec<u64>,
}

impl Machine {
    /// Begins at the newest snapshot, or empty.
    pub(super) fn begin(
        best: io::Result<Best>,
        store: SnapshotStore,
        board: Board,
        sink: Arc<dyn AppliedSink>,
        fatal: Fatal,
    ) -> io::Result<Machine> {
        let mut machine = Machine {
            state: State::default(),
            last: None,
            membership: StoredMembership::default(),
            board,
            store,
            sink,
            fatal,
            compare: None,
            disk: None,
            under_way: UnderWay::default(),
            settled: Vec::new(),
        };
        if let Some((meta, state)) = best.map_err(|error| machine.stop_if_unknown(error))? {
            release::check(state.cluster.version).map_err(|why| machine.stop(why))?;
            machine.take_over(meta, state);
        }
        Ok(machine)
    }

    /// Hands its State on where it is to be compared.
    pub(super) fn compare_with(&mut self, compare: Compare) {
        self.compare = Some(compare);
    }

    /// Makes no snapshot while that disk is full: half of one helps nobody.
    pub(super) fn stop_snapshots_on(&mut self, disk: Disk) {
        self.disk = Some(disk);
    }

    /// Says of each request that it was applied.
    pub(super) fn settle(&mut self, under_way: UnderWay) {
        self.under_way = under_way;
    }

    fn take_over(&mut self, meta: SnapshotMeta, state: State) {
        self.last = meta.last_log_id;
        self.membership = meta.last_membership;
        self.state = state;
        self.sink.installed(&self.state);
        self.board
            .publish(&self.state, self.last.as_ref().map_or(0, |id| id.index));
    }

    /// Applies one command. What cannot be read must stop the node: to skip it would be to diverge.
    fn run(&mut self, index: u64, bytes: &[u8]) -> io::Result<Applied> {
        let mut entry = decode(index, bytes).map_err(|why| self.stop(why))?;
        if Mutant::ForgetRequest.is_planted() {
            entry.request = None;
        }
        // openraft does not notice when its worker panics: the node would lead on and answer nobody.
        let applied = catch_unwind(AssertUnwindSafe(|| apply(&mut self.state, &entry)));
        if Mutant::StrayState.is_planted() && index == 30 {
            self.state.cluster.id.push('?');
        }
        self.settled.extend(self.under_way.hash_if_any(&entry));
        let applied = applied.map_err(|_| {
            self.stop(format!(
                "log entry {index} could not be applied: the program panicked"
            ))
        })?;
        // A raise ends here who cannot follow, before anybody sees a State that this program might not understand.
        release::check(self.state.cluster.version)
            .map_err(|why| self.stop(format!("log entry {index}: {why}")))?;
        Ok(applied)
    }

    /// A State of another release is no damage: the process ends as it does for an unknown entry.
    fn stop_if_unknown(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::Unsupported {
            self.fatal.raise(&error.to_string());
        }
        error
    }

    /// Tells the others in this process what was applied.
    fn tell(&self, applied: &[Arc<Applied>]) -> io::Result<()> {
        let told = catch_unwind(AssertUnwindSafe(|| self.sink.applied(applied)));
        told.map_err(|_| {
            self.stop("what was applied could not be handed on: the program panicked".to_owned())
        })
    }

    fn stop(&self, why: String) -> io::Error {
        self.fatal.raise(&why);
        io::Error::new(io::ErrorKind::InvalidData, why)
    }
}

impl RaftStateMachine<C> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<C>>> + Unpin + openraft::OptionalSend,
    {
        let mut applied = Vec::new();
        let mut responders = Vec::new();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let index = entry.log_id.index;
            let committed = match entry.payload {
                EntryPayload::Blank => {
                    if Mutant::ReuseRevision.is_planted() {
                        self.state.revision.0 = self.state.revision.0.saturating_sub(1);
                    }
                    self.nothing()
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    self.nothing()
                }
                EntryPayload::Normal(payload) => {
                    let done = self.run(index, &payload.0)?;
                    let committed = Committed {
                        revision: done.revision,
                        outcome: done.outcome.clone(),
                    };
                    applied.push(Arc::new(done));
                    committed
                }
            };
            self.last = Some(entry.log_id);
            if let Some(compare) = self.compare.as_ref().filter(|compare| compare.is_wanted(index)) {
                compare.take(index, &self.state);
            }
            responders.extend(responder.map(|responder| (responder, committed)));
        }
        // First everyone can read it, then those who asked are told: read your own writes.
        if !applied.is_empty() {
            self.tell(&applied)?;
        }
        self.board
            .publish(&self.state, self.last.as_ref().map_or(0, |id| id.index));
        self.under_way.settled(self.settled.drain(..));
        for (responder, committed) in responders {
            responder.send(committed);
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        if self.disk.as_ref().is_some_and(|disk| disk.health().full) {
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let mut state = self.state.clone();
        if Mutant::ShortSnapshot.is_planted() {
            let end = state.regions.get_max().map(|(name, _)| name.clone());
            end.and_then(|name| state.regions.remove(&name));
        }
        Builder {
            meta: SnapshotMeta {
                last_log_id: self.last,
                last_membership: self.membership.clone(),
            },
            state,
            store: self.store.clone(),
            sink: self.sink.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let began = Instant::now();
        let (store, announced) = (self.store.clone(), meta.last_log_id);
        let loaded = ground::spawn_blocking(move || {
            // Only what was read whole may take the place of what is there.
            let (read, state) = store.load(&snapshot)?;
            if read.last_log_id != announced {
                let why = "the snapshot is not the one that was announced";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            release::check(state.cluster.version)
                .map_err(|why| io::Error::new(io::ErrorKind::Unsupported, why))?;
            store.take_in(&snapshot, &read)?;
            Ok((read, state))
        });
        let loaded = loaded.await.map_err(io::Error::other)?;
        let (read, state) = loaded.map_err(|error| self.stop_if_unknown(error))?;
        self.take_over(read, state);
        self.sink.timer()(Work::SnapshotInstall, began.elapsed());
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<openraft::alias::SnapshotOf<C, SnapshotFile>>> {
        let store = self.store.clone();
        let newest = ground::spawn_blocking(move || store.newest()).await;
        let why = match newest.map_err(io::Error::other)? {
            Ok(newest) => {
                return Ok(newest.map(|(meta, snapshot)| openraft::Snapshot { meta, snapshot }));
            }
            Err(error) => error,
        };
        // A node whose State is in memory is well: it makes another one. Changes wait for that here, as they do while a
        // snapshot is taken in.
        tracing::error!(error = %why, "the newest snapshot cannot be used; another one is made");
        let store = self.store.clone();
        let looked = ground::spawn_blocking(move || store.check(|_| Ok(()))).await;
        let damaged = looked.map_err(io::Error::other)?.unwrap_or_default();
        let made = match self.try_create_snapshot_builder(true).await {
            Some(mut builder) => builder.build_snapshot().await,
            None => Err(io::Error::other("the disk is full")),
        };
        let store = self.store.clone();
        match made {
            Ok(snapshot) => {
                let let_go = move || damaged.iter().try_for_each(|path| store.let_go(path));
                let gone = ground::spawn_blocking(let_go).await;
                if let Err(error) = gone.map_err(io::Error::other)? {
                    tracing::warn!(%error, "a damaged snapshot keeps its place");
                }
                Ok(Some(snapshot))
            }
            Err(error) => {
                tracing::error!(%error, "no other snapshot could be made; it is tried again");
                let (meta, snapshot) = store.none();
                Ok(Some(openraft::Snapshot { meta, snapshot }))
            }
        }
    }
}

impl Machine {
    fn nothing(&self) -> Committed {
        Committed {
            revision: self.state.revision,
            outcome: Ok(reeve_domain::Answer::Done),
        }
    }
}

/// Writes a snapshot of a cloned State, beside the running state machine.
pub struct Builder {
    meta: SnapshotMeta,
    state: State,
    store: SnapshotStore,
    sink: Arc<dyn AppliedSink>,
}

impl RaftSnapshotBuilder<C> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<openraft::alias::SnapshotOf<C, SnapshotFile>> {
        let began = Instant::now();
        let (meta, state, store, sink) = (
            self.meta.clone(),
            self.state.clone(),
            self.store.clone(),
            self.sink.clone(),
        );
        let is_behind = Mutant::ArchiveBehind.is_planted();
        let written = ground::in_background(move || {
            let revision = state.revision;
            let make_durable = || match is_behind {
                true => Ok(()),
                false => sink.make_durable(revision),
            };
            store
                .write(&meta, &state, make_durable)
                .map(|snapshot| (meta, snapshot))
        });
        let (meta, snapshot) = written.await.map_err(io::Error::other)??;
        self.sink.timer()(Work::SnapshotWrite, began.elapsed());
        Ok(openraft::Snapshot { meta, snapshot })
    }
}
