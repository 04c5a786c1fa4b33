//! Keeps the cache true: one stream of changes, resumed over any node.
//!
//! ```text
//! list (INITIAL*, INITIAL_DONE) ─► follow (DELTA | BOOKMARK) ─┬─ silent, broken, LAGGED ─► resume after the last revision
//!                                                             └─ COMPACTED ─► list again, some time later
//! ```
//! A node that comes back loses its watchers and their place in its history all at once. So whoever can resume does so
//! first, and whoever must list again waits for a while of its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reeve_domain::TenantId;
use reeve_proto::{
    identity::connector::MESSAGE_BYTES_MAX,
    v1::{
        Freshness, WatchRequest, WatchResponse, resolver_service_client::ResolverServiceClient,
        watch_response::Event,
    },
};
use tokio::sync::watch::Sender;
use tonic::Code;
use tracing::{debug, warn};

use crate::{
    Error, Resolution,
    cache::Cache,
    channel::{AnsweredBy, Failover},
    counts::Counts,
};

const BOOKMARK_EVERY: Duration = Duration::from_secs(1);
/// A stream that says nothing for so long is given up; bookmarks come three times as often.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Those who must list again spread over this. Meanwhile what is remembered holds for its lease.
const RELIST_SPREAD: Duration = Duration::from_secs(2);

/// What the watch works for.
pub(crate) struct Watch {
    pub(crate) channel: Failover,
    pub(crate) cache: Arc<Cache>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) network: String,
    /// Turns true once, when the first listing is whole.
    pub(crate) ready: Sender<bool>,
    /// Hears every change of a placement, so that pools to a former place are closed.
    pub(crate) on_change: Box<dyn Fn(&Resolution) + Send + Sync>,
}

/// Why a stream ended.
pub(crate) enum Ended {
    /// Go on at once, from where the cache stands.
    Resume,
    /// Go on after a pause.
    Pause(Error),
}

impl Watch {
    /// Watches until the task is dropped.
    pub(crate) async fn run(self) {
        let mut pause = PAUSE_MIN;
        loop {
            let begun = Instant::now();
            let ended = self.follow().await;
            self.counts.watches(false);
            if let Ended::Pause(error) = &ended {
                debug!(%error, "the watch broke off and will resume");
            }
            // A stream that lived for a while is forgiven; the pause keeps even a LAGGED loop civil.
            pause = if begun.elapsed() > PAUSE_MAX {
                PAUSE_MIN
            } else {
                (pause * 2).min(PAUSE_MAX)
            };
            let lists_again = *self.ready.borrow() && self.cache.watched() == 0;
            tokio::time::sleep(away(&ended, lists_again, pause, rand::random())).await;
        }
    }

    async fn follow(&self) -> Ended {
        let after_revision = self.cache.watched();
        let mut client =
            ResolverServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = WatchRequest {
            after_revision,
            network: self.network.clone(),
            bookmark_interval: prost_types::Duration::try_from(BOOKMARK_EVERY).ok(),
        };
        let response = match client.watch(request).await {
            Ok(response) => response,
            Err(status) => return Ended::Pause(status.into()),
        };
        self.counts.watches(true);
        let node = response.extensions().get::<AnsweredBy>().copied();
        if after_revision == 0 {
            self.cache.listing_begins();
        }
        let mut stream = response.into_inner();
        loop {
            let message = match tokio::time::timeout(SILENCE_MAX, stream.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return Ended::Resume,
                Ok(Err(status)) => {
                    if let (Some(node), Code::Unavailable) = (node, status.code()) {
                        // It said that it cannot: another one may.
                        self.channel.blame(node);
                    }
                    return Ended::Pause(status.into());
                }
                Err(_) => {
                    if let Some(node) = node {
                        warn!(node = self.channel.addr(node), "the watch fell silent");
                        self.channel.blame(node);
                    }
                    return Ended::Resume;
                }
            };
            if let Some(ended) = self.take(message, Instant::now()) {
                return ended;
            }
        }
    }

