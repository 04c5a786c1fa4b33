//! The leader is killed, over and over: how long nothing is acknowledged.
//!
//! A call begins at each node every 10 ms, whatever became of those before it, so that the first moment in
//! which a node serves again is seen, and no client's patience is measured instead.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use etcd_client::Client;
use parking_lot::Mutex;
use reeve_bench::gap::{longest, quantile};
use reeve_bench::pairing::Pairing;
use reeve_bench::summary::{Row, Settings, Unit};
use reeve_cli::bench::write;
use reeve_client::v1::resolver_service_client::ResolverServiceClient;
use reeve_client::v1::tenant_service_client::TenantServiceClient;
use reeve_client::v1::{Claim, ResolveRequest, UpdateTenantRequest};
use reeve_local::until;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::transport::Channel;

use crate::etcd::{Etcd, changed};
use crate::plan::{NODES, Plan};
use crate::registry::Registry;
use crate::say;

const EVERY: Duration = Duration::from_millis(10);
const CALL_PATIENCE: Duration = Duration::from_secs(10);
/// Calls go well for so long before, and again after.
const CALM: Duration = Duration::from_secs(1);
const BACK_PATIENCE: Duration = Duration::from_secs(60);
/// One principal's changes are remembered and bounded: each of them bears so many kills.
const KILLS_PER_WRITER: usize = 10;

/// How long each was silent.
#[derive(Default)]
struct Gaps {
    ours: Vec<f64>,
    peer: Vec<f64>,
    /// Of our reads.
    reads: Vec<f64>,
}

pub async fn run(plan: &Plan, registry: &Registry, etcd: &Etcd) -> Result<Vec<(&'static str, Row)>> {
    let mut gaps = Gaps::default();
    for kill in 0..plan.kills {
        say(&format!("kill {} of {}", kill + 1, plan.kills));
        gaps.peer.push(of_etcd(etcd).await?.as_secs_f64());
        let writer = format!("killed-{}", kill / KILLS_PER_WRITER);
        let (writes, reads) = of_registry(registry, &writer).await?;
        gaps.ours.push(writes.as_secs_f64());
        gaps.reads.push(reads.as_secs_f64());
    }
    let settings = Settings {
        connections: NODES,
        kills: Some(plan.kills),
        ..plan.settings()
    };
    // The range is that of the trials; the ratio that of the quantiles.
    let trials = Pairing::of(&gaps.ours, &gaps.peer)?;
    let row = |part| {
        let of = |gaps: &[f64]| quantile(gaps, part).context("no kill was timed");
        let (ours, peer) = (of(&gaps.ours)?, of(&gaps.peer)?);
        let pairing = Pairing {
            ours,
            peer,
            ratio: ours / peer,
            ..trials.clone()
        };
        anyhow::Ok(Row::paired(pairing, Unit::Seconds, settings.clone()))
    };
    let longest_read = quantile(&gaps.reads, 1.0).context("no kill was timed")?;
    Ok(vec![
        ("leader_kill_gap_p50_s", row(0.5)?),
        ("leader_kill_gap_p99_s", row(0.99)?),
        (
            "leader_kill_read_gap_max_s",
            Row::alone(longest_read, Unit::Seconds, settings.clone()),
        ),
    ])
}

async fn of_etcd(etcd: &Etcd) -> Result<Duration> {
    let keys = Arc::new(changed(&etcd.keys));
    let put = |client: Client| {
        let (keys, value) = (keys.clone(), etcd.change.clone());
        move |number: usize| {
            let (mut client, key, value) = (
                client.kv_client(),
                keys[number % keys.len()].clone(),
                value.clone(),
            );
            async move { client.put(key, value, None).await.is_ok() }
        }
    };
    let writes = Probe::begin(etcd.each().await?.into_iter().map(put));
    tokio::time::sleep(CALM).await;
    let killed = etcd.kill_leader().await?;
    writes.back().await?;
    let gap = writes.end()?;
    etcd.restart(killed)?;
    etcd.wait_whole().await?;
    Ok(gap)
}

