//! The link to the registry: one stream to any node, orders down, reports and heartbeats up.
//!
//! A node that falls silent, or has lost its leader for long, is left for another. Orders and reports survive
//! that: an order is sent again by the next node, and answered from the journal.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reeve_client::{AnsweredBy, Api};
use reeve_domain::TenantId;
use reeve_proto::convert;
use reeve_proto::convert::time::length;
use reeve_proto::v1::session_request::{Beat, Findings, Health, Hello, Message as Up};
use reeve_proto::v1::session_response::Message as Down;
use reeve_proto::v1::{
    HeldEpoch, MemberFacts, NotReady, SessionRequest, SessionResponse, StepKey, StepOrder, StepReport,
    TenantHealth,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, info, warn};

use crate::host::Pulse;
use crate::names::Names;
use crate::perform::Performer;
use crate::place::Place;
use crate::records::Keeper;
use crate::senses::health::{Checker, Fares};
use crate::senses::isolation::Auditor;

const BEAT: Duration = Duration::from_secs(1);
/// Without an acknowledged heartbeat for so long, the node is left.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// A node that has not heard a leader for so long is left.
const STALENESS_MAX: Duration = Duration::from_secs(6);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
const QUEUE: usize = 256;

/// The link and what hangs on it.
#[derive(Clone)]
pub struct Link {
    api: Api,
    performer: Arc<Performer>,
    names: Names,
    records: Keeper,
    auditor: Auditor,
    checker: Checker,
    boot_id: String,
    /// Reports that no node has acknowledged.
    unsaid: Arc<Mutex<BTreeMap<Key, StepReport>>>,
    /// Orders that are being carried out.
    at_work: Arc<Mutex<HashSet<(Key, u64)>>>,
    finished: Arc<tokio::sync::Notify>,
    connected: Arc<std::sync::atomic::AtomicBool>,
    pulse: Arc<Mutex<Pulse>>,
    /// The node of this session is new enough to be told how databases fare.
    takes_health: Arc<std::sync::atomic::AtomicBool>,
}

type Key = (String, u32, u32, i32);

fn key_of(key: &StepKey) -> Key {
    (key.operation_id.clone(), key.step, key.attempt, key.direction)
}

impl Link {
    /// Nothing is dialled yet.
    pub fn new(
        api: Api,
        performer: Arc<Performer>,
        names: Names,
        records: Keeper,
        auditor: Auditor,
        checker: Checker,
    ) -> Link {
        Link {
            api,
            performer,
            names,
            records,
            auditor,
            checker,
            boot_id: uuid::Uuid::new_v4().to_string(),
            unsaid: Arc::default(),
            at_work: Arc::default(),
            finished: Arc::default(),
            connected: Arc::default(),
            pulse: Arc::default(),
            takes_health: Arc::default(),
        }
    }