    /// Carries one message into the cache; Some ends the stream.
    pub(crate) fn take(&self, message: WatchResponse, now: Instant) -> Option<Ended> {
        match message.event? {
            Event::Initial(resolution) => match self.cache.read(resolution) {
                Ok(resolution) => {
                    self.cache.listed(resolution.clone(), now);
                    (self.on_change)(&resolution);
                }
                Err(error) => warn!(%error, "a listed tenant cannot be read"),
            },
            Event::InitialDone(done) => {
                self.cache.listing_ends(done.revision, now);
                self.ready.send_replace(true);
            }
            Event::Delta(delta) => {
                let changed = delta.changed.into_iter().map(|one| self.cache.read(one));
                let changed: Result<Vec<_>, Error> = changed.collect();
                let removed = delta.removed_tenant_ids.iter().map(|id| TenantId::parse(id));
                let removed: Result<Vec<_>, _> = removed.collect();
                let (Ok(changed), Ok(removed)) = (changed, removed) else {
                    // What cannot be read cannot be followed: everything is asked for anew.
                    self.cache.listing_begins();
                    return Some(Ended::Pause(Error::Answer(format!("change {}", delta.revision))));
                };
                self.cache.changed(delta.revision, &changed, &removed, now);
                changed.iter().for_each(|resolution| (self.on_change)(resolution));
            }
            Event::Bookmark(bookmark) => {
                if let Some((revision, as_of)) = bookmark.freshness.and_then(|f| vouched(&f, now)) {
                    self.cache.heard(revision, as_of);
                }
            }
            Event::Lagged(_) => return Some(Ended::Resume),
            Event::Compacted(_) => {
                self.cache.listing_begins();
                return Some(Ended::Resume);
            }
        }
        None
    }
}

/// How long to stay away, by full jitter: those who were cut off together do not come back together.
fn away(ended: &Ended, lists_again: bool, backoff: Duration, chance: f64) -> Duration {
    let asked = match ended {
        Ended::Pause(Error::Busy { pause, .. }) => *pause,
        Ended::Pause(_) | Ended::Resume => Duration::ZERO,
    };
    let most = match lists_again {
        true => backoff.max(RELIST_SPREAD),
        false => backoff,
    };
    asked + most.mul_f64(chance)
}

/// Up to when a node's word reaches: its own clock minus how far behind it may be. None: it does not know.
pub(crate) fn vouched(freshness: &Freshness, now: Instant) -> Option<(u64, Instant)> {
    let staleness = Duration::try_from(freshness.staleness?).ok()?;
    Some((freshness.revision, now.checked_sub(staleness)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_proto::error::{self, Reason};

    #[test]
    fn those_who_must_list_again_are_spread_out_and_the_others_resume_soon() {
        let soon = |chance| away(&Ended::Resume, false, PAUSE_MIN, chance);
        let late = |chance| away(&Ended::Resume, true, PAUSE_MIN, chance);
        assert_eq!((soon(0.0), late(0.0)), (Duration::ZERO, Duration::ZERO));
        assert_eq!((soon(1.0), late(1.0)), (PAUSE_MIN, RELIST_SPREAD));
        assert_eq!(late(0.25), RELIST_SPREAD / 4);
        assert_eq!(
            away(&Ended::Resume, true, PAUSE_MAX, 1.0),
            PAUSE_MAX,
            "a longer backoff stays as long"
        );
    }

    #[test]
    fn a_node_that_says_when_to_come_back_is_obeyed() {
        let asked = Duration::from_secs(2);
        let busy = Ended::Pause(error::retry(Reason::RateLimited, "full", asked).into());
        assert_eq!(away(&busy, false, PAUSE_MIN, 0.0), asked);
        assert_eq!(away(&busy, false, PAUSE_MIN, 1.0), asked + PAUSE_MIN);
    }
}
