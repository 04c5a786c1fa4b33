//! A thousand watchers, and ten thousand, of either cluster, and how long after an acknowledgement each has heard.

use anyhow::{Result, ensure};
use etcd_client::{Client, WatchOptions, WatchStream, Watcher};
use futures::{StreamExt, TryStreamExt, stream};
use reeve_bench::pairing::{Samples, no_finer_than};
use reeve_bench::summary::{Row, Settings, Unit};
use reeve_cli::bench::tally::Tally;
use reeve_cli::bench::watch::{self, Heard, Watched};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::etcd::{Etcd, changed, reason_of};
use crate::plan::{Plan, WATCHERS, watcher_connections};
use crate::registry::{Registry, failed};
use crate::say;

const OPENING: usize = 64;
/// What is heard before the acknowledgement came counts as at once, and by how much a watcher was first, nobody asks:
/// on one machine the order of the two is a matter of scheduling. Neither side is told finer than this.
const RESOLUTION_MS: f64 = 1.0;

pub async fn run(plan: &Plan, registry: &Registry, etcd: &Etcd) -> Result<Vec<(&'static str, Row)>> {
    let keys = [
        ["watch_1000_p99_ms", "watch_1000_from_call_p99_ms"],
        ["watch_10000_p99_ms", "watch_10000_from_call_p99_ms"],
    ];
    let mut rows = Vec::new();
    for (watchers, keys) in WATCHERS.into_iter().zip(keys) {
        rows.extend(
            keys.into_iter()
                .zip(so_many(watchers, plan, registry, etcd).await?),
        );
    }
    Ok(rows)
}

/// From the acknowledgement, and from the call.
async fn so_many(watchers: usize, plan: &Plan, registry: &Registry, etcd: &Etcd) -> Result<[Row; 2]> {
    let mut book = Book::default();
    for round in 1..=plan.rounds {
        say(&format!("{watchers} watchers, round {round} of {}", plan.rounds));
        book.enter("etcd", &of_etcd(watchers, plan, etcd).await?)?;
        let watcher = registry.target_as(&format!("watcher-{watchers}-{round}")).await?;
        let channels = watcher.channels(watcher_connections(watchers))?;
        let tenants = registry.tenants.clone();
        book.enter(
            "ours",
            &watch::measure(&channels, tenants, &plan.watching(watchers)).await?,
        )?;
    }
    let settings = Settings {
        note: Some(format!("told to {RESOLUTION_MS} ms, and not finer")),
        ..plan.settings_of_watching(watchers)
    };
    let settings = failed(settings, book.failures("ours"), book.failures("etcd"));
    let row = |samples: &Samples| {
        let pairing = samples.pair("ours", "etcd")?;
        anyhow::Ok(Row::paired(pairing, Unit::Milliseconds, settings.clone()))
    };
    Ok([row(&book.heard)?, row(&book.from_call)?])
}

/// The p99 of each round.
#[derive(Default)]
struct Book {
    heard: Samples,
    from_call: Samples,
    failed: Samples,
}

impl Book {
    fn enter(&mut self, who: &str, watched: &Watched) -> Result<()> {
        let errors = watched.heard.errors();
        ensure!(watched.heard.count() > 0, "{who}: no watcher heard: {errors:?}");
        let p99 = |tally: &Tally| no_finer_than(RESOLUTION_MS, tally.quantile_ms(0.99));
        self.heard.push(who, p99(&watched.heard));
        self.from_call.push(who, p99(&watched.from_call));
        self.failed.push(who, errors.values().sum::<u64>() as f64);
        Ok(())
    }

    fn failures(&self, who: &str) -> u64 {
        self.failed.of(who).iter().sum::<f64>() as u64
    }
}

async fn of_etcd(watchers: usize, plan: &Plan, etcd: &Etcd) -> Result<Watched> {
    let watching = plan.watching(watchers);
    let clients = etcd.clients(watcher_connections(watchers)).await?;
    let (tell, hear) = mpsc::unbounded_channel();
    // Dropped at the end, and the watchers with it.
    let mut listening = JoinSet::new();
    for (watcher, stream) in open(&clients, watching.watchers).await? {
        listening.spawn(listen(watcher, stream, tell.clone()));
    }
    let keys = changed(&etcd.keys);
    let client = clients[0].kv_client();
    let change = async |number: u64| {
        let key = keys[number as usize % keys.len()].as_str();
        let put = client.clone().put(key, etcd.change.clone(), None).await;
        let put = put.map_err(|error| reason_of(&error))?;
        Ok(put.header().map_or(0, |header| header.revision()) as u64)
    };
    Ok(watch::follow(&watching, hear, change).await)
}

async fn open(clients: &[Client], count: usize) -> Result<Vec<(Watcher, WatchStream)>> {
    let opening = clients.iter().cycle().take(count).map(|client| {
        let mut client = client.watch_client();
        async move {
            let options = WatchOptions::new().with_prefix();
            anyhow::Ok(client.watch("changed/", Some(options)).await?)
        }
    });
    stream::iter(opening)
        .buffer_unordered(OPENING)
        .try_collect()
        .await
}

/// The watcher is held while the stream is: dropping it would cancel the watch.
async fn listen(_watcher: Watcher, mut stream: WatchStream, tell: mpsc::UnboundedSender<Heard>) {
    loop {
        let heard = match stream.message().await {
            Ok(Some(heard)) => heard,
            Ok(None) => break,
            Err(error) => {
                // Nobody listens when the run is over.
                let _ = tell.send(Heard::Ended(reason_of(&error)));
                return;
            }
        };
        let at = Instant::now();
        for kv in heard.events().iter().filter_map(|event| event.kv()) {
            let revision = kv.mod_revision() as u64;
            if tell.send(Heard::Change { revision, at }).is_err() {
                return;
            }
        }
    }
}
