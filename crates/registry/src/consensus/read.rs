//! Reads: how fresh an answer must be, and the one loop that asks the leader for everyone who waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::ReadPolicy;
use reeve_domain::Revision;
use reeve_proto::internal::v1 as wire;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::ground::time;
use super::links::Line;
use super::machine::Published;
use super::{Consensus, Unavailable};
use crate::mutant::Mutant;

/// Readers that wait for one round.
const WAITING_MAX: usize = 4096;
const ROUND_LIMIT: Duration = Duration::from_secs(2);
/// A round costs all nodes about as much as ten answers do: the more it served, the longer the next one gathers. Who reads
/// alone waits for nothing.
const REST_PER_WAITER: Duration = Duration::from_micros(100);
const REST_MAX: Duration = Duration::from_millis(2);
/// The clock of a runtime ticks in milliseconds.
const REST_MIN: Duration = Duration::from_millis(1);
const PAUSE: Duration = Duration::from_millis(20);

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Sees everything that was acknowledged before it began.
    Linearizable,
    /// Sees at least this revision. That holds on a node that has recovered nothing more; how old it is may be unknown.
    AtLeast(Revision),
    /// Answers at once; flagged when staler than this.
    Bounded(Duration),
    /// Answers at once.
    Stale,
}

/// A state to read from, and how fresh it is.
#[derive(Clone, Debug)]
pub struct View {
    pub published: Arc<Published>,
    /// None: nobody knows.
    pub staleness: Option<Duration>,
    /// The bound that was asked for does not hold, or nobody knows how old this is.
    pub stale: bool,
}

impl View {
    /// The state itself.
    pub fn state(&self) -> &reeve_domain::State {
        &self.published.state
    }
}

type Waiter = oneshot::Sender<Option<u64>>;

/// The queue of readers that wait for a round.
#[derive(Clone)]
pub(super) struct ReadQueue {
    waiters: mpsc::Sender<Waiter>,
    rounds: Arc<AtomicU64>,
}

/// The task that owns the queue.
pub(super) struct Rounds {
    waiting: mpsc::Receiver<Waiter>,
    count: Arc<AtomicU64>,
}

impl ReadQueue {
    pub(super) fn new() -> (ReadQueue, Rounds) {
        let (waiters, waiting) = mpsc::channel(WAITING_MAX);
        let count = Arc::<AtomicU64>::default();
        let rounds = count.clone();
        (ReadQueue { waiters, rounds }, Rounds { waiting, count })
    }

    /// The index that the next round gives; none when there was no leader to ask.
    async fn index(&self) -> Option<u64> {
        let (sender, receiver) = oneshot::channel();
        self.waiters.send(sender).await.ok()?;
        receiver.await.ok().flatten()
    }
}

impl Rounds {
    pub(super) async fn run(mut self, consensus: Consensus) {
        let mut waiters = Vec::new();
        // Whoever comes while a round is under way waits for the next one: a round that began before the
        // question could miss what was acknowledged between.
        while self.waiting.recv_many(&mut waiters, WAITING_MAX).await > 0 {
            self.count.fetch_add(1, Ordering::Relaxed);
            let index = time::timeout(ROUND_LIMIT, consensus.round()).await.ok().flatten();
            let rest = rest_after(waiters.len());
            for waiter in waiters.drain(..) {
                // Whoever asked may have reached its deadline.
                let _ = waiter.send(index);
            }
            if let Some(rest) = rest {
                time::sleep(rest).await;
            }
        }
    }
}

fn rest_after(served: usize) -> Option<Duration> {
    let rest = REST_PER_WAITER * served.min(WAITING_MAX) as u32;
    (rest >= REST_MIN).then_some(rest.min(REST_MAX))
}