/// The gap of writes, and the longest that no survivor answered a read.
async fn of_registry(registry: &Registry, writer: &str) -> Result<(Duration, Duration)> {
    let (changes, claims) = (registry.changes.clone(), registry.claims.clone());
    let channels = registry.target_as(writer).await?.channels(NODES)?;
    let writes = Probe::begin(
        channels
            .iter()
            .cloned()
            .map(|channel| change(channel, changes.clone())),
    );
    let reads = Probe::begin(channels.into_iter().map(|channel| look(channel, claims.clone())));
    tokio::time::sleep(CALM).await;
    let leader = registry.leader().await?;
    leader.kill9()?;
    writes.back().await?;
    let gaps = (writes.end()?, reads.end()?);
    leader.start()?;
    registry.wait_whole().await?;
    Ok(gaps)
}

fn change(channel: Channel, changes: Arc<[UpdateTenantRequest]>) -> impl Fn(usize) -> Answered {
    let client = TenantServiceClient::new(channel);
    move |number| {
        let (mut client, asked) = (client.clone(), write::nth(&changes, number as u64));
        Box::pin(async move { client.update_tenant(asked).await.is_ok() })
    }
}

fn look(channel: Channel, claims: Arc<[Claim]>) -> impl Fn(usize) -> Answered {
    let client = ResolverServiceClient::new(channel);
    move |number| {
        let mut client = client.clone();
        let asked = ResolveRequest {
            claim: claims.get(number % claims.len()).cloned(),
            ..Default::default()
        };
        Box::pin(async move { client.resolve(asked).await.is_ok() })
    }
}

type Answered = std::pin::Pin<Box<dyn Future<Output = bool> + Send>>;

/// Calls that begin by the clock, and when they were answered.
struct Probe {
    begun: Instant,
    answered: Arc<Mutex<Vec<Duration>>>,
    callers: JoinSet<()>,
}

impl Probe {
    fn begin<C, F>(callers: impl IntoIterator<Item = C>) -> Probe
    where
        C: Fn(usize) -> F + Send + 'static,
        F: Future<Output = bool> + Send + 'static,
    {
        let mut probe = Probe {
            begun: Instant::now(),
            answered: Arc::default(),
            callers: JoinSet::new(),
        };
        for call in callers {
            let (begun, answered) = (probe.begun, probe.answered.clone());
            probe.callers.spawn(keep_calling(call, begun, answered));
        }
        probe
    }

    /// Waits until answers have come for a while without a pause worth the name.
    async fn back(&self) -> Result<()> {
        let from = self.begun.elapsed();
        until("calls to be answered again", BACK_PATIENCE, async || {
            let now = self.begun.elapsed();
            let since = now.saturating_sub(CALM).max(from);
            let mut late: Vec<_> = self
                .answered
                .lock()
                .iter()
                .copied()
                .filter(|at| *at >= since)
                .collect();
            late.extend([since, now]);
            let is_calm = now >= from + CALM && longest(late).is_some_and(|gap| gap < CALM / 5);
            Ok(is_calm.then_some(()))
        })
        .await
    }

    /// Stops calling; the longest time without an answer.
    fn end(self) -> Result<Duration> {
        let answered = std::mem::take(&mut *self.answered.lock());
        longest(answered).context("no call was answered")
    }
}

async fn keep_calling<C, F>(call: C, begun: Instant, answered: Arc<Mutex<Vec<Duration>>>)
where
    C: Fn(usize) -> F,
    F: Future<Output = bool> + Send + 'static,
{
    // Calls still open when this ends are dropped with it.
    let mut open = JoinSet::new();
    let mut clock = tokio::time::interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        clock.tick().await;
        while open.try_join_next().is_some() {}
        let (answer, answered) = (
            tokio::time::timeout(CALL_PATIENCE, call(number)),
            answered.clone(),
        );
        open.spawn(async move {
            if answer.await == Ok(true) {
                answered.lock().push(begun.elapsed());
            }
        });
    }
}