    /// Whether a session is open.
    pub fn is_connected(&self) -> bool {
        self.connected.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Steps at work and reports on their way.
    pub fn load(&self) -> (usize, usize) {
        (self.at_work.lock().len(), self.unsaid.lock().len())
    }

    /// The registry's records on disk, kept in this life, and not kept.
    pub fn records(&self) -> (usize, u64, u64) {
        self.records.counts()
    }

    /// Keeps a session open for ever.
    pub async fn run(self) {
        let mut pause = PAUSE_MIN;
        loop {
            let ended = self.session().await;
            let was_connected = self.connected.swap(false, std::sync::atomic::Ordering::Relaxed);
            pause = if was_connected {
                PAUSE_MIN
            } else {
                (pause * 2).min(PAUSE_MAX)
            };
            info!(why = ended, "the session has ended; dialling again");
            tokio::time::sleep(pause).await;
        }
    }

    /// One session, until it ends; says why it did.
    async fn session(&self) -> String {
        let (up, outbound) = mpsc::channel(QUEUE);
        let hello = SessionRequest {
            message: Some(Up::Hello(self.hello().await)),
        };
        if up.send(hello).await.is_err() {
            return "the queue is closed".to_owned();
        }
        let mut agents = self.api.agents();
        let dialled = agents.session(ReceiverStream::new(outbound));
        let response = match tokio::time::timeout(SILENCE_MAX, dialled).await {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => return status.message().to_owned(),
            Err(_) => return "no node answered".to_owned(),
        };
        let node = response.extensions().get::<AnsweredBy>().copied();
        let ended = self.converse(response.into_inner(), up).await;
        if let (Some(node), Ended::Silent | Ended::Stale) = (node, &ended) {
            self.api.channel().blame(node);
        }
        ended.to_string()
    }

    async fn converse(
        &self,
        mut inbound: tonic::Streaming<SessionResponse>,
        up: mpsc::Sender<SessionRequest>,
    ) -> Ended {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sequence = 0;
        let mut heard = tokio::time::Instant::now();
        loop {
            tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(SessionResponse { message: Some(down) })) => {
                        heard = tokio::time::Instant::now();
                        if let Some(ended) = self.take(down) {
                            return ended;
                        }
                    }
                    Ok(Some(_)) => debug!("a message that this version does not know"),
                    Ok(None) => return Ended::Closed("the node closed it".to_owned()),
                    Err(status) => return Ended::Closed(status.message().to_owned()),
                },
                _ = beat.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        return Ended::Silent;
                    }
                    sequence += 1;
                    let message = Some(Up::Beat(self.beat(sequence).await));
                    let said = up.try_send(SessionRequest { message }).is_ok();
                    if !said || !self.say_reports(&up) || !self.say_findings(&up) {
                        return Ended::Silent;
                    }
                },
                () = self.auditor.news() => if !self.say_findings(&up) {
                    return Ended::Silent;
                },
                () = self.checker.news() => if !self.say_health(&up) {
                    return Ended::Silent;
                },
                () = self.finished.notified() => if !self.say_reports(&up) {
                    return Ended::Silent;
                },
            }
        }
    }

    /// Sends every report that nobody has acknowledged; false when the stream does not take them.
    fn say_reports(&self, up: &mpsc::Sender<SessionRequest>) -> bool {
        let reports: Vec<StepReport> = self.unsaid.lock().values().cloned().collect();
        reports.into_iter().all(|report| {
            let message = Some(Up::Report(report));
            up.try_send(SessionRequest { message }).is_ok()
        })
    }

    /// Sends what the oldest round found that is not acknowledged; false when the stream does not take it.
    fn say_findings(&self, up: &mpsc::Sender<SessionRequest>) -> bool {
        let Some(round) = self.auditor.untold() else {
            return true;
        };
        let message = Some(Up::Findings(Findings {
            round: round.number,
            found: round.found.iter().map(convert::found).collect(),
            scope: Some(convert::scope(&round.scope)),
        }));
        up.try_send(SessionRequest { message }).is_ok()
    }

    /// Sends how the databases fare, a part of them in each message; false when the stream does not take it.
    fn say_health(&self, up: &mpsc::Sender<SessionRequest>) -> bool {
        if !self.takes_health.load(std::sync::atomic::Ordering::Relaxed) {
            return true;
        }
        let board = self.checker.board();
        let looked = self.auditor.looked();
        let told = board.iter().map(|(id, fares)| told(id, fares, looked.get(id)));
        let tenants: Vec<TenantHealth> = told.collect();
        tenants.chunks(convert::TENANTS_MAX).all(|part| {
            let message = Some(Up::Health(Health {
                tenants: part.to_vec(),
            }));
            up.try_send(SessionRequest { message }).is_ok()
        })
    }

    fn take(&self, message: Down) -> Option<Ended> {
        match message {
            Down::Welcome(welcome) => {
                info!(
                    group = welcome.group,
                    region = welcome.region,
                    epoch = welcome.epoch,
                    "session open"
                );
                self.connected.store(true, std::sync::atomic::Ordering::Relaxed);
                self.takes_health
                    .store(welcome.takes_health, std::sync::atomic::Ordering::Relaxed);
                self.finished.notify_one();
            }
            Down::BeatAck(ack) => {
                let staleness = ack.freshness.and_then(|f| f.staleness).as_ref().and_then(length);
                if staleness.is_some_and(|age| age > STALENESS_MAX) {
                    return Some(Ended::Stale);
                }
            }
            Down::Order(order) => self.begin(order),
            Down::Records(batch) => self.records.take(batch.records),
            Down::FindingsAck(ack) => {
                if !ack.refused.is_empty() {
                    warn!(why = ack.refused, "the registry turned a round of the audit away");
                }
                self.auditor.acknowledged(ack.round, ack.refused.is_empty());
            }
            Down::ReportAck(ack) => {
                if !ack.refused.is_empty() {
                    warn!(why = ack.refused, "the registry turned a report away");
                }
                if let Some(key) = &ack.key {
                    self.unsaid.lock().remove(&key_of(key));
                }
            }
        }
        None
    }

    /// Carries an order out beside the stream; one that is at work already is left alone.
    fn begin(&self, order: StepOrder) {
        let Some(key) = order.key.as_ref().map(key_of) else {
            return;
        };
        let at_work = (key.clone(), order.epoch);
        if !self.at_work.lock().insert(at_work.clone()) {
            return;
        }
        let link = self.clone();
        tokio::spawn(async move {
            match link.performer.perform(&order).await {
                Ok(report) => {
                    link.unsaid.lock().insert(key.clone(), report);
                }
                Err(error) => warn!(%error, step = order.name, "an order was not carried out"),
            }
            link.at_work.lock().remove(&at_work);
            link.finished.notify_one();
        });
    }

    async fn facts(&self) -> (MemberFacts, u32) {
        let health = self.performer.host.health().await;
        let facts = MemberFacts {
            endpoints: self.names.verifiable().iter().map(Place::endpoint).collect(),
            postgres_version: health.version,
            postgres_up: self.pulse.lock().feel(health.look),
            system_identifier: health.system_identifier,
        };
        (facts, health.connections)
    }

    async fn hello(&self) -> Hello {
        let held = self.performer.fence.held().into_iter();
        Hello {
            boot_id: self.boot_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            held_epochs: held.map(|(group, epoch)| HeldEpoch { group, epoch }).collect(),
            facts: Some(self.facts().await.0),
            held_records: self.records.begin(),
        }
    }

    async fn beat(&self, sequence: u64) -> Beat {
        let (facts, connections) = self.facts().await;
        Beat {
            sequence,
            facts: Some(facts),
            lag_bytes: 0,
            connections,
            open_steps: self.load().0 as u32,
            last_audit: self
                .auditor
                .last()
                .map(|(last, _)| convert::time::duration(last.ended.elapsed())),
        }
    }
}

/// How a database fares, and when the audit last looked into it, as the wire writes it.
fn told(id: &TenantId, fares: &Fares, looked: Option<&Instant>) -> TenantHealth {
    let (schema_version, not_ready) = match &fares.verdict {
        Some(Ok(version)) => (*version, None),
        Some(Err((cause, detail))) => {
            let not_ready = NotReady {
                cause: convert::cause(*cause) as i32,
                detail: detail.clone(),
                since: None,
            };
            (None, Some(not_ready))
        }
        None => (None, None),
    };
    // While it is not sure what a try came to, none is told of.
    TenantHealth {
        tenant_id: id.to_string(),
        tried: fares.proved().map(|at| convert::time::duration(at.elapsed())),
        not_ready,
        schema_version,
        vitals: Some(convert::vitals(&fares.vitals)),
        audited: looked.map(|at| convert::time::duration(at.elapsed())),
    }
}

/// Why a session ended.
enum Ended {
    Silent,
    Stale,
    Closed(String),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Silent => f.write_str("the node fell silent"),
            Ended::Stale => f.write_str("the node has lost its leader"),
            Ended::Closed(why) => f.write_str(why),
        }
    }
}
