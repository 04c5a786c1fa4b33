//! What every handler works at: admit, read, propose, and the few looks that several services share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reeve_domain::plan::Sightings;
use reeve_domain::plan::operations::{Verdict, judge};
use reeve_domain::request::Key;
use reeve_domain::{Answer, NodeId, Operation, OperationId, Revision, Stamp, State};
use reeve_proto::convert::BadField;
use reeve_proto::error::{self, Reason};
use reeve_proto::{convert, v1};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use crate::archive::ArchiveError;
use crate::config::Limits;
use crate::consensus::{Level, Published, Turn, Unavailable};
use crate::edge::admit::Call;
use crate::edge::hash::Hashes;
use crate::edge::newest::Newest;
use crate::edge::pace::Pace;
use crate::edge::request::{self, Canonical};
use crate::edge::room::Room;
use crate::edge::status::{self, refused};
use crate::edge::turns::Turns;
use crate::pilot::{self, Beat};
use crate::policy::{self, Denied, Intent, Permit};
use crate::rooms::Rooms;

/// A node without word from a quorum for so long says so unasked.
const FRESH_MAX: Duration = Duration::from_secs(10);
/// A certificate proves that its holder was enrolled; a node that does not know it yet asks once.
const RECOGNISE_PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries of the archive's own repair.
pub(super) const ARCHIVE_PAUSE: Duration = Duration::from_secs(2);

/// Shared by all handlers of one node; cheap to clone.
#[derive(Clone)]
pub(super) struct Desk {
    pub rooms: Rooms,
    pub pace: Arc<Pace>,
    pub room: Arc<Room>,
    /// Turns to send a whole listing.
    pub listings: Turns,
    pub hashes: Hashes,
    pub newest: Newest,
    /// This node is about to stop.
    pub leaving: CancellationToken,
}

/// The State of one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot(Arc<Published>);

impl Deref for Snapshot {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0.state
    }
}

impl Snapshot {
    /// With the log entry that it goes up to.
    pub(super) fn published(&self) -> Arc<Published> {
        self.0.clone()
    }
}

/// A State, and how fresh it is.
pub(super) struct Reading {
    pub state: Snapshot,
    pub staleness: Option<Duration>,
    pub freshness: v1::Freshness,
}

/// What a proposal brought, and a State that has it.
pub(super) struct Answered {
    pub answer: Answer,
    /// The change's own; the State may hold later ones.
    pub revision: Revision,
    pub state: Snapshot,
}

/// What is seen of agents now.
pub(super) struct Sight {
    pub state: Snapshot,
    pub sightings: Sightings,
    pub now: Stamp,
}

impl Sight {
    /// An operation with what it waits for.
    pub(super) fn operation(&self, operation: &Operation) -> v1::Operation {
        let waits_for = match judge(&self.state, operation, &self.sightings, self.now) {
            Some(Verdict::Wait(reason)) => reason.to_string(),
            Some(Verdict::AtWork { agent }) => format!("agent {agent}, at work"),
            Some(Verdict::Timeout(_)) | None => String::new(),
        };
        convert::operation(operation, waits_for)
    }
}

impl Desk {
    pub(super) fn new(rooms: Rooms, limits: &Limits, leaving: CancellationToken) -> Desk {
        Desk {
            rooms,
            pace: Arc::new(Pace::new(limits.rates)),
            room: Arc::new(Room::new(limits)),
            listings: Turns::new(limits.listings, limits.listings_per_principal),
            hashes: Hashes::default(),
            newest: Newest::default(),
            leaving,
        }
    }

    /// The call that the door let in, and what it asks.
    pub(super) fn admit<T>(&self, request: Request<T>) -> Result<(Call, T), Status> {
        let (_, mut extensions, wire) = request.into_parts();
        let call = extensions.remove::<Call>().ok_or(Denied::NoIdentity)?;
        Ok((call, wire))
    }

