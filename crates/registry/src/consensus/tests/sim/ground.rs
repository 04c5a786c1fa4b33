//! Consensus's ground in tests: the simulation that runs on this thread, or else tokio as in a program.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use openraft_rt::AsyncRuntime;
use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::{TokioMpsc, TokioMutex, TokioOneshot, TokioRuntime, TokioWatch};

use super::exec::{self, here};
pub use super::wire::Wire;
use crate::consensus::Dialer;

/// The day on which every simulation begins.
const FIRST_DAY_MS: u64 = 1_800_000_000_000;

pub mod time {
    use super::*;
    use tokio::time::{Instant, MissedTickBehavior};

    pub fn now() -> Instant {
        here().map_or_else(Instant::now, |core| core.now())
    }

    pub enum Sleep {
        Real(Pin<Box<tokio::time::Sleep>>),
        Simulated(exec::Sleep),
    }

    impl Future for Sleep {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            match self.get_mut() {
                Sleep::Real(sleep) => sleep.poll_unpin(cx),
                Sleep::Simulated(sleep) => sleep.poll_unpin(cx),
            }
        }
    }

    pub fn sleep(long: Duration) -> Sleep {
        sleep_until(now() + long)
    }

    pub fn sleep_until(at: Instant) -> Sleep {
        match here() {
            Some(core) => Sleep::Simulated(exec::Sleep::until(core, at)),
            None => Sleep::Real(Box::pin(tokio::time::sleep_until(at))),
        }
    }

    #[derive(Debug)]
    pub struct Elapsed;

    impl fmt::Display for Elapsed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("it took too long")
        }
    }

    pub struct Timeout<F> {
        future: Pin<Box<F>>,
        sleep: Sleep,
    }

    impl<F: Future> Future for Timeout<F> {
        type Output = Result<F::Output, Elapsed>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            if let Poll::Ready(done) = self.future.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            self.sleep.poll_unpin(cx).map(|()| Err(Elapsed))
        }
    }

    pub fn timeout<F: Future>(long: Duration, future: F) -> Timeout<F> {
        timeout_at(now() + long, future)
    }

    pub fn timeout_at<F: Future>(at: Instant, future: F) -> Timeout<F> {
        Timeout {
            future: Box::pin(future),
            sleep: sleep_until(at),
        }
    }

    pub struct Interval {
        next: Instant,
        period: Duration,
    }

    pub fn interval(period: Duration) -> Interval {
        Interval { next: now(), period }
    }

    impl Interval {
        /// Every beat of this room's is late when the one before was.
        pub fn set_missed_tick_behavior(&mut self, behaviour: MissedTickBehavior) {
            assert_eq!(behaviour, MissedTickBehavior::Delay);
        }

        pub async fn tick(&mut self) {
            sleep_until(self.next).await;
            self.next = now() + self.period;
        }
    }
}

pub enum Handle<T> {
    Real(tokio::task::JoinHandle<T>),
    Simulated(tokio::sync::oneshot::Receiver<T>),
}

/// A task that was taken away, or panicked.
#[derive(Debug)]
pub struct Gone(bool);

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task is gone")
    }
}

impl std::error::Error for Gone {}

impl<T: Send + 'static> Future for Handle<T> {
    type Output = Result<T, Gone>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Handle::Real(task) => task.poll_unpin(cx).map_err(|error| Gone(error.is_panic())),
            Handle::Simulated(task) => task.poll_unpin(cx).map_err(|_| Gone(false)),
        }
    }
}

pub fn spawn<F>(future: F) -> Handle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let Some(core) = here() else {
        return Handle::Real(tokio::spawn(future));
    };
    let (sender, receiver) = tokio::sync::oneshot::channel();
    core.spawn(core.current(), async move {
        // Most tasks are waited for by nobody.
        let _ = sender.send(future.await);
    });
    Handle::Simulated(receiver)
}

/// On another thread; in a simulation here, after a while.
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Handle<T> {
    let Some(core) = here() else {
        return Handle::Real(tokio::task::spawn_blocking(work));
    };
    let micros = core.chance.lock().between(10..3_000);
    spawn(async move {
        time::sleep(Duration::from_micros(micros)).await;
        work()
    })
}

/// On a thread that yields to others; in a simulation there are none.
pub async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    spawn_blocking(work).await.map_err(std::io::Error::other)
}

pub fn dial(dialer: &dyn Dialer, node: u64, address: &str) -> Wire {
    match dialer.line(node) {
        Some(line) => Wire::Memory(line),
        None => Wire::Real(dialer.channel(node, address)),
    }
}

/// The time of day in the simulation, whatever the nodes' clocks say.
pub fn true_ms() -> u64 {
    FIRST_DAY_MS + exec::now_ns() / 1_000_000
}

pub fn wall_ms() -> u64 {
    let Some(core) = here() else {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        return since.map_or(0, |since| since.as_millis() as u64);
    };
    let skew = core.skew_ms.lock().get(&core.current().node).copied();
    true_ms().saturating_add_signed(skew.unwrap_or_default())
}

type Seeded = DeterministicRng<TokioRuntime>;

/// What openraft runs on.
#[derive(Debug)]
pub struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = Gone;
    type JoinHandle<T: Send + 'static> = Handle<T>;
    type Sleep = time::Sleep;
    type Instant = Moment;
    type TimeoutError = time::Elapsed;
    type Timeout<R, T: Future<Output = R> + Send> = time::Timeout<T>;
    type ThreadLocalRng = <Seeded as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = TokioMpsc;
    type Watch = TokioWatch;
    type Oneshot = TokioOneshot;
    type Mutex<T: Send + 'static> = TokioMutex<T>;

    fn spawn<T>(future: T) -> Handle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        spawn(future)
    }

    fn sleep(long: Duration) -> time::Sleep {
        time::sleep(long)
    }

    fn sleep_until(deadline: Moment) -> time::Sleep {
        time::sleep_until(deadline.0)
    }

    fn timeout<R, F: Future<Output = R> + Send>(long: Duration, future: F) -> time::Timeout<F> {
        time::timeout(long, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: Moment, future: F) -> time::Timeout<F> {
        time::timeout_at(deadline.0, future)
    }

    fn is_panic(error: &Gone) -> bool {
        error.0
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        let seed = here().map_or_else(rand::random, |core| core.chance.lock().next());
        let drawn = Seeded::scope(seed, async { Seeded::thread_rng() });
        drawn.now_or_never().expect("drawing a number waits for nothing")
    }

    fn new(threads: usize) -> Runtime {
        Runtime(TokioRuntime::new(threads))
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.0.block_on(future)
    }
}

/// openraft's instant, on either clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(tokio::time::Instant);

impl openraft_rt::Instant for Moment {
    fn now() -> Moment {
        Moment(time::now())
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, long: Duration) -> Moment {
        Moment(self.0 + long)
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, long: Duration) {
        self.0 += long;
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    fn sub(self, long: Duration) -> Moment {
        Moment(self.0 - long)
    }
}

impl SubAssign<Duration> for Moment {
    fn sub_assign(&mut self, long: Duration) {
        self.0 -= long;
    }
}

impl Sub<Moment> for Moment {
    type Output = Duration;

    fn sub(self, other: Moment) -> Duration {
        self.0 - other.0
    }
}
