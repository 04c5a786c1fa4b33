//! One watcher's stream: `INITIAL* → INITIAL_DONE → DELTA | BOOKMARK`, in revision order, nothing skipped.
//!
//! ```text
//! (a turn) ─► State at r ─► initial* ─► done(r) ─► hub after r ─► delta | bookmark … ─► lagged | compacted | revoked
//! ```
//! When a node comes back, everybody lists at once: so many listings are sent at a time, and the others wait in order.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use reeve_domain::{Event, Revision, State, resolve};
use reeve_proto::v1::{WatchRequest, WatchResponse, watch_response};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::bookmark::{Bookmarks, View};
use super::shown;
use super::wire::Frame;
use crate::edge::admit::Call;
use crate::edge::desk::Desk;
use crate::edge::turns::Turn;
use crate::edge::{parse, status};
use crate::hub::{Batch, HubItem, HubStream};
use crate::mutant::Mutant;
use crate::policy::{self, Standing};

const BOOKMARK_DEFAULT: Duration = Duration::from_secs(1);
const BOOKMARK_MIN: Duration = Duration::from_millis(100);
const BOOKMARK_MAX: Duration = Duration::from_secs(60);
/// Messages that wait for the network; behind them waits the cursor in the hub, not memory.
const QUEUE_MAX: usize = 64;
/// Tenants of a listing between two looks at whoever else wants to run.
const CHUNK: usize = 256;
/// A listing of which nothing was taken for so long gives up its turn, and so does one that takes longer in all.
const LISTING_STALL: Duration = Duration::from_secs(5);
const LISTING_MAX: Duration = Duration::from_secs(120);
/// A start ahead of this node is waited for so long: another node may be there already.
const AHEAD_PATIENCE: Duration = Duration::from_secs(2);

type Sender = mpsc::Sender<Result<Frame, Status>>;

/// What one stream works with.
pub(super) struct Watcher {
    desk: Desk,
    call: Call,
    network: String,
    after: Revision,
    bookmark_every: Duration,
    /// The rights the stream began with; others need another listing.
    rev: u64,
}

/// The stream is over.
enum Over {
    /// Nobody listens, or this node stops: there is no last word.
    Left,
    /// Too slow; all up to this revision was delivered.
    Lagged(Revision),
    /// To be begun again from 0; this is the oldest revision that can be had.
    Again(Revision),
    Refused(Status),
}

impl Over {
    /// Why the watcher has to begin again, if it has to.
    fn resyncs(&self) -> Option<&'static str> {
        match self {
            Over::Left | Over::Refused(_) => None,
            Over::Lagged(_) => Some("lagged"),
            Over::Again(_) => Some("compacted"),
        }
    }

    fn last_word(self) -> Option<Result<Frame, Status>> {
        let event = match self {
            Over::Left => return None,
            Over::Refused(status) => return Some(Err(status)),
            Over::Lagged(after) => watch_response::Event::Lagged(watch_response::Lagged {
                resume_after_revision: after.0,
            }),
            Over::Again(oldest) => watch_response::Event::Compacted(watch_response::Compacted {
                oldest_revision: oldest.0,
            }),
        };
        Some(Ok(own(event)))
    }
}

impl From<Status> for Over {
    fn from(status: Status) -> Over {
        Over::Refused(status)
    }
}

impl Watcher {
    /// Reads what is wanted, and by whom.
    pub(super) fn begin(desk: Desk, call: Call, wire: WatchRequest) -> Result<Watcher, Status> {
        let every = wire.bookmark_interval.as_ref();
        let every = parse::length("bookmark_interval", every, BOOKMARK_DEFAULT, BOOKMARK_MAX)?;
        let rev = policy::standing(&desk.state(), &call.caller, call.action())?
            .principal()
            .rev;
        Ok(Watcher {
            network: parse::network(wire.network)?,
            after: Revision(wire.after_revision),
            bookmark_every: every.max(BOOKMARK_MIN),
            rev,
            desk,
            call,
        })
    }

