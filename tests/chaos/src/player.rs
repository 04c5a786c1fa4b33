//! One client of the registers: what it asks is left to chance, and what it is told is noted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use reeve_client::v1::read_level::{Level, Linearizable};
use reeve_client::v1::{GetTenantRequest, GetTenantResponse, ReadLevel, Tenant, UpdateTenantRequest};
use reeve_client::{Api, Error};
use tonic::Request;

use crate::linear::register::{Op, Said};
use crate::linear::{Answer, Event};
use crate::registers::{GLANCE_MAX, Glance, Seen};

/// A call that takes longer has an unknown end.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two operations of one client, so that a history of minutes can still be judged.
const PAUSE_MS: std::ops::Range<u64> = 1..20;

pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) doors: Arc<Mutex<Vec<Api>>>,
    pub(crate) glances: Arc<Mutex<Vec<Glance>>>,
    pub(crate) ids: Vec<String>,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) began: Instant,
    pub(crate) chance: StdRng,
    /// The last etag that this client saw of each register.
    pub(crate) known: Vec<String>,
}

impl Client {
    /// One operation, whichever chance says.
    pub(crate) async fn one(&mut self) {
        let pause = self.chance.random_range(PAUSE_MS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let at = self.chance.random_range(0..self.ids.len());
        let api = self.door();
        let asked_ns = now(self.began);
        let new = format!("{}-{asked_ns}", self.number);
        match self.chance.random_range(0..12) {
            10.. => self.glance(&api, at, asked_ns).await,
            0..5 => self.look(&api, at, asked_ns).await,
            5..8 => self.change(&api, at, asked_ns, new, None).await,
            _ => {
                let etag = Some(self.known[at].clone()).filter(|etag| !etag.is_empty());
                self.change(&api, at, asked_ns, new, etag).await;
            }
        }
    }

    fn door(&mut self) -> Api {
        let doors = self.doors.lock();
        doors[self.chance.random_range(0..doors.len())].clone()
    }

    /// Reads what a node has in its memory, and how old that is at most.
    async fn glance(&mut self, api: &Api, at: usize, asked_ns: u64) {
        let level = Level::Bounded(GLANCE_MAX.try_into().unwrap_or_default());
        let Ok(answer) = ask(api, &self.ids[at], level).await else {
            return;
        };
        let Some(freshness) = answer.freshness else { return };
        let age = freshness.staleness.and_then(|age| Duration::try_from(age).ok());
        self.glances.lock().push(Glance {
            node: freshness.node_id,
            asked_ns,
            age_ns: age.map(|age| age.as_nanos() as u64),
            revision: freshness.revision,
            is_flagged: freshness.stale,
        });
    }

    async fn look(&mut self, api: &Api, at: usize, asked_ns: u64) {
        // A read that brought nothing says nothing.
        if let Ok(tenant) = read(api, &self.ids[at]).await {
            self.known[at] = tenant.etag.clone();
            let said = Some(value(&tenant));
            note(
                &self.seen,
                self.began,
                self.number,
                &self.ids[at],
                Op::Read,
                asked_ns,
                said,
            );
        }
    }

    async fn change(&mut self, api: &Api, at: usize, asked_ns: u64, new: String, etag: Option<String>) {
        let op = match &etag {
            Some(etag) => Op::CompareAndSet {
                changed: revision(etag),
                value: new.clone(),
            },
            None => Op::Write(new.clone()),
        };
        let mut request = Request::new(UpdateTenantRequest {
            request_id: reeve_client::request_id(),
            tenant: Some(Tenant {
                id: self.ids[at].clone(),
                display_name: new,
                etag: etag.unwrap_or_default(),
                ..Default::default()
            }),
            update_mask: vec!["display_name".to_owned()],
        });
        request.set_timeout(PATIENCE);
        let answer = api.tenants().update_tenant(request).await;
        let said = match answer.map_err(Error::from) {
            Ok(answer) => {
                let changed = answer.into_inner();
                self.known[at] = changed.tenant.unwrap_or_default().etag;
                Some(Said::Done {
                    revision: changed.revision,
                })
            }
            Err(Error::Conflict(_)) => Some(Said::Stale),
            Err(_) => None,
        };
        note(
            &self.seen,
            self.began,
            self.number,
            &self.ids[at],
            op,
            asked_ns,
            said,
        );
    }
}

pub(crate) fn now(began: Instant) -> u64 {
    began.elapsed().as_nanos() as u64
}

pub(crate) fn note(
    seen: &Mutex<Vec<Seen>>,
    began: Instant,
    client: usize,
    key: &str,
    op: Op,
    asked_ns: u64,
    said: Option<Said>,
) {
    let answer = match said {
        Some(said) => Answer::Known {
            said,
            at_ns: now(began),
        },
        None => Answer::Unknown,
    };
    seen.lock().push(Event {
        client,
        key: key.to_owned(),
        op,
        asked_ns,
        answer,
    });
}

pub(crate) async fn read(api: &Api, id: &str) -> Result<Tenant, tonic::Status> {
    let answer = ask(api, id, Level::Linearizable(Linearizable {})).await?;
    answer
        .tenant
        .ok_or_else(|| tonic::Status::internal("no tenant came"))
}

async fn ask(api: &Api, id: &str, level: Level) -> Result<GetTenantResponse, tonic::Status> {
    let mut request = Request::new(GetTenantRequest {
        tenant: id.to_owned(),
        read: Some(ReadLevel { level: Some(level) }),
    });
    request.set_timeout(PATIENCE);
    Ok(api.tenants().get_tenant(request).await?.into_inner())
}

pub(crate) fn value(tenant: &Tenant) -> Said {
    Said::Value {
        value: tenant.display_name.clone(),
        changed: tenant.mod_revision,
    }
}

/// An etag ends with the revision of the last change.
fn revision(etag: &str) -> u64 {
    let digits = etag.rsplit_once('.').map_or(etag, |(_, digits)| digits);
    digits.parse().unwrap_or_default()
}
