//! One thread that runs every task of every node, on a clock of its own.
//!
//! ```text
//! all who were woken ─► shuffled by the seed ─► each polled once ─► … ─► nobody left ─► the clock jumps to the next timer
//! ```
//! Who runs next depends on the set of those who were woken, never on the order in which they were: so tokio's
//! channels, which wake by chance, cannot make two runs of a seed differ.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::chance::Chance;
use super::history::History;
use crate::mutant::Mutant;
use crate::mutant::simulated::PLANTED;

/// A run that polls so often does not end.
const POLLS_MAX: u64 = 20_000_000;

/// Whose task it is: a node in one of its lives, its disk, or the world around the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub node: u64,
    pub life: u64,
    /// The disk of a stopped process works on.
    pub is_disk: bool,
}

/// The network, the clients and the faults.
pub const WORLD: Owner = Owner {
    node: 0,
    life: 0,
    is_disk: false,
};

thread_local! {
    static HERE: RefCell<Option<Arc<Core>>> = const { RefCell::new(None) };
}

/// The simulation that runs on this thread.
pub fn here() -> Option<Arc<Core>> {
    HERE.with(|here| here.borrow().clone())
}

pub fn now_ns() -> u64 {
    here().map_or(0, |core| core.inner.lock().now)
}

/// Everything of one simulation that tasks share.
pub struct Core {
    inner: Mutex<Inner>,
    ready: Arc<Mutex<BTreeSet<u64>>>,
    pub chance: Mutex<Chance>,
    pub history: Mutex<History>,
    /// A fault planted in all nodes, or in one of them.
    pub mutant: Option<(Mutant, Option<u64>)>,
    /// How wrong each node's clock is.
    pub skew_ms: Mutex<BTreeMap<u64, i64>>,
    base: Instant,
}

struct Inner {
    now: u64,
    next: u64,
    polls: u64,
    current: Owner,
    tasks: BTreeMap<u64, Task>,
    timers: BTreeMap<(u64, u64), Waker>,
    /// Nodes that are stopped, and which of their tasks were woken meanwhile.
    stopped: BTreeSet<u64>,
    held: BTreeSet<u64>,
}

struct Task {
    owner: Owner,
    waker: Waker,
    /// None while it is being polled.
    future: Option<BoxFuture<'static, ()>>,
}

struct Bell {
    task: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ready.lock().insert(self.task);
    }
}

impl Core {
    fn new(seed: u64, mutant: Option<(Mutant, Option<u64>)>) -> Arc<Core> {
        Arc::new(Core {
            inner: Mutex::new(Inner {
                now: 0,
                next: 1,
                polls: 0,
                current: WORLD,
                tasks: BTreeMap::new(),
                timers: BTreeMap::new(),
                stopped: BTreeSet::new(),
                held: BTreeSet::new(),
            }),
            ready: Arc::default(),
            chance: Mutex::new(Chance::new(seed)),
            history: Mutex::default(),
            mutant,
            skew_ms: Mutex::default(),
            base: Instant::now(),
        })
    }

    pub fn now(&self) -> Instant {
        self.base + Duration::from_nanos(self.inner.lock().now)
    }

    pub fn polls(&self) -> u64 {
        self.inner.lock().polls
    }

    /// Whose task is being polled.
    pub fn current(&self) -> Owner {
        self.inner.lock().current
    }

    pub fn spawn(&self, owner: Owner, future: impl Future<Output = ()> + Send + 'static) {
        let mut inner = self.inner.lock();
        let task = inner.next;
        inner.next += 1;
        let ready = self.ready.clone();
        let waker = Waker::from(Arc::new(Bell { task, ready }));
        let future: Option<BoxFuture<'static, ()>> = Some(Box::pin(future));
        inner.tasks.insert(task, Task { owner, waker, future });
        drop(inner);
        self.ready.lock().insert(task);
    }

    /// Takes every task of a node away, wherever it stands.
    pub fn kill(&self, node: u64) {
        let mut inner = self.inner.lock();
        let doomed: Vec<u64> = inner
            .tasks
            .iter()
            .filter_map(|(id, task)| (task.owner.node == node).then_some(*id))
            .collect();
        let tasks: Vec<Task> = doomed.iter().filter_map(|id| inner.tasks.remove(id)).collect();
        inner.stopped.remove(&node);
        drop(inner);
        // What they held is let go without the lock: it may wake others.
        drop(tasks);
    }

    /// Holds a node still: time goes by, and nothing of it runs.
    pub fn stop(&self, node: u64) {
        self.inner.lock().stopped.insert(node);
    }