    /// Runs until the caller leaves, is too slow, or loses its rights.
    pub(super) fn spawn(self) -> BoxStream<'static, Result<Frame, Status>> {
        let (send, receive) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(async move {
            let Err(over) = self.run(&send).await;
            if let Some(reason) = over.resyncs() {
                self.desk.rooms.metrics.resynced(reason);
            }
            if let Some(last) = over.last_word() {
                // The watcher may be gone, and then nobody is there to be told.
                let _ = send.send(last).await;
            }
        });
        ReceiverStream::new(receive).boxed()
    }

    async fn run(&self, send: &Sender) -> Result<std::convert::Infallible, Over> {
        let (mut ticks, mut marks) = (ticks(self.bookmark_every), Bookmarks::default());
        let (mut cursor, mut news) = match self.after {
            Revision(0) => {
                let turn = self.turn(send, &mut ticks, &mut marks).await?;
                let listed = tokio::time::timeout(LISTING_MAX, self.list(send)).await;
                drop(turn);
                listed.map_err(|_| Over::Lagged(Revision(0)))??
            }
            after => (after, self.resume(after).await?),
        };
        let mut spoke = Instant::now();
        loop {
            let frame = tokio::select! {
                biased;
                () = send.closed() => return Err(Over::Left),
                item = news.next() => {
                    let batch = batch(item)?;
                    // The rights of a change's own moment, or later ones.
                    self.desk.reach(batch.revision).await;
                    cursor = batch.revision;
                    match self.delta(&batch)? {
                        // What concerns others must not keep the stream silent.
                        None if spoke.elapsed() > self.bookmark_every => {
                            Some(own(self.bookmark(cursor, &mut marks)?))
                        }
                        delta => delta,
                    }
                }
                // It fires only while no batch is there: what the stream has not seen, nobody has.
                _ = ticks.tick() => Some(own(self.bookmark(cursor, &mut marks)?)),
            };
            if let Some(frame) = frame {
                send.send(Ok(frame)).await.map_err(|_| Over::Left)?;
                spoke = Instant::now();
            }
            if marks.is_owed(cursor) {
                put(send, self.bookmark(cursor, &mut marks)?).await?;
            }
        }
    }

    /// Waits for a turn to list, and proves meanwhile that the stream lives: nothing was delivered yet.
    async fn turn(&self, send: &Sender, ticks: &mut Interval, marks: &mut Bookmarks) -> Result<Turn, Over> {
        let mut turn = std::pin::pin!(self.desk.listings.take(self.call.caller.id()));
        loop {
            tokio::select! {
                biased;
                () = send.closed() => return Err(Over::Left),
                turn = &mut turn => return turn.map_err(|_| Over::Left),
                _ = ticks.tick() => put(send, self.bookmark(Revision(0), marks)?).await?,
            }
        }
    }

    /// The present state, and a place in the hub right behind it.
    async fn list(&self, send: &Sender) -> Result<(Revision, HubStream), Over> {
        let state = self.desk.state();
        let standing = self.standing(&state)?;
        let news = self.subscribe(state.revision)?;
        for (number, tenant) in state.tenants.values().enumerate() {
            if number % CHUNK == CHUNK - 1 {
                tokio::task::yield_now().await;
            }
            if standing.sees(&state, tenant) {
                let resolution = resolve::of(&state, tenant);
                let initial = watch_response::Event::Initial(shown(&state, &resolution, &self.network));
                let taken = tokio::time::timeout(LISTING_STALL, put(send, initial)).await;
                taken.map_err(|_| Over::Lagged(Revision(0)))??;
            }
        }
        let revision = state.revision;
        let done = watch_response::InitialDone { revision: revision.0 };
        put(send, watch_response::Event::InitialDone(done)).await?;
        Ok((revision, news))
    }

    /// A place in the hub behind a revision, once this node has it.
    async fn resume(&self, after: Revision) -> Result<HubStream, Over> {
        let news = self.subscribe(after)?;
        let reached = tokio::time::timeout(AHEAD_PATIENCE, self.desk.reach(after));
        reached.await.map_err(|_| {
            let message = format!("this node has not reached revision {after}; ask another node");
            Over::Refused(status::behind(message))
        })?;
        Ok(news)
    }

    fn subscribe(&self, after: Revision) -> Result<HubStream, Over> {
        self.desk
            .rooms
            .hub
            .watch(after)
            .map_err(|compacted| Over::Again(compacted.oldest))
    }

    /// What one change means for this caller; nothing when it concerns others.
    fn delta(&self, batch: &Arc<Batch>) -> Result<Option<Frame>, Over> {
        let state = self.desk.state();
        let standing = self.standing(&state)?;
        if standing.sees_everything() {
            let encode = || Some(self.seen(batch, &state, &standing)?.encode_to_vec().into());
            return Ok(batch.wire(&self.network, encode).map(Frame::Shared));
        }
        let own = self.seen(batch, &state, &standing);
        Ok(own.map(|message| Frame::Own(Box::new(message))))
    }

    fn seen(&self, batch: &Batch, state: &State, standing: &Standing<'_>) -> Option<WatchResponse> {
        let mut delta = watch_response::Delta {
            revision: batch.revision.0,
            ..Default::default()
        };
        for event in &*batch.events {
            match event {
                Event::Resolves(resolution) if standing.sees_id(&resolution.tenant) => {
                    delta.changed.push(shown(state, resolution, &self.network));
                }
                Event::Gone(tenant) if standing.sees_id(tenant) => {
                    delta.removed_tenant_ids.push(tenant.to_string());
                }
                _ => {}
            }
        }
        let is_empty = delta.changed.is_empty() && delta.removed_tenant_ids.is_empty();
        let event = Some(watch_response::Event::Delta(delta));
        (!is_empty).then_some(WatchResponse { event })
    }

    fn bookmark(&self, cursor: Revision, marks: &mut Bookmarks) -> Result<watch_response::Event, Over> {
        // The time first: who is stopped for a while between the two calls the view older than it is.
        let now = Instant::now();
        let reading = self.desk.stale();
        self.standing(&reading.state)?;
        let view = View {
            revision: reading.state.revision,
            as_of: reading.staleness.and_then(|age| now.checked_sub(age)),
        };
        // Never ahead of what was delivered, a stream resumes from here; and never younger.
        let age = marks.age(cursor, view, Instant::now());
        let mut freshness = self.desk.freshness(cursor, age);
        if Mutant::BookmarkAhead.is_planted() {
            freshness.revision += 5;
        }
        Ok(watch_response::Event::Bookmark(watch_response::Bookmark {
            freshness: Some(freshness),
        }))
    }

    /// The rights of now: revoked ones end the stream, changed ones need another listing.
    fn standing<'a>(&'a self, state: &'a State) -> Result<Standing<'a>, Over> {
        let standing =
            policy::standing(state, &self.call.caller, self.call.action()).map_err(Status::from)?;
        if standing.principal().rev != self.rev {
            return Err(Over::Again(state.revision.next()));
        }
        Ok(standing)
    }
}

fn batch(item: Option<HubItem>) -> Result<Arc<Batch>, Over> {
    match item {
        Some(HubItem::Batch(batch)) => Ok(batch),
        Some(HubItem::Lagged { resume_after }) => Err(Over::Lagged(resume_after)),
        None => Err(Over::Left),
    }
}

async fn put(send: &Sender, event: watch_response::Event) -> Result<(), Over> {
    send.send(Ok(own(event))).await.map_err(|_| Over::Left)
}

fn own(event: watch_response::Event) -> Frame {
    Frame::Own(Box::new(WatchResponse { event: Some(event) }))
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
