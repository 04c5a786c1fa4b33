//! The threads of one node: consensus and the door for peers on one of their own, everything else on the others.
//!
//! ```text
//! consensus:  openraft ─ apply ─ peer door ─ lines to peers        votes, heartbeats, appends
//! calls:      API door ─ watch streams ─ pilot ─ probes            as many as `runtime.worker_threads`
//! background: snapshots ─ hashes of the whole State                one for each, behind all others
//! ```
//! A flood of calls keeps only the calls' threads busy. A read never crosses: State is published to all threads. A
//! write, and a read that asks the leader, cross once each way.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// Of a busy processor a thread in the background has a tenth of what another one has.
const NICE: i32 = 10;

/// All threads of a node that carry tasks.
pub struct Threads {
    calls: Runtime,
    consensus: Option<Consensus>,
}

struct Consensus {
    handle: Handle,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Threads {
    /// So many threads for calls, and one more for consensus unless it shares them.
    pub fn begin(calls: usize, is_consensus_apart: bool) -> io::Result<Threads> {
        Ok(Threads {
            calls: for_calls(calls)?,
            consensus: is_consensus_apart.then(Consensus::begin).transpose()?,
        })
    }

    /// Where consensus and the door for peers belong.
    pub fn of_consensus(&self) -> Handle {
        let apart = self.consensus.as_ref().map(|consensus| &consensus.handle);
        apart.unwrap_or_else(|| self.calls.handle()).clone()
    }

    /// Runs a future to its end on the calls' threads, then ends all threads.
    pub fn run<T>(self, future: impl Future<Output = T>) -> T {
        let ended = self.calls.block_on(future);
        if let Some(consensus) = self.consensus {
            consensus.end();
        }
        ended
    }
}

impl Consensus {
    fn begin() -> io::Result<Consensus> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            // An error says that the other side is gone, which ends this one, too.
            drop(runtime.block_on(stopped));
        };
        let thread = std::thread::Builder::new()
            .name("consensus".to_owned())
            .spawn(run)?;
        Ok(Consensus { handle, stop, thread })
    }

    fn end(self) {
        // It may have ended by itself, and then there is nobody to tell and nothing to wait for.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::warn!("the thread of consensus did not end well");
        }
    }
}

/// Puts this thread behind all others, for good.
pub fn step_back() {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "work in the background takes as much as any other");
    }
}

/// Work that may take long and that nobody waits for: a thread of its own, behind all others when the processor is busy.
pub async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, is_done) = oneshot::channel();
    let run = move || {
        step_back();
        // Whoever asked may have left.
        let _ = done.send(work());
    };
    std::thread::Builder::new()
        .name("background".to_owned())
        .spawn(run)?;
    is_done
        .await
        .map_err(|_| io::Error::other("work in the background panicked"))
}

/// One thread for all calls when one is all there is: then nothing is handed from one to another.
fn for_calls(threads: usize) -> io::Result<Runtime> {
    match threads {
        1 => Builder::new_current_thread().enable_all().build(),
        more => Builder::new_multi_thread()
            .worker_threads(more)
            .enable_all()
            .build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(is_consensus_apart: bool) -> (Option<String>, Option<String>) {
        let threads = Threads::begin(1, is_consensus_apart).unwrap();
        let consensus = threads.of_consensus();
        let name = || std::thread::current().name().map(str::to_owned);
        threads.run(async move { (name(), consensus.spawn(async move { name() }).await.unwrap()) })
    }

    #[test]
    fn consensus_has_a_thread_of_its_own_unless_it_shares() {
        let (calls, consensus) = names(true);
        assert_eq!(consensus.as_deref(), Some("consensus"));
        assert_ne!(calls, consensus);
        let (calls, consensus) = names(false);
        assert_eq!(calls, consensus);
    }

    #[test]
    fn what_is_in_the_background_stands_behind_and_nobody_else_does() {
        let threads = Threads::begin(1, true).unwrap();
        let nice = || rustix::process::nice(0).unwrap();
        let before = nice();
        let (there, here) = threads.run(async move { (in_background(nice).await.unwrap(), nice()) });
        assert_eq!((there, here), (before + NICE, before));
    }

    #[test]
    fn a_panic_in_the_background_is_told() {
        let threads = Threads::begin(1, false).unwrap();
        let panicked = threads.run(in_background(|| panic!("on purpose")));
        assert!(panicked.is_err());
    }

    #[test]
    fn a_call_that_never_yields_does_not_keep_consensus_from_running() {
        let threads = Threads::begin(1, true).unwrap();
        let consensus = threads.of_consensus();
        threads.run(async move {
            let (done, is_done) = std::sync::mpsc::channel();
            consensus.spawn(async move {
                tokio::task::yield_now().await;
                done.send(()).unwrap();
            });
            // The calls' only thread is held here; with a shared runtime this would never return.
            is_done.recv().unwrap();
        });
    }
}
