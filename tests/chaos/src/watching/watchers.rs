//! Watchers of every temper, each at all nodes in turn, until all that was changed has come to them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reeve_client::Api;
use reeve_client::v1::watch_response::Event;
use reeve_client::v1::{WatchRequest, WatchResponse};
use reeve_local::Fleet;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Change, Heard, Stream};

const BOOKMARK_EVERY: Duration = Duration::from_millis(200);
/// A stream that says nothing for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Before the next stream.
const PAUSE: Duration = Duration::from_millis(100);

/// What a watcher does beside listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// Follows, and resumes where it stands.
    Steady,
    /// Reads each message late.
    Slow,
    /// Leaves now and then, and comes back where it stood.
    Restless,
    /// Leaves now and then, and comes back at a revision of long ago.
    Forgetful,
    /// Leaves now and then, and lists everything again.
    Lister,
}

const TEMPERS: [Temper; 5] = [
    Temper::Steady,
    Temper::Slow,
    Temper::Restless,
    Temper::Forgetful,
    Temper::Lister,
];

/// Everybody who watches, and what they heard so far.
pub struct Watchers {
    tasks: JoinSet<()>,
    streams: Arc<Mutex<Vec<Stream>>>,
    /// The last revision that everybody waits for.
    goal: watch::Sender<Option<u64>>,
}

struct Watcher {
    number: usize,
    temper: Temper,
    nodes: Vec<(u64, Api)>,
    streams: Arc<Mutex<Vec<Stream>>>,
    goal: watch::Receiver<Option<u64>>,
    chance: StdRng,
}

impl Watchers {
    /// So many of each temper at each node.
    pub fn begin(fleet: &Fleet, each: usize, seed: u64) -> Watchers {
        let (goal, waited_for) = watch::channel(None);
        let mut watchers = Watchers {
            tasks: JoinSet::new(),
            streams: Arc::default(),
            goal,
        };
        let count = fleet.nodes().len() * TEMPERS.len() * each;
        for number in 0..count {
            let mut nodes: Vec<_> = fleet.nodes().iter().map(|node| (node.id(), node.api())).collect();
            nodes.rotate_left(number % fleet.nodes().len());
            let watcher = Watcher {
                number,
                temper: TEMPERS[number / fleet.nodes().len() % TEMPERS.len()],
                nodes,
                streams: watchers.streams.clone(),
                goal: waited_for.clone(),
                chance: StdRng::seed_from_u64(seed.wrapping_add(number as u64)),
            };
            watchers.tasks.spawn(watcher.run());
        }
        watchers
    }

    /// Waits until everybody has come to this revision; what they heard.
    pub async fn end(mut self, revision: u64) -> Vec<Stream> {
        self.goal.send_replace(Some(revision));
        while self.tasks.join_next().await.is_some() {}
        std::mem::take(&mut *self.streams.lock())
    }

    /// Looks at what they heard so far.
    pub fn look<T>(&self, look: impl FnOnce(&[Stream]) -> T) -> T {
        look(&self.streams.lock())
    }
}

impl Watcher {
    async fn run(mut self) {
        let mut after = 0;
        for turn in 0.. {
            let (node, api) = self.nodes[turn / 2 % self.nodes.len()].clone();
            let stream = Stream {
                watcher: self.number,
                node,
                after,
                heard: Vec::new(),
            };
            let place = {
                let mut streams = self.streams.lock();
                streams.push(stream);
                streams.len() - 1
            };
            self.listen(&api, after, place).await;
            let (from, to, must_list) = {
                let stream = &self.streams.lock()[place];
                let (from, to) = stream.covers();
                let last = stream.heard.last();
                let must_list = matches!(last, Some(Heard::Compacted(_) | Heard::Lagged(0)));
                (from, to, must_list)
            };
            if self.goal.borrow().is_some_and(|goal| to >= goal) {
                return;
            }
            after = match self.temper {
                Temper::Lister => 0,
                _ if must_list => 0,
                Temper::Forgetful if from > 0 => self.chance.random_range(from..=to),
                _ => to,
            };
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One stream, until it breaks, its watcher has had enough, or all that is waited for has come.
    async fn listen(&mut self, api: &Api, after: u64, place: usize) {
        let request = WatchRequest {
            after_revision: after,
            bookmark_interval: BOOKMARK_EVERY.try_into().ok(),
            ..Default::default()
        };
        let Ok(Ok(opened)) = tokio::time::timeout(SILENCE_MAX, api.resolver().watch(request)).await else {
            return;
        };
        let mut stream = opened.into_inner();
        let enough = match self.temper {
            Temper::Steady | Temper::Slow => usize::MAX,
            _ => self.chance.random_range(3..40),
        };
        let mut goal = self.goal.clone();
        let mut count = 0;
        while count < enough {
            let has_come = |goal: &Option<u64>| {
                let to = self.streams.lock()[place].covers().1;
                goal.is_some_and(|goal| to >= goal)
            };
            let message = tokio::select! {
                biased;
                message = tokio::time::timeout(SILENCE_MAX, stream.message()) => message,
                _ = goal.wait_for(has_come) => return,
            };
            let Ok(Ok(Some(message))) = message else { return };
            let Some(heard) = heard(message) else { return };
            if matches!(heard, Heard::Delta(..)) {
                count += 1;
            }
            self.streams.lock()[place].heard.push(heard);
            if self.temper == Temper::Slow {
                tokio::time::sleep(Duration::from_millis(self.chance.random_range(1..60))).await;
            }
        }
    }
}

fn heard(message: WatchResponse) -> Option<Heard> {
    Some(match message.event? {
        Event::Initial(resolution) => Heard::Initial(Box::new(resolution)),
        Event::InitialDone(done) => Heard::InitialDone(done.revision),
        Event::Delta(delta) => {
            let changed = delta.changed.into_iter();
            let mut change: Change = changed.map(|now| (now.tenant_id.clone(), Some(now))).collect();
            change.extend(delta.removed_tenant_ids.into_iter().map(|id| (id, None)));
            Heard::Delta(delta.revision, change)
        }
        Event::Bookmark(bookmark) => Heard::Bookmark(bookmark.freshness?.revision),
        Event::Lagged(lagged) => Heard::Lagged(lagged.resume_after_revision),
        Event::Compacted(compacted) => Heard::Compacted(compacted.oldest_revision),
    })
}
