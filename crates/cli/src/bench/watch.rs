//! Watching: how long after a change was acknowledged each watcher has heard of it.
//!
//! ```text
//! writer ── UpdateTenant ──► called at, acknowledged at (revision) ─┐
//! watchers ◄── DELTA ── heard at (revision) ────────────────────────┴─► settle ─► Watched
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

use super::load::{CALL_PATIENCE, NO_ANSWER};
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

/// When a change was asked for, and when it was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Made {
    called: Instant,
    acknowledged: Instant,
}

/// How long watchers took to hear.
#[derive(Debug, Default)]
pub struct Watched {
    /// From the acknowledgement; what was heard before it came counts as at once.
    pub heard: Tally,
    /// From the call, so that an acknowledgement which is late itself hides nothing.
    pub from_call: Tally,
}

/// Opens the streams, makes changes, and waits until all were heard. There must be a tenant.
pub async fn measure(channels: &[Channel], tenants: Vec<v1::Tenant>, plan: &Plan) -> Result<Watched, Error> {
    let after = revision(&channels[0], &tenants[0]).await?;
    let (tell, hear) = mpsc::unbounded_channel();
    // Dropped at the end, and the watchers with it.
    let mut watchers = JoinSet::new();
    for stream in open(channels, plan.watchers, after).await? {
        watchers.spawn(watch(stream, tell.clone()));
    }
    let changes = write::changes(tenants);
    let client = TenantServiceClient::new(channels[0].clone());
    let change = async |number| {
        let answered = client.clone().update_tenant(write::nth(&changes, number)).await;
        let tenant = answered.map_err(|status| reason_of(&status))?.into_inner().tenant;
        Ok(tenant.unwrap_or_default().mod_revision)
    };
    Ok(follow(plan, hear, change).await)
}

/// Makes changes by the clock and holds each watcher to each of them. A change answers with its revision.
pub async fn follow(
    plan: &Plan,
    mut hear: mpsc::UnboundedReceiver<Heard>,
    change: impl AsyncFnMut(u64) -> Result<u64, String>,
) -> Watched {
    let begun = Instant::now();
    let mut watched = Watched::default();
    let made = make(change, plan, &mut watched.heard).await;
    let expected = made.len() * plan.watchers;
    let until = Instant::now() + HEAR_PATIENCE;
    let (mut heard, mut ended) = (Vec::new(), 0);
    while heard.len() < expected && ended < plan.watchers {
        match tokio::time::timeout_at(until, hear.recv()).await {
            Ok(Some(Heard::Change { revision, at })) if made.contains_key(&revision) => {
                heard.push((revision, at));
            }
            Ok(Some(Heard::Change { .. })) => {}
            Ok(Some(Heard::Ended(reason))) => {
                ended += 1;
                watched.heard.failed(&reason, 1);
            }
            Ok(None) | Err(_) => break,
        }
    }
    settle(&mut watched, begun, &made, &heard, plan.watchers);
    watched
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

/// Makes one change after the other; those that are measured, by their revision.
async fn make(
    mut change: impl AsyncFnMut(u64) -> Result<u64, String>,
    plan: &Plan,
    tally: &mut Tally,
) -> BTreeMap<u64, Made> {
    let begun = Instant::now();
    let mut clock = tokio::time::interval(Duration::from_secs(1) / plan.rate.get());
    let mut made = BTreeMap::new();
    for number in 0.. {
        clock.tick().await;
        let now = begun.elapsed();
        if now >= plan.warm_up + plan.measured {
            break;
        }
        let called = Instant::now();
        let answered = tokio::time::timeout(CALL_PATIENCE, change(number)).await;
        let acknowledged = Instant::now();
        match answered.unwrap_or_else(|_| Err(NO_ANSWER.to_owned())) {
            Ok(revision) if now >= plan.warm_up => {
                let times = Made { called, acknowledged };
                made.insert(revision, times);
            }
            Ok(_) => {}
            Err(reason) => tally.failed(&reason, 1),
        }
    }
    made
}

/// Puts what was heard beside what was made.
fn settle(
    watched: &mut Watched,
    begun: Instant,
    made: &BTreeMap<u64, Made>,
    heard: &[(u64, Instant)],
    watchers: usize,
) {
    for (revision, at) in heard {
        let Some(made) = made.get(revision) else {
            continue;
        };
        let ended = at.saturating_duration_since(begun);
        let since = |from| at.saturating_duration_since(from);
        watched.heard.note(ended, since(made.acknowledged), Ok(()));
        watched.from_call.note(ended, since(made.called), Ok(()));
    }
    if let Some(first) = made.values().map(|made| made.called).min() {
        watched.heard.begin_at(first.saturating_duration_since(begun));
    }
    let missing = ((made.len() * watchers) as u64).saturating_sub(watched.heard.count());
    if missing > 0 {
        watched.heard.failed(NOT_HEARD, missing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_watcher_is_held_to_each_change() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let made = |called, acknowledged| Made {
            called: at(called),
            acknowledged: at(acknowledged),
        };
        let made = BTreeMap::from([(7, made(980, 1_000)), (9, made(1_990, 2_000))]);
        // One heard early, one late, one not at all; and somebody else's change in between.
        let heard = [(7, at(990)), (7, at(1_040)), (8, at(1_500)), (9, at(2_010))];
        let mut watched = Watched::default();
        settle(&mut watched, begun, &made, &heard, 2);
        let Watched {
            heard: tally,
            from_call,
        } = watched;
        assert_eq!((tally.count(), tally.errors()[NOT_HEARD]), (3, 1));
        assert!((39.9..40.1).contains(&tally.max_ms()), "{}", tally.max_ms());
        assert!(tally.quantile_ms(0.3) < 1.0);
        assert!((9.9..10.1).contains(&from_call.quantile_ms(0.3)), "{from_call:?}");
        assert!((59.9..60.1).contains(&from_call.max_ms()), "{from_call:?}");
    }
}
