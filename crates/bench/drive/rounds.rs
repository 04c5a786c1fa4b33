//! The rounds: everything once, the peer and ours in turns, and again.

use std::time::Instant;

use anyhow::{Result, bail};
use reeve_bench::cpu;
use reeve_bench::pairing::Samples;
use reeve_bench::summary::{Row, Settings, Unit};
use reeve_cli::bench::tally::Tally;
use reeve_cli::bench::{empty, resolve, write};

use crate::etcd::{self, Etcd};
use crate::plan::{CONNECTIONS, OPEN_LOOP_IN_FLIGHT, Plan, READING, WRITING};
use crate::registry::{Registry, failed};
use crate::say;

/// What the rounds have brought.
#[derive(Default)]
struct Book {
    per_second: Samples,
    median_ms: Samples,
    p99_ms: Samples,
    p999_ms: Samples,
    cpu_us: Samples,
    failed: Samples,
}

impl Book {
    /// Makes one measurement and enters it, with what it cost these processes; one without any good call ends everything.
    async fn enter(
        &mut self,
        series: &str,
        pids: &[i32],
        measure: impl Future<Output = Tally>,
    ) -> Result<()> {
        let (began, before) = (Instant::now(), cpu::used_by(pids)?);
        let tally = measure.await;
        let (took, used) = (began.elapsed(), cpu::used_by(pids)? - before);
        self.note(series, &tally)?;
        // Of the whole time, warming up included, at the rate of the measured part.
        let calls = tally.per_second() * took.as_secs_f64();
        self.cpu_us.push(series, used.as_secs_f64() * 1e6 / calls);
        Ok(())
    }

    fn note(&mut self, series: &str, tally: &Tally) -> Result<()> {
        let failures: u64 = tally.errors().values().sum();
        if tally.count() == 0 {
            bail!("{series}: no call succeeded: {:?}", tally.errors());
        }
        self.per_second.push(series, tally.per_second());
        self.median_ms.push(series, tally.quantile_ms(0.5));
        self.p99_ms.push(series, tally.quantile_ms(0.99));
        self.p999_ms.push(series, tally.quantile_ms(0.999));
        self.failed.push(series, failures as f64);
        Ok(())
    }

    /// What the last round reached.
    fn last(&self, series: &str) -> f64 {
        self.per_second.of(series).last().copied().unwrap_or_default()
    }

    fn failures(&self, series: &str) -> u64 {
        self.failed.of(series).iter().sum::<f64>() as u64
    }

    fn row(&self, ours: &str, peer: &str, settings: Settings) -> Result<Row> {
        let settings = failed(settings, self.failures(ours), self.failures(peer));
        let row = Row::paired(self.per_second.pair(ours, peer)?, Unit::PerSecond, settings);
        Ok(row.costing(self.cpu_us.pair(ours, peer)?))
    }
}

const OPEN_RESOLVE: &str = "resolve by the clock";
const OPEN_GET: &str = "etcd get by the clock";
const OPEN_WRITE: &str = "write by the clock";
const OPEN_PUT: &str = "etcd put by the clock";
/// So many writes in flight show what can be borne.
const CAPACITY: usize = 256;
const EMPTY: &str = "empty";
const BOUNDED: &str = "resolve bounded";
const LINEARIZABLE: &str = "resolve linearizable";
const SERIALIZABLE_GET: &str = "etcd get serializable";
const LINEARIZABLE_GET: &str = "etcd get linearizable";

fn writing(in_flight: usize) -> String {
    format!("write {in_flight}")
}

fn putting(in_flight: usize) -> String {
    format!("etcd put {in_flight}")
}

pub async fn run(plan: &Plan, registry: &Registry, etcd: &Etcd) -> Result<Vec<(&'static str, Row)>> {
    let mut book = Book::default();
    for round in 1..=plan.rounds {
        say(&format!("round {round} of {}", plan.rounds));
        read(&mut book, plan, registry, etcd).await?;
        for in_flight in WRITING {
            let (clients, load) = (etcd.clients(CONNECTIONS).await?, plan.writing(in_flight));
            let puts = etcd::put(&clients, etcd, &load);
            book.enter(&putting(in_flight), &etcd.pids(), puts).await?;
            let writer = registry.target_as(&format!("writer-{round}-{in_flight}")).await?;
            let channels = writer.channels(CONNECTIONS)?;
            let writes = write::measure(&channels, registry.changes.clone(), &load);
            book.enter(&writing(in_flight), &registry.pids(), writes).await?;
        }
        by_the_clock(&mut book, plan, registry, etcd, round).await?;
    }
    rows(&book, plan, registry, etcd).await
}

/// Each of ours stands between the two that it is compared with.
async fn read(book: &mut Book, plan: &Plan, registry: &Registry, etcd: &Etcd) -> Result<()> {
    let load = plan.reading();
    let levels = [
        (resolve::Level::Bounded, BOUNDED, SERIALIZABLE_GET),
        (resolve::Level::Linearizable, LINEARIZABLE, LINEARIZABLE_GET),
    ];
    for (level, ours, peer) in levels {
        let clients = etcd.clients(CONNECTIONS).await?;
        let serializable = level == resolve::Level::Bounded;
        let gets = etcd::get(&clients, &etcd.keys, serializable, &load);
        book.enter(peer, &etcd.pids(), gets).await?;
        let channels = registry.target().await?.channels(CONNECTIONS)?;
        let claims = registry.claims.clone();
        let resolves = resolve::measure(&channels, claims, level, &load);
        book.enter(ours, &registry.pids(), resolves).await?;
        let channels = registry.target().await?.channels(CONNECTIONS)?;
        let calls = empty::measure(&channels, &load);
        book.enter(&beside(ours), &registry.pids(), calls).await?;
    }
    Ok(())
}

