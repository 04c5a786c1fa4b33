//! Tells a webhook of each alert that is raised or resolved: the leader's alone, in the order in which it happened.
//!
//! ```text
//! leadership confirmed ─► State (what was not told) ─► a POST for each ─► 2xx? ─► NoteTold ─► State
//!                                                                           └─ no: the same again, later
//! ```
//! At least once: a leader that dies in between leaves its successor to say it again. Deliberately absent: a choice of
//! whom to tell, silences, schedules. Whoever is told has them.

mod payload;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use object_store::client::HttpClient;
use reeve_domain::alert::{self, Alert, NoteTold};
use reeve_domain::ids::AlertId;
use reeve_domain::{Command, Revision, State, version};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;
use zeroize::Zeroizing;

use crate::config::Alerts;
use crate::wire::{Wire, WireError};
use crate::{Rooms, policy};

/// Between two looks at what is to be told.
const EVERY: Duration = Duration::from_secs(1);
/// After failures the pauses double, up to this.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The longest token.
const TOKEN_BYTES_MAX: u64 = 8 << 10;
/// A proposal that takes longer is made anew.
const PATIENCE: Duration = Duration::from_secs(5);

/// Refused so often in a row for what it says, a message will never be taken, and those behind it wait no longer.
const REFUSALS_MAX: u32 = 10;

/// Why the webhook was not told.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("alerts.token_file: {0}")]
    Token(io::Error),
    #[error("alerts.token_file holds what no header can: a token is one line of visible ASCII")]
    OddToken,
    #[error("alerts.{0}")]
    Settings(String),
    #[error("{0}")]
    Wire(String),
    #[error("it answers {0}")]
    Refused(StatusCode),
    #[error("it took longer than {} s", .0.as_secs())]
    Late(Duration),
    #[error("leadership is not confirmed: {0}")]
    NoLeader(String),
    #[error("that it was told was not written down: {0}")]
    Unsaid(String),
}

/// Runs until told to stop; without a webhook, not at all.
pub async fn run(rooms: Rooms, settings: Alerts, stop: CancellationToken) {
    if settings.webhook.is_empty() {
        return;
    }
    let mut failed = 0;
    let mut unwanted = Unwanted::default();
    loop {
        let round = round(&rooms, &settings, &mut unwanted);
        let Some(done) = stop.run_until_cancelled(round).await else {
            return;
        };
        match done {
            Ok(0) => failed = 0,
            Ok(told) => {
                failed = 0;
                rooms.metrics.alert_delivery("ok");
                info!(told, "the webhook knows of alerts");
            }
            Err(failure) => {
                failed += 1;
                rooms.metrics.alert_delivery("failed");
                warn!(%failure, "the webhook was not told of alerts; it will be told later");
            }
        }
        if stop.run_until_cancelled(sleep(pause(failed))).await.is_none() {
            return;
        }
    }
}

/// Until the next look, after so many failures without a success.
fn pause(failed: u32) -> Duration {
    let doubled = 1u32.checked_shl(failed).unwrap_or(u32::MAX);
    EVERY.saturating_mul(doubled.max(1)).min(PAUSE_MAX)
}

/// Tells what turned next; how many.
async fn round(rooms: &Rooms, settings: &Alerts, unwanted: &mut Unwanted) -> Result<usize, Failure> {
    let published = rooms.consensus.published();
    let is_ours = rooms.consensus.is_leader() && published.state.cluster.version >= version::TURNS;
    if !is_ours || alert::untold(&published.state).is_empty() {
        return Ok(0);
    }
    let permit = policy::for_pilot(&rooms.consensus).await;
    let permit = permit.map_err(|error| Failure::NoLeader(error.to_string()))?;
    // Read behind the confirmation: all that an earlier leader has told is in it.
    let published = rooms.consensus.published();
    let state = &published.state;
    let Some((through, next)) = next(state) else {
        return Ok(0);
    };
    for alert in &next {
        if !rooms.consensus.is_leader() {
            return Err(Failure::NoLeader("another node leads".to_owned()));
        }
        if unwanted.is_settled(alert) {
            continue;
        }
        match post(settings, payload::body(state, alert, settings)).await {
            Ok(()) => unwanted.was_taken(alert),
            Err(Failure::Refused(status)) if unwanted.was_refused(alert, status) => {
                rooms.metrics.alert_delivery("left_out");
                warn!(alert = %alert.id, %status, "the webhook refuses this alert for good; the next ones are told");
            }
            Err(failure) => return Err(failure),
        }
    }
    let told = Command::NoteTold(NoteTold { through });
    let committed = policy::propose(rooms, permit, told, PATIENCE).await;
    let committed = committed.map_err(|error| Failure::Unsaid(error.to_string()))?;
    committed
        .outcome
        .map_err(|refusal| Failure::Unsaid(refusal.to_string()))?;
    Ok(next.len())
}