impl Consensus {
    /// A view that is as fresh as asked, or says that it is not.
    pub async fn read(&self, level: Level, deadline: Instant) -> Result<View, Unavailable> {
        match level {
            Level::Stale => Ok(self.view(None)),
            Level::Bounded(max) => Ok(self.view(Some(max))),
            Level::AtLeast(revision) => {
                let wait = self.wait_for_revision(revision);
                match time::timeout_at(deadline, wait).await {
                    Ok(()) => Ok(self.view(None)),
                    Err(_) => Err(Unavailable::NotCaughtUp { asked: revision }),
                }
            }
            Level::Linearizable if Mutant::ReadWithoutIndex.is_planted() => Ok(self.view(None)),
            Level::Linearizable => {
                let linearize = self.linearize();
                time::timeout_at(deadline, linearize)
                    .await
                    .map_err(|_| Unavailable::NoLeader)?;
                let published = self.published();
                Ok(View {
                    published,
                    staleness: Some(Duration::ZERO),
                    stale: false,
                })
            }
        }
    }

    /// How often this node asked how far the group has come, for however many who waited.
    pub fn read_rounds(&self) -> u64 {
        self.read_queue().rounds.load(Ordering::Relaxed)
    }

    /// How old this node's view may be.
    pub fn staleness(&self) -> Option<Duration> {
        self.age_of(&self.published())
    }

    /// How old a view may be that was taken before.
    pub fn age_of(&self, view: &Published) -> Option<Duration> {
        if Mutant::UnderstateAge.is_planted() {
            return Some(Duration::ZERO);
        }
        // The leader hears itself, too: what it said a moment ago holds while newer entries are being applied.
        let lead = self.leadership().borrow().clone();
        let applied = view.applied_index;
        let own = lead.word().filter(|word| word.committed_index <= applied);
        let heard = self.freshness().staleness(applied);
        own.map(|word| word.quorum_age).into_iter().chain(heard).min()
    }

    fn view(&self, max: Option<Duration>) -> View {
        // The age last: who is stopped for a while between the two has an older view, and says so.
        let published = self.published();
        let staleness = self.age_of(&published);
        let stale = staleness.is_none_or(|age| max.is_some_and(|max| age > max));
        View {
            published,
            staleness,
            stale,
        }
    }

    async fn linearize(&self) {
        loop {
            if let Some(index) = self.read_queue().index().await {
                if !Mutant::ReadBeforeApplied.is_planted() {
                    self.wait_for_index(index).await;
                }
                return;
            }
            time::sleep(PAUSE).await;
        }
    }

    /// One question to the leader for all who wait.
    async fn round(&self) -> Option<u64> {
        if self.is_leader() {
            let linearizer = self
                .raft()
                .get_read_linearizer(ReadPolicy::ReadIndex)
                .await
                .ok()?;
            return Some(linearizer.read_log_id().log_id().index);
        }
        let mut leadership = self.leadership();
        let leader = leadership.borrow_and_update().leader?;
        let address = self.address_of(leader)?;
        let mut client = self.links().client(leader, &address, Line::Beat);
        let envelope = Some(self.links().envelope_of(bytes::Bytes::new()));
        tokio::select! {
            biased;
            answer = client.read_index(wire::ReadIndexRequest { envelope }) => {
                answer.ok().map(|answer| answer.into_inner().index)
            }
            // One that is frozen would hold up every reader here, although another leads by now.
            _ = leadership.wait_for(|now| now.leader != Some(leader)) => None,
        }
    }

    /// The leader's side of a follower's round: it joins the leader's own.
    pub(super) async fn leader_read_index(&self) -> Result<u64, Unavailable> {
        if !self.is_leader() {
            return Err(Unavailable::NoLeader);
        }
        self.read_queue().index().await.ok_or(Unavailable::NoLeader)
    }

    pub(super) async fn wait_for_index(&self, index: u64) {
        self.board().reached.index.wait(index).await;
    }

    /// Returns when this node has the revision. It may never: the caller has a deadline, or a stream that ends.
    pub async fn wait_for_revision(&self, revision: Revision) {
        self.board().reached.revision.wait(revision.0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_readers_wait_for_more_to_come_and_few_do_not() {
        assert_eq!([0, 1, 9].map(rest_after), [None; 3]);
        assert_eq!(rest_after(15), Some(Duration::from_micros(1_500)));
        assert_eq!(rest_after(WAITING_MAX), Some(REST_MAX));
    }
}
