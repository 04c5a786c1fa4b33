//! What a cached resolve costs a service while the watch brings changes, beside a cache of moka and a map behind a lock.
//!
//! ```text
//! cargo bench -p reeve-client --bench resolve                 # means by criterion, then percentiles of single calls
//! cargo bench -p reeve-client --bench resolve -- percentiles  # the latter alone
//! ```
//! Each selector is cloned right before its call, outside of what is timed: a service has just read it from its request.
//! A single call is timed by two readings of the clock; what the two cost without a call between them is in the table,
//! and taken off nothing.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed bench")]

use std::{
    collections::HashMap,
    hint::black_box,
    sync::{
        Arc, Barrier, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion};
use futures::FutureExt;
use hdrhistogram::Histogram;
use reeve_client::{
    Fleet, Resolution, Selector,
    stand::{self, Feed},
};

const TENANTS: u64 = 100_000;
const CHANGE_EVERY: Duration = Duration::from_millis(1);
const THREADS: [usize; 2] = [1, 8];

type Found = Option<Arc<Resolution>>;

/// What finds tenants, and hears of changes.
trait Subject: Send + Sync {
    fn name(&self) -> &'static str;
    fn find(&self, selector: &Selector, key: &str) -> Found;
    fn change(&self, number: u64);
}

struct Reeve {
    fleet: Fleet,
    feed: Feed,
    revision: AtomicU64,
}

impl Subject for Reeve {
    fn name(&self) -> &'static str {
        "Fleet::resolve"
    }

    fn find(&self, selector: &Selector, _key: &str) -> Found {
        self.fleet.resolve(selector).now_or_never()?.ok()
    }

    fn change(&self, number: u64) {
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        self.feed.change(stand::hospital(number, revision), revision);
        self.feed.bookmark(revision);
    }
}

/// Finds and keeps whole answers by the text of their claim, as a service would without us.
struct Moka(moka::sync::Cache<String, Arc<Resolution>>);

impl Subject for Moka {
    fn name(&self) -> &'static str {
        "moka"
    }

    fn find(&self, _selector: &Selector, key: &str) -> Found {
        self.0.get(key)
    }

    fn change(&self, number: u64) {
        self.0.insert(stand::domain(number), read(number));
    }
}

struct Plain(RwLock<HashMap<String, Arc<Resolution>>>);

impl Subject for Plain {
    fn name(&self) -> &'static str {
        "RwLock<HashMap>"
    }

    fn find(&self, _selector: &Selector, key: &str) -> Found {
        self.0.read().unwrap().get(key).cloned()
    }

    fn change(&self, number: u64) {
        let read = read(number);
        self.0.write().unwrap().insert(stand::domain(number), read);
    }
}

/// Nothing at all: what timing costs by itself.
struct Nothing;

impl Subject for Nothing {
    fn name(&self) -> &'static str {
        "two readings of the clock"
    }

    fn find(&self, _selector: &Selector, _key: &str) -> Found {
        None
    }

    fn change(&self, _number: u64) {}
}

fn read(number: u64) -> Arc<Resolution> {
    Arc::new(Resolution::try_from(stand::hospital(number, 5)).unwrap())
}

fn subjects(tenants: u64) -> Vec<Arc<dyn Subject>> {
    let (fleet, feed) = stand::fleet();
    feed.list((0..tenants).map(|number| stand::hospital(number, 5)), 9);
    let reeve = Reeve {
        fleet,
        feed,
        revision: AtomicU64::new(9),
    };
    let moka = Moka(moka::sync::Cache::new(2 * tenants));
    let all = (0..tenants).map(|number| (stand::domain(number), read(number)));
    let plain = Plain(RwLock::new(all.collect()));
    for number in 0..tenants {
        moka.change(number);
    }
    moka.0.run_pending_tasks();
    vec![Arc::new(reeve), Arc::new(moka), Arc::new(plain)]
}

/// Who is asked for.
#[derive(Clone, Copy)]
enum Whom {
    /// As hospitals are: the n-th busiest 1/n as often as the busiest (Zipf, 1.0).
    Busiest,
    /// Each as often as any other: nobody is in the processor's cache.
    Anybody,
}

const ALL: [(Whom, &str); 2] = [(Whom::Busiest, "zipf"), (Whom::Anybody, "uniform")];

struct Selectors(Vec<(Selector, String)>);

impl Selectors {
    fn new(tenants: u64) -> Selectors {
        let selector = |number| {
            let domain = stand::domain(number);
            (Selector::domain(&domain).unwrap(), domain)
        };
        Selectors((0..tenants).map(selector).collect())
    }

    fn draw(&self, whom: Whom, chance: &mut u64) -> (Selector, String) {
        *chance ^= *chance << 13;
        *chance ^= *chance >> 7;
        *chance ^= *chance << 17;
        let share = (*chance >> 11) as f64 / (1_u64 << 53) as f64;
        let tenants = self.0.len() as f64;
        let rank = match whom {
            Whom::Busiest => tenants.powf(share) - 1.0,
            Whom::Anybody => tenants * share,
        };
        // Those who are busy lie anywhere.
        self.0[rank as usize * 7919 % self.0.len()].clone()
    }
}

/// Changes one tenant after the other while it lives.
struct Changes {
    ended: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<u64>>,
}