    pub fn go_on(&self, node: u64) {
        let mut inner = self.inner.lock();
        inner.stopped.remove(&node);
        let held = std::mem::take(&mut inner.held);
        self.ready.lock().extend(held);
    }

    /// Polls everyone who was woken once; false when nobody was.
    fn turn(&self) -> bool {
        let mut batch: Vec<u64> = std::mem::take(&mut *self.ready.lock()).into_iter().collect();
        self.chance.lock().shuffle(&mut batch);
        for id in &batch {
            self.poll(*id);
        }
        !batch.is_empty()
    }

    fn poll(&self, id: u64) {
        let (waker, mut future) = {
            let mut inner = self.inner.lock();
            let Some(task) = inner.tasks.get_mut(&id) else {
                return;
            };
            let owner = task.owner;
            if !owner.is_disk && inner.stopped.contains(&owner.node) {
                inner.held.insert(id);
                return;
            }
            inner.polls += 1;
            inner.current = owner;
            assert!(inner.polls < POLLS_MAX, "the simulation does not end");
            let Some(task) = inner.tasks.get_mut(&id) else {
                return;
            };
            let Some(future) = task.future.take() else { return };
            (task.waker.clone(), future)
        };
        PLANTED.set(self.planted());
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        PLANTED.set(None);
        let mut inner = self.inner.lock();
        inner.current = WORLD;
        match (polled, inner.tasks.get_mut(&id)) {
            (Poll::Pending, Some(task)) => task.future = Some(future),
            _ => {
                let gone = inner.tasks.remove(&id);
                drop(inner);
                drop((gone, future));
            }
        }
    }

    /// The fault that whoever runs now carries; what no single node carries, the world does, too.
    fn planted(&self) -> Option<Mutant> {
        let (mutant, node) = self.mutant?;
        let is_here = node.is_none_or(|node| node == self.current().node);
        is_here.then_some(mutant)
    }

    /// Jumps to the next timer; false when there is none.
    fn jump(&self) -> bool {
        let mut inner = self.inner.lock();
        let Some((at, _)) = inner.timers.first_key_value().map(|(key, _)| *key) else {
            return false;
        };
        inner.now = inner.now.max(at);
        let later = inner.timers.split_off(&(at + 1, 0));
        let due = std::mem::replace(&mut inner.timers, later);
        drop(inner);
        due.into_values().for_each(Waker::wake);
        true
    }
}

/// Runs a future, and all that it begins, to its end; says what panicked when something did.
pub fn run<T: Send + 'static>(
    seed: u64,
    mutant: Option<(Mutant, Option<u64>)>,
    main: impl Future<Output = T> + Send + 'static,
) -> (Result<T, String>, Arc<Core>) {
    let core = Core::new(seed, mutant);
    HERE.with(|here| *here.borrow_mut() = Some(core.clone()));
    let _end = End(core.clone());
    let ran = catch_unwind(AssertUnwindSafe(|| run_here(&core, main)));
    let ran = ran.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default()
    });
    (ran, core)
}

fn run_here<T: Send + 'static>(core: &Arc<Core>, main: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, mut receiver) = tokio::sync::oneshot::channel();
    core.spawn(WORLD, async move {
        // Nobody else can be waiting for it.
        let _ = sender.send(main.await);
    });
    loop {
        while core.turn() {}
        if let Ok(done) = receiver.try_recv() {
            return done;
        }
        assert!(core.jump(), "everyone waits, and nobody for the clock");
    }
}

/// Takes the simulation off this thread, however it ended.
struct End(Arc<Core>);

impl Drop for End {
    fn drop(&mut self) {
        loop {
            let tasks = std::mem::take(&mut self.0.inner.lock().tasks);
            if tasks.is_empty() {
                break;
            }
            drop(tasks);
        }
        HERE.with(|here| here.borrow_mut().take());
    }
}

/// Waits on the simulation's clock.
pub struct Sleep {
    core: Arc<Core>,
    at: u64,
    key: Option<(u64, u64)>,
}

impl Sleep {
    pub fn until(core: Arc<Core>, at: Instant) -> Sleep {
        let at = at.saturating_duration_since(core.base).as_nanos() as u64;
        Sleep { core, at, key: None }
    }

    fn forget(&mut self) {
        if let Some(key) = self.key.take() {
            let gone = self.core.inner.lock().timers.remove(&key);
            drop(gone);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let core = self.core.clone();
        let mut inner = core.inner.lock();
        if inner.now >= self.at {
            drop(inner);
            self.forget();
            return Poll::Ready(());
        }
        let key = match self.key {
            Some(key) => key,
            None => {
                inner.next += 1;
                (self.at, inner.next)
            }
        };
        self.key = Some(key);
        inner.timers.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}