/// Each at the same part of what it has just reached itself.
async fn by_the_clock(
    book: &mut Book,
    plan: &Plan,
    registry: &Registry,
    etcd: &Etcd,
    round: usize,
) -> Result<()> {
    let load = plan.open_loop(book.last(SERIALIZABLE_GET), None);
    let clients = etcd.clients(CONNECTIONS).await?;
    let gets = etcd::get(&clients, &etcd.keys, true, &load);
    book.enter(OPEN_GET, &etcd.pids(), gets).await?;
    let load = plan.open_loop(book.last(BOUNDED), None);
    let channels = registry.target().await?.channels(CONNECTIONS)?;
    let resolves = resolve::measure(&channels, registry.claims.clone(), resolve::Level::Bounded, &load);
    book.enter(OPEN_RESOLVE, &registry.pids(), resolves).await?;

    let calls_max = Some(plan.changes_max());
    let load = plan.open_loop(book.last(&putting(CAPACITY)), calls_max);
    let puts = etcd::put(&clients, etcd, &load);
    book.enter(OPEN_PUT, &etcd.pids(), puts).await?;
    let load = plan.open_loop(book.last(&writing(CAPACITY)), calls_max);
    let writer = registry.target_as(&format!("clock-{round}")).await?;
    let channels = writer.channels(CONNECTIONS)?;
    let writes = write::measure(&channels, registry.changes.clone(), &load);
    book.enter(OPEN_WRITE, &registry.pids(), writes).await
}

/// The empty calls that were made right after.
fn beside(ours: &str) -> String {
    format!("{EMPTY} beside {ours}")
}

async fn rows(
    book: &Book,
    plan: &Plan,
    registry: &Registry,
    etcd: &Etcd,
) -> Result<Vec<(&'static str, Row)>> {
    let reading = Settings {
        value_bytes: Some(registry.resolved().await?.len()),
        ..plan.settings_of_rounds(READING)
    };
    let changing = |in_flight| Settings {
        value_bytes: Some(etcd.change.len()),
        ..plan.settings_of_rounds(in_flight)
    };
    let mut rows = vec![
        (
            "resolve_bounded_vs_empty",
            book.row(BOUNDED, &beside(BOUNDED), reading.clone())?,
        ),
        (
            "resolve_linearizable_vs_empty",
            book.row(LINEARIZABLE, &beside(LINEARIZABLE), reading.clone())?,
        ),
        (
            "resolve_bounded_vs_etcd",
            book.row(BOUNDED, SERIALIZABLE_GET, reading.clone())?,
        ),
        (
            "resolve_linearizable_vs_etcd",
            book.row(LINEARIZABLE, LINEARIZABLE_GET, reading)?,
        ),
    ];
    let keys = [
        "write_1_vs_etcd",
        "write_16_vs_etcd",
        "write_64_vs_etcd",
        "write_256_vs_etcd",
        "write_1024_vs_etcd",
    ];
    for (key, in_flight) in keys.into_iter().zip(WRITING) {
        let row = book.row(&writing(in_flight), &putting(in_flight), changing(in_flight))?;
        rows.push((key, row));
    }
    let one = book.median_ms.pair(&writing(1), &putting(1))?;
    rows.push((
        "write_1_latency_vs_etcd",
        Row::paired(one, Unit::Milliseconds, changing(1)),
    ));
    rows.extend(latencies(book, changing)?);
    rows.extend(open_rows(book, plan)?);
    Ok(rows)
}

fn latencies(book: &Book, settings: impl Fn(usize) -> Settings) -> Result<Vec<(&'static str, Row)>> {
    let keys = [
        ["write_1_p50_ms", "write_1_p99_ms"],
        ["write_16_p50_ms", "write_16_p99_ms"],
        ["write_64_p50_ms", "write_64_p99_ms"],
        ["write_256_p50_ms", "write_256_p99_ms"],
        ["write_1024_p50_ms", "write_1024_p99_ms"],
    ];
    let mut rows = Vec::new();
    for (in_flight, keys) in WRITING.into_iter().zip(keys) {
        for (key, samples) in keys.into_iter().zip([&book.median_ms, &book.p99_ms]) {
            let pairing = samples.pair(&writing(in_flight), &putting(in_flight))?;
            rows.push((key, Row::paired(pairing, Unit::Milliseconds, settings(in_flight))));
        }
    }
    Ok(rows)
}

fn open_rows(book: &Book, plan: &Plan) -> Result<Vec<(&'static str, Row)>> {
    let keys = [
        [
            "open_loop_resolve_70_p50_ms",
            "open_loop_resolve_70_p99_ms",
            "open_loop_resolve_70_p999_ms",
        ],
        [
            "open_loop_write_70_p50_ms",
            "open_loop_write_70_p99_ms",
            "open_loop_write_70_p999_ms",
        ],
    ];
    let mut rows = Vec::new();
    for (keys, (ours, peer)) in keys
        .into_iter()
        .zip([(OPEN_RESOLVE, OPEN_GET), (OPEN_WRITE, OPEN_PUT)])
    {
        let asked = book.per_second.pair(ours, peer)?;
        let settings = Settings {
            rates: Some([asked.ours as u32, asked.peer as u32]),
            ..plan.settings_of_rounds(OPEN_LOOP_IN_FLIGHT)
        };
        let settings = failed(settings, book.failures(ours), book.failures(peer));
        for (key, samples) in keys
            .into_iter()
            .zip([&book.median_ms, &book.p99_ms, &book.p999_ms])
        {
            let pairing = samples.pair(ours, peer)?;
            rows.push((key, Row::paired(pairing, Unit::Milliseconds, settings.clone())));
        }
    }
    Ok(rows)
}