    /// Counts a refusal for coming too fast, or for too many at once.
    pub(super) fn counted<T>(&self, checked: Result<T, Status>) -> Result<T, Status> {
        if checked.is_err() {
            self.rooms.metrics.ratelimit_rejections.inc();
        }
        checked
    }

    /// The caller is known and its role holds the action. Who joined a moment ago may be new to this node.
    pub(super) async fn recognise(&self, call: &Call) -> Result<(), Status> {
        match policy::standing(&self.state(), &call.caller, call.action()) {
            Ok(_) => Ok(()),
            Err(Denied::Unknown(_)) => {
                let deadline = call.deadline.min(Instant::now() + RECOGNISE_PATIENCE);
                let view = self.rooms.consensus.read(Level::Linearizable, deadline).await;
                let view = view.map_err(unavailable)?;
                policy::standing(view.state(), &call.caller, call.action())?;
                Ok(())
            }
            Err(denied) => Err(denied.into()),
        }
    }

    /// The State of now, as this node has it.
    pub(super) fn state(&self) -> Snapshot {
        Snapshot(self.rooms.consensus.published())
    }

    /// The State of now when it holds what is looked for; otherwise one that nobody is ahead of.
    pub(super) async fn state_with(
        &self,
        call: &Call,
        holds: impl Fn(&State) -> bool,
    ) -> Result<Snapshot, Status> {
        let state = self.state();
        if holds(&state) {
            return Ok(state);
        }
        Ok(self.read(call, Level::Linearizable).await?.state)
    }

    /// A State as fresh as asked, or flagged when a bound does not hold.
    pub(super) async fn read(&self, call: &Call, level: Level) -> Result<Reading, Status> {
        let view = self
            .rooms
            .consensus
            .read(level, call.deadline)
            .await
            .map_err(unavailable)?;
        Ok(self.reading(Snapshot(view.published), view.staleness, view.stale))
    }

    /// What this node has, at once.
    pub(super) fn stale(&self) -> Reading {
        // The age last: who is stopped for a while between the two has an older view, and says so.
        let state = self.state();
        let staleness = self.rooms.consensus.age_of(&state.0);
        let freshness = self.freshness(state.revision, staleness);
        Reading {
            state,
            staleness,
            freshness,
        }
    }

    /// What this node says of itself unasked.
    pub(super) fn freshness(&self, revision: Revision, staleness: Option<Duration>) -> v1::Freshness {
        let stale = staleness.is_none_or(|staleness| staleness > FRESH_MAX);
        convert::freshness(revision, staleness, stale, self.rooms.node_id)
    }

    fn reading(&self, state: Snapshot, staleness: Option<Duration>, stale: bool) -> Reading {
        let freshness = convert::freshness(state.revision, staleness, stale, self.rooms.node_id);
        Reading {
            state,
            staleness,
            freshness,
        }
    }

    /// Returns when this node has the revision.
    pub(super) async fn reach(&self, revision: Revision) {
        self.rooms.consensus.wait_for_revision(revision).await;
    }

    /// Returns when this node's State is newer than this.
    pub(super) async fn newer_than(&self, revision: Revision) {
        self.reach(revision.next()).await;
    }

    /// What makes this change happen once.
    pub(super) fn key<R: Canonical>(&self, call: &Call, wire: &R) -> Result<Key, BadField> {
        // While nothing changes, log time stands still: what would be forgotten with the next change counts as forgotten.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = self.state().clock.max(Stamp(wall.as_millis() as u64));
        request::key(call.rpc, wire, now)
    }

    /// Proposes, and answers with a State that has the change.
    pub(super) async fn propose(
        &self,
        call: &Call,
        permit: Permit,
        intent: Intent,
    ) -> Result<Answered, Status> {
        let patience = call.deadline.saturating_duration_since(Instant::now());
        let intent = intent.traced(call.trace_id.clone());
        let committed = policy::propose(&self.rooms, permit, intent, patience)
            .await
            .map_err(unavailable)?;
        let state = self.state();
        let answer = committed.outcome.map_err(|refusal| refused(&refusal, &state))?;
        Ok(Answered {
            answer,
            revision: committed.revision,
            state,
        })
    }

