//! What a session costs a caller, from a fleet's pool and from one of sqlx alone, of one real PostgreSQL over TLS.
//!
//! ```text
//! cargo bench -p reeve-client --bench checkout                 # means by criterion, then percentiles in turns
//! cargo bench -p reeve-client --bench checkout -- percentiles  # the latter alone
//! ```
//! A call is a session taken, and given back; with a statement in between or none. A session that comes back to a fleet's
//! pool is made as new, in one round trip that its caller does not wait for; `sqlx, reset` does the same by hand, so that
//! the rest can be told from it. All three have the same settings otherwise, and take turns: a machine is never twice the
//! same, and only the ratios of neighbours travel.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed bench")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use criterion::Criterion;
use hdrhistogram::Histogram;
use reeve_client::{Access, Fleet, Limits, Selector, stand};
use sqlx::{
    Executor, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use support::{
    Cluster,
    crowd::{Crowd, Size},
    postgres::{PASSWORD, Server, database, role, slug},
};
use tokio::runtime::Runtime;

const SIZE: Size = Size {
    tenants: 1,
    databases: 1,
    callers: 1,
};
const SESSIONS: u32 = 4;

/// Where sessions come from.
enum Source {
    Fleet(Fleet, Selector),
    Bare(PgPool),
}

#[derive(Clone, Copy)]
enum Work {
    Nothing,
    Statement,
}

impl Source {
    /// As a service would: the tenant by its name, its pool, a session of it.
    async fn call(&self, work: Work) {
        let pool = match self {
            Source::Bare(pool) => pool.clone(),
            Source::Fleet(fleet, selector) => {
                let tenant = fleet.resolve(selector).await.unwrap();
                fleet.pool(&tenant, Access::Write).await.unwrap()
            }
        };
        let mut session = pool.acquire().await.unwrap();
        if let Work::Statement = work {
            let answer: i32 = sqlx::query_scalar("SELECT 1")
                .fetch_one(&mut *session)
                .await
                .unwrap();
            assert_eq!(answer, 1);
        }
    }
}

fn bare(server: &Server, is_reset: bool) -> PgPool {
    let defaults = Limits::default();
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(server.port)
        .database(&database(0))
        .username(&role(0))
        .password(PASSWORD)
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert_from_pem(server.root_pem().as_bytes().to_vec());
    let pool = PgPoolOptions::new()
        .max_connections(SESSIONS)
        .acquire_timeout(defaults.patience)
        .idle_timeout(defaults.idle_max)
        .max_lifetime(defaults.lifetime_max);
    let pool = match is_reset {
        false => pool,
        true => pool.after_release(|session, _| {
            Box::pin(async move {
                session.fetch_all(stand::RESET).await?;
                Ok(true)
            })
        }),
    };
    pool.connect_lazy_with(options)
}

const NAMES: [&str; 3] = ["fleet", "sqlx", "sqlx, reset"];
const WORKS: [(Work, &str); 2] = [
    (Work::Nothing, "acquire"),
    (Work::Statement, "acquire and SELECT 1"),
];

async fn times(source: &Source, work: Work, calls: usize, pause: Duration) -> Histogram<u64> {
    let mut times = Histogram::new(3).unwrap();
    for _ in 0..calls {
        let from = Instant::now();
        source.call(work).await;
        times.record(from.elapsed().as_nanos() as u64).unwrap();
        if !pause.is_zero() {
            // Meanwhile the session is made as new: a caller that comes later does not meet it.
            tokio::time::sleep(pause).await;
        }
    }
    times
}

async fn percentiles(sources: &[Source; 3], rounds: usize, calls: usize) {
    println!("\n{rounds} rounds of {calls} calls by one caller, in turns; microseconds\n");
    println!("| call | pause | source | p50 | p99 | p50 by sqlx's |");
    println!("|---|---|---|---|---|---|");
    for (work, named) in WORKS {
        for pause in [Duration::ZERO, Duration::from_millis(2)] {
            let calls = if pause.is_zero() { calls } else { calls / 10 };
            let mut all = [(); 3].map(|()| Histogram::<u64>::new(3).unwrap());
            let mut ratios = [(); 3].map(|()| Vec::new());
            for _ in 0..rounds {
                let mut medians = [0.0; 3];
                for (n, source) in sources.iter().enumerate() {
                    let times = times(source, work, calls.max(10), pause).await;
                    medians[n] = times.value_at_quantile(0.5) as f64;
                    all[n].add(times).unwrap();
                }
                for (ratios, median) in ratios.iter_mut().zip(medians) {
                    ratios.push(median / medians[1]);
                }
            }
            for (n, name) in NAMES.iter().enumerate() {
                ratios[n].sort_by(f64::total_cmp);
                let us = |q| all[n].value_at_quantile(q) as f64 / 1_000.0;
                let ratio = ratios[n][rounds / 2];
                println!(
                    "| {named} | {pause:?} | {name} | {:.1} | {:.1} | {ratio:.2} |",
                    us(0.5),
                    us(0.99)
                );
            }
        }
    }
}

fn means(runtime: &Runtime, sources: &[Source; 3]) {
    let mut criterion = Criterion::default().configure_from_args();
    for (work, named) in WORKS {
        let mut group = criterion.benchmark_group(named);
        for (source, name) in sources.iter().zip(NAMES) {
            group.bench_function(name, |bencher| {
                bencher.iter(|| runtime.block_on(source.call(work)));
            });
        }
        group.finish();
    }
    criterion.final_summary();
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let says = |word: &str| arguments.iter().any(|argument| argument == word);
    // As a test it only shows that all of them answer.
    let is_test = says("--test") || !says("--bench");
    let runtime = Runtime::new().unwrap();
    let (server, sources) = runtime.block_on(async {
        let server = Server::start(&Cluster::new(), 50).await.unwrap();
        server.populate(SIZE.tenants, SIZE.databases).await.unwrap();
        let limits = Limits {
            connections_max: SESSIONS,
            connections_per_pool_max: SESSIONS,
            ..Limits::default()
        };
        let crowd = Crowd::new(&server, SIZE, limits);
        let sources = [
            Source::Fleet(crowd.fleet.clone(), Selector::slug(&slug(0)).unwrap()),
            Source::Bare(bare(&server, false)),
            Source::Bare(bare(&server, true)),
        ];
        for source in &sources {
            source.call(Work::Statement).await;
        }
        (server, sources)
    });
    if !says("percentiles") && !is_test {
        means(&runtime, &sources);
    }
    let (rounds, calls) = if is_test { (1, 10) } else { (9, 2_000) };
    runtime.block_on(percentiles(&sources, rounds, calls));
    drop(server);
}
