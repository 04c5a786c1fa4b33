//! Watching: how long after a change was acknowledged each watcher has heard of it.
//!
//! ```text
//! writer ── UpdateTenant ──► acknowledged at (revision, time) ─┐
//! watchers ◄── DELTA ── heard at (revision, time) ─────────────┴─► settle ─► Tally
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use reeve_client::v1::resolver_service_client::ResolverServiceClient;
use reeve_client::v1::tenant_service_client::TenantServiceClient;
use reeve_client::v1::watch_response::Event;
use reeve_client::{Error, v1};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::load::CALL_PATIENCE;
use super::tally::Tally;
use super::target::reason_of;
use super::write;

/// Streams that are opened at the same time.
const OPENING: usize = 64;
/// What a watcher that has not heard for so long after the last change is counted under.
const NOT_HEARD: &str = "NOT_HEARD";
const HEAR_PATIENCE: Duration = Duration::from_secs(10);

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub watchers: usize,
    /// Changes a second.
    pub rate: NonZeroU32,
    pub warm_up: Duration,
    pub measured: Duration,
}

/// What a watcher has to say.
#[derive(Debug)]
pub enum Heard {
    Change {
        revision: u64,
        at: Instant,
    },
    /// Its stream is over.
    Ended(String),
}

/// Opens the streams, makes changes, and waits until all were heard. There must be a tenant.
pub async fn measure(channels: &[Channel], tenants: Vec<v1::Tenant>, plan: &Plan) -> Result<Tally, Error> {
    let after = revision(&channels[0], &tenants[0]).await?;
    let (tell, mut hear) = mpsc::unbounded_channel();
    // Dropped at the end, and the watchers with it.
    let mut watchers = JoinSet::new();
    for stream in open(channels, plan.watchers, after).await? {
        watchers.spawn(watch(stream, tell.clone()));
    }
    let changing = Instant::now();
    let (acknowledged, mut tally) = change(channels[0].clone(), tenants, plan).await;
    let mut heard = Vec::new();
    let expected = acknowledged.len() * plan.watchers;
    let until = Instant::now() + HEAR_PATIENCE;
    let mut ended = 0;
    while heard.len() < expected && ended < plan.watchers {
        match tokio::time::timeout_at(until, hear.recv()).await {
            Ok(Some(Heard::Change { revision, at })) if acknowledged.contains_key(&revision) => {
                heard.push((revision, at));
            }
            Ok(Some(Heard::Change { .. })) => {}
            Ok(Some(Heard::Ended(reason))) => {
                ended += 1;
                tally.failed(&reason, 1);
            }
            Ok(None) | Err(_) => break,
        }
    }
    settle(&mut tally, changing, &acknowledged, &heard, plan.watchers);
    Ok(tally)
}

/// Where watchers begin: what is there already need not be sent to each of them.
async fn revision(channel: &Channel, tenant: &v1::Tenant) -> Result<u64, Error> {
    let asked = v1::GetTenantRequest {
        tenant: tenant.id.clone(),
        ..Default::default()
    };
    let answer = TenantServiceClient::new(channel.clone())
        .get_tenant(asked)
        .await?;
    Ok(answer.into_inner().freshness.unwrap_or_default().revision)
}

async fn open(
    channels: &[Channel],
    count: usize,
    after_revision: u64,
) -> Result<Vec<Streaming<v1::WatchResponse>>, Error> {
    let asked = v1::WatchRequest {
        after_revision,
        ..Default::default()
    };
    let opening = channels.iter().cycle().take(count).map(|channel| {
        let (mut client, asked) = (ResolverServiceClient::new(channel.clone()), asked.clone());
        async move {
            let opened = tokio::time::timeout(CALL_PATIENCE, client.watch(asked)).await;
            let silent = |_| Status::deadline_exceeded("the watch was not opened in time");
            Ok::<_, Error>(opened.map_err(silent)??.into_inner())
        }
    });
    stream::iter(opening)
        .buffer_unordered(OPENING)
        .try_collect()
        .await
}

async fn watch(mut stream: Streaming<v1::WatchResponse>, tell: mpsc::UnboundedSender<Heard>) {
    let over = loop {
        let heard = match stream.message().await {
            Ok(Some(heard)) => heard,
            Ok(None) => break "ENDED".to_owned(),
            Err(status) => break reason_of(&status),
        };
        let at = Instant::now();
        let told = match heard.event {
            Some(Event::Delta(delta)) => tell.send(Heard::Change {
                revision: delta.revision,
                at,
            }),
            Some(Event::Lagged(_)) => break "LAGGED".to_owned(),
            Some(Event::Compacted(_)) => break "COMPACTED".to_owned(),
            _ => Ok(()),
        };
        if told.is_err() {
            return;
        }
    };
    // Nobody listens when the run is over.
    let _ = tell.send(Heard::Ended(over));
}

/// Makes one change after the other by the clock; when each measured one was acknowledged, by its revision.
async fn change(channel: Channel, tenants: Vec<v1::Tenant>, plan: &Plan) -> (BTreeMap<u64, Instant>, Tally) {
    let changes = write::changes(tenants);
    let mut client = TenantServiceClient::new(channel);
    let begun = Instant::now();
    let mut clock = tokio::time::interval(Duration::from_secs(1) / plan.rate.get());
    let (mut acknowledged, mut tally) = (BTreeMap::new(), Tally::default());
    for number in 0.. {
        clock.tick().await;
        let now = begun.elapsed();
        if now >= plan.warm_up + plan.measured {
            break;
        }
        let answered = client.update_tenant(write::nth(&changes, number)).await;
        let at = Instant::now();
        match answered.map(|answer| answer.into_inner().tenant) {
            Ok(tenant) if now >= plan.warm_up => {
                acknowledged.insert(tenant.unwrap_or_default().mod_revision, at);
            }
            Ok(_) => {}
            Err(status) => tally.failed(&reason_of(&status), 1),
        }
    }
    (acknowledged, tally)
}

/// Puts what was heard beside what was acknowledged. Heard before the acknowledgement came counts as at once.
fn settle(
    tally: &mut Tally,
    begun: Instant,
    acknowledged: &BTreeMap<u64, Instant>,
    heard: &[(u64, Instant)],
    watchers: usize,
) {
    for (revision, at) in heard {
        let Some(acknowledged) = acknowledged.get(revision) else {
            continue;
        };
        let took = at.saturating_duration_since(*acknowledged);
        tally.note(at.saturating_duration_since(begun), took, Ok(()));
    }
    if let Some(first) = acknowledged.values().min() {
        tally.begin_at(first.saturating_duration_since(begun));
    }
    let missing = ((acknowledged.len() * watchers) as u64).saturating_sub(tally.count());
    if missing > 0 {
        tally.failed(NOT_HEARD, missing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_watcher_is_held_to_each_change() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let acknowledged = BTreeMap::from([(7, at(1_000)), (9, at(2_000))]);
        // One heard early, one late, one not at all; and somebody else's change in between.
        let heard = [(7, at(990)), (7, at(1_040)), (8, at(1_500)), (9, at(2_010))];
        let mut tally = Tally::default();
        settle(&mut tally, begun, &acknowledged, &heard, 2);
        assert_eq!((tally.count(), tally.errors()[NOT_HEARD]), (3, 1));
        assert!((39.9..40.1).contains(&tally.max_ms()), "{}", tally.max_ms());
        assert!(tally.quantile_ms(0.3) < 1.0);
    }
}