    /// Lets a node leave, in its turn.
    pub(super) async fn propose_in_turn(
        &self,
        call: &Call,
        permit: Permit,
        intent: Intent,
        turn: &Turn,
    ) -> Result<(), Status> {
        let patience = call.deadline.saturating_duration_since(Instant::now());
        let intent = intent.traced(call.trace_id.clone());
        let committed = policy::propose_in_turn(&self.rooms, permit, intent, patience, turn)
            .await
            .map_err(unavailable)?;
        let answer = committed.outcome.map_err(|refusal| error::refusal(&refusal));
        answer.map(drop)
    }

    /// The turn to let a node leave.
    pub(super) async fn turn_to_leave(&self, call: &Call) -> Result<Turn, Status> {
        let turn = self.rooms.consensus.turn_to_leave(call.deadline).await;
        turn.map_err(unavailable)
    }

    /// The same, or only what would come of it.
    pub(super) async fn propose_or_rehearse(
        &self,
        call: &Call,
        permit: Permit,
        intent: Intent,
        validate_only: bool,
    ) -> Result<Answered, Status> {
        if !validate_only {
            return self.propose(call, permit, intent).await;
        }
        let reading = self.read(call, Level::Linearizable).await?;
        let (state, applied) = policy::rehearse(permit, intent, &reading.state);
        let answer = applied.outcome.map_err(|refusal| refused(&refusal, &state))?;
        let published = Published {
            state,
            applied_index: 0,
        };
        Ok(Answered {
            answer,
            revision: applied.revision,
            state: Snapshot(Arc::new(published)),
        })
    }

    /// What is seen of agents now: the leader's memory, wherever this node stands.
    pub(super) async fn sight(&self) -> Sight {
        let sightings = self.rooms.sightings.read().await;
        let state = self.state();
        Sight {
            now: pilot::now(&state),
            state,
            sightings,
        }
    }

    /// Passes a heartbeat on; whether the leader heard it.
    pub(super) async fn sighted(&self, beat: Beat) -> bool {
        self.rooms.sightings.report(beat).await
    }

    /// An operation, from State or from the archive.
    pub(super) async fn find_operation(
        &self,
        state: &State,
        id: &OperationId,
    ) -> Result<Option<Operation>, Status> {
        if let Some(operation) = state.operations.get(id) {
            return Ok(Some(Operation::clone(operation)));
        }
        let (archive, id) = (self.rooms.archive.clone(), id.clone());
        self.archived(move || archive.operation(&id)).await
    }

    /// Reads the archive off the threads that answer.
    pub(super) async fn archived<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
    ) -> Result<T, Status> {
        let looked = tokio::task::spawn_blocking(look).await;
        let looked = looked.map_err(|error| status::internal("reading the archive", &error))?;
        looked.map_err(|error| match error {
            ArchiveError::Incomplete { .. } | ArchiveError::Damaged { .. } | ArchiveError::Unchecked => {
                error::retry(Reason::ArchiveIncomplete, error.to_string(), ARCHIVE_PAUSE)
            }
            other => status::internal("reading the archive", &other),
        })
    }

    /// The hash of a State that is no older than this one, and that State.
    pub(super) async fn hash(&self, state: &Snapshot) -> Result<(Arc<Published>, [u8; 32]), Status> {
        let known = self.hashes.of(&state.0, || self.rooms.consensus.published());
        let known = known
            .await
            .map_err(|error| status::internal("hashing the state", &error))?;
        Ok((known.of, known.hash))
    }

    /// This node.
    pub(super) fn node_id(&self) -> NodeId {
        self.rooms.node_id
    }
}

fn unavailable(error: Unavailable) -> Status {
    match error {
        Unavailable::NoLeader => status::no_leader(),
        Unavailable::NotCaughtUp { .. } => status::behind(error.to_string()),
        Unavailable::Broken(_) => status::internal("asking consensus", &error),
    }
}