/// What became of messages of one turn, of which none counts as told before all are.
#[derive(Debug, Default)]
struct Unwanted {
    turned: Revision,
    taken: BTreeSet<AlertId>,
    /// How often each was refused for what it says.
    refused: BTreeMap<AlertId, u32>,
}

impl Unwanted {
    /// Whether this message need not be sent any more: it was taken, or refused often enough.
    fn is_settled(&mut self, alert: &Alert) -> bool {
        if self.turned != alert.turned {
            *self = Unwanted {
                turned: alert.turned,
                ..Unwanted::default()
            };
        }
        let refused = self.refused.get(&alert.id);
        self.taken.contains(&alert.id) || refused.is_some_and(|times| *times >= REFUSALS_MAX)
    }

    fn was_taken(&mut self, alert: &Alert) {
        self.taken.insert(alert.id.clone());
    }

    /// Once more; whether that was often enough to leave it out. What another address, token or hour may mend is not
    /// counted.
    fn was_refused(&mut self, alert: &Alert, status: StatusCode) -> bool {
        let by_what_it_says = [
            StatusCode::BAD_REQUEST,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ];
        if by_what_it_says.contains(&status) {
            *self.refused.entry(alert.id.clone()).or_default() += 1;
        }
        self.is_settled(alert)
    }
}

/// What turned first of all that was not told, and when that was. Before anything was ever told, nothing, and the moment
/// before: from then on no end of what is told is forgotten.
fn next(state: &State) -> Option<(Revision, Vec<&Alert>)> {
    let untold = alert::untold(state);
    let first = untold.first()?.turned;
    if state.alerts_told.is_none() {
        return Some((Revision(first.0.saturating_sub(1)), Vec::new()));
    }
    let together = untold.into_iter().take_while(|alert| alert.turned == first);
    Some((first, together.collect()))
}

/// Sends one message; only a 2xx says that it arrived.
async fn post(settings: &Alerts, body: Bytes) -> Result<(), Failure> {
    let patience = Duration::from_millis(settings.patience_ms);
    let wire =
        Wire::new(&settings.ca_file, patience).map_err(|why| Failure::Settings(format!("ca_file: {why}")))?;
    // As it was judged when the settings were read: with all that is written in it in the letters that HTTP has.
    let url =
        Url::parse(&settings.webhook).map_err(|error| Failure::Settings(format!("webhook: {error}")))?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(url.as_str())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("reeve/", env!("CARGO_PKG_VERSION")))
        .body(body.into())
        .map_err(|error| Failure::Settings(format!("webhook: {error}")))?;
    if let Some(authorization) = authorization(settings)? {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    let client: HttpClient = wire.client();
    // A webhook that sends a byte now and then is as stuck as one that sends none.
    let whole = patience * 2;
    let answered = timeout(whole, client.execute(request))
        .await
        .map_err(|_| Failure::Late(whole))?;
    let answer = answered.map_err(|error| Failure::Wire(why(&error)))?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(Failure::Refused(answer.status())),
    }
}

fn why(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = Some(error);
    while let Some(here) = at {
        if let Some(wire) = here.downcast_ref::<WireError>() {
            return wire.to_string();
        }
        at = here.source();
    }
    error.to_string()
}

fn authorization(settings: &Alerts) -> Result<Option<HeaderValue>, Failure> {
    if settings.token_file.as_os_str().is_empty() {
        return Ok(None);
    }
    let length = std::fs::metadata(&settings.token_file)
        .map_err(Failure::Token)?
        .len();
    if length > TOKEN_BYTES_MAX {
        return Err(Failure::OddToken);
    }
    let token = std::fs::read_to_string(&settings.token_file).map(Zeroizing::new);
    let token = token.map_err(Failure::Token)?;
    if token.trim().is_empty() {
        return Err(Failure::OddToken);
    }
    let line = Zeroizing::new(format!("Bearer {}", token.trim()));
    let mut header = HeaderValue::from_str(&line).map_err(|_| Failure::OddToken)?;
    header.set_sensitive(true);
    Ok(Some(header))
}