impl Changes {
    fn of(subject: &Arc<dyn Subject>, tenants: u64) -> Changes {
        let ended = Arc::new(AtomicBool::new(false));
        let (subject, is_over) = (subject.clone(), ended.clone());
        // A watch that was silent meanwhile vouches again, before anybody asks.
        subject.change(0);
        let thread = thread::spawn(move || {
            let mut changes = 0;
            while !is_over.load(Ordering::Relaxed) {
                subject.change(changes * 7919 % tenants);
                changes += 1;
                thread::sleep(CHANGE_EVERY);
            }
            changes
        });
        Changes {
            ended,
            thread: Some(thread),
        }
    }

    fn end(mut self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take().map_or(0, |thread| thread.join().unwrap())
    }
}

/// Times `calls` single calls in each of `threads`.
fn times(
    subject: &Arc<dyn Subject>,
    selectors: &Arc<Selectors>,
    whom: Whom,
    threads: usize,
    calls: u64,
) -> Histogram<u64> {
    let start = Arc::new(Barrier::new(threads));
    let workers: Vec<_> = (0..threads as u64)
        .map(|worker| {
            let (subject, selectors, start) = (subject.clone(), selectors.clone(), start.clone());
            thread::spawn(move || {
                let mut times = Histogram::<u64>::new(3).unwrap();
                let mut chance = 0x9e37_79b9_7f4a_7c15 ^ (worker + 1);
                start.wait();
                for _ in 0..calls {
                    let (selector, key) = selectors.draw(whom, &mut chance);
                    let from = Instant::now();
                    let found = black_box(subject.find(&selector, &key));
                    times.record(from.elapsed().as_nanos() as u64).unwrap();
                    drop(found);
                }
                times
            })
        })
        .collect();
    let mut all = Histogram::<u64>::new(3).unwrap();
    for worker in workers {
        all.add(worker.join().unwrap()).unwrap();
    }
    all
}

fn percentiles(subjects: &[Arc<dyn Subject>], selectors: &Arc<Selectors>, calls: u64) {
    let tenants = selectors.0.len() as u64;
    println!("\n{tenants} tenants, one change each {CHANGE_EVERY:?}, {calls} calls in all; nanoseconds\n");
    println!(
        "| {:<26} | tenants | threads | p50 | p90 | p99 | p99.9 | changes |",
        "what"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let nothing: Arc<dyn Subject> = Arc::new(Nothing);
    for subject in std::iter::once(&nothing).chain(subjects) {
        for (whom, named) in ALL {
            for threads in THREADS {
                let changes = Changes::of(subject, tenants);
                times(subject, selectors, whom, threads, calls / 10 / threads as u64);
                let times = times(subject, selectors, whom, threads, calls / threads as u64);
                let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|q| times.value_at_quantile(q));
                println!(
                    "| {:<26} | {named} | {threads} | {p50} | {p90} | {p99} | {p999} | {} |",
                    subject.name(),
                    changes.end()
                );
            }
        }
    }
}

fn means(criterion: &mut Criterion, subjects: &[Arc<dyn Subject>], selectors: &Arc<Selectors>) {
    let mut group = criterion.benchmark_group("cached resolve");
    for subject in subjects {
        for threads in THREADS {
            let id = BenchmarkId::new(subject.name(), threads);
            let changes = Changes::of(subject, selectors.0.len() as u64);
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|calls| {
                    let of_all: u64 = together(subject, selectors, Whom::Busiest, threads, calls);
                    Duration::from_nanos(of_all)
                });
            });
            changes.end();
        }
    }
    group.finish();
}

/// Nanoseconds that `calls` calls in each of `threads` took a thread, on average; drawing and cloning is in them.
fn together(
    subject: &Arc<dyn Subject>,
    selectors: &Arc<Selectors>,
    whom: Whom,
    threads: usize,
    calls: u64,
) -> u64 {
    let start = Arc::new(Barrier::new(threads));
    let workers: Vec<_> = (0..threads as u64)
        .map(|worker| {
            let (subject, selectors, start) = (subject.clone(), selectors.clone(), start.clone());
            thread::spawn(move || {
                let mut chance = 0x9e37_79b9_7f4a_7c15 ^ (worker + 1);
                start.wait();
                let from = Instant::now();
                for _ in 0..calls {
                    let (selector, key) = selectors.draw(whom, &mut chance);
                    black_box(subject.find(&selector, &key));
                }
                from.elapsed().as_nanos() as u64
            })
        })
        .collect();
    let all: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    all / threads as u64
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let says = |word: &str| arguments.iter().any(|argument| argument == word);
    // As a test it only shows that everything is found.
    let is_test = says("--test") || !says("--bench");
    let (tenants, calls) = if is_test {
        (1_000, 10_000)
    } else {
        (TENANTS, 4_000_000)
    };
    let (subjects, selectors) = (subjects(tenants), Arc::new(Selectors::new(tenants)));
    for subject in &subjects {
        subject.change(0);
        let (selector, key) = &selectors.0[7];
        let found = subject.find(selector, key).expect("a tenant that is there");
        assert_eq!(found.tenant.as_str(), "t_000000000007", "{}", subject.name());
    }
    if !says("percentiles") && !is_test {
        let mut criterion = Criterion::default().configure_from_args();
        means(&mut criterion, &subjects, &selectors);
        criterion.final_summary();
    }
    percentiles(&subjects, &selectors, calls);
}
