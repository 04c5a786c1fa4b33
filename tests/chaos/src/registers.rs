//! Clients that read, write and compare the display names of a few tenants, and note what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reeve_client::v1::read_level::{Level, Linearizable};
use reeve_client::v1::{GetTenantRequest, GetTenantResponse, ReadLevel, Tenant, UpdateTenantRequest};
use reeve_client::{Api, Error};
use reeve_local::{Fleet, hand, tenants};
use tokio::task::JoinSet;
use tonic::Request;

use crate::linear::register::{Op, Said};
use crate::linear::{Answer, Event};

const REGION: &str = "vn";
/// A call that takes longer has an unknown end.
const PATIENCE: Duration = Duration::from_secs(2);
const ONBOARD_PATIENCE: Duration = Duration::from_secs(60);
/// How old a glance may be before it must be flagged.
pub const GLANCE_MAX: Duration = Duration::from_millis(500);
/// Between two operations of one client, so that a history of minutes can still be judged.
const PAUSE_MS: std::ops::Range<u64> = 1..20;

/// Who is no client.
const NOBODY: usize = usize::MAX;

pub type Seen = Event<Op, Said>;

/// An answer from one node's own memory, and how old it says it may be.
#[derive(Clone, Debug)]
pub struct Glance {
    pub node: u64,
    pub asked_ns: u64,
    /// None: the node does not know.
    pub age_ns: Option<u64>,
    /// The last change in it.
    pub revision: u64,
    /// It says itself that it is older than was asked for.
    pub is_flagged: bool,
}

/// The registers, and everything that was seen of them.
pub struct Registers {
    ids: Vec<String>,
    seen: Arc<Mutex<Vec<Seen>>>,
    glances: Arc<Mutex<Vec<Glance>>>,
    doors: Arc<Mutex<Vec<Api>>>,
    began: Instant,
    _hands: JoinSet<()>,
}

impl Registers {
    /// Tenants without a PostgreSQL.
    pub async fn make(fleet: &Fleet, count: usize) -> Result<Registers> {
        let hands = hand::region(fleet, REGION, 1).await?;
        let mut ids = Vec::new();
        for number in 0..count {
            let slug = format!("register-{number}");
            let order = tenants::order(&slug, &format!("{slug}.example"), REGION, "ehr");
            let made = tenants::create(fleet.api(), order).await?;
            tenants::ended(fleet.api(), &made.id, ONBOARD_PATIENCE).await?;
            ids.push(made.tenant_id);
        }
        Ok(Registers {
            ids,
            seen: Arc::default(),
            glances: Arc::default(),
            doors: Arc::default(),
            began: Instant::now(),
            _hands: hands,
        })
    }

    /// Begins a history of its own: what is there now counts as written by somebody.
    pub async fn begin(&mut self, fleet: &Fleet) -> Result<()> {
        (self.seen, self.glances, self.began) = (Arc::default(), Arc::default(), Instant::now());
        self.meet(fleet);
        for id in &self.ids {
            let tenant = read(fleet.api(), id).await?;
            let said = Some(Said::Done {
                revision: tenant.mod_revision,
            });
            note(
                &self.seen,
                self.began,
                NOBODY,
                id,
                Op::Write(tenant.display_name),
                0,
                said,
            );
        }
        Ok(())
    }

    /// On the history's own clock.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// From here on the clients ask the nodes that are there now.
    pub fn meet(&self, fleet: &Fleet) {
        *self.doors.lock() = fleet.nodes().iter().map(|node| node.api()).collect();
    }

    /// What was read from the nodes' own memories so far.
    pub fn glances(&self) -> Vec<Glance> {
        self.glances.lock().clone()
    }

    /// Lets clients loose, each asking one node at a time, until the flag is up.
    pub fn play(&self, clients: usize, seed: u64, stop: &Arc<AtomicBool>) -> JoinSet<()> {
        let mut players = JoinSet::new();
        for number in 0..clients {
            let mut client = Client {
                number,
                doors: self.doors.clone(),
                glances: self.glances.clone(),
                ids: self.ids.clone(),
                seen: self.seen.clone(),
                began: self.began,
                chance: StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number as u64)),
                known: vec![String::new(); self.ids.len()],
            };
            let stop = stop.clone();
            players.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    client.one().await;
                }
            });
        }
        players
    }

    /// Reads each register once more, and gives everything that was seen.
    pub async fn end(&self, fleet: &Fleet) -> Result<Vec<Seen>> {
        for id in &self.ids {
            let asked_ns = now(self.began);
            let tenant = read(fleet.api(), id).await.map_err(anyhow::Error::new)?;
            note(
                &self.seen,
                self.began,
                usize::MAX,
                id,
                Op::Read,
                asked_ns,
                Some(value(&tenant)),
            );
        }
        Ok(self.seen.lock().clone())
    }
}

struct Client {
    number: usize,
    doors: Arc<Mutex<Vec<Api>>>,
    glances: Arc<Mutex<Vec<Glance>>>,
    ids: Vec<String>,
    seen: Arc<Mutex<Vec<Seen>>>,
    began: Instant,
    chance: StdRng,
    /// The last etag that this client saw of each register.
    known: Vec<String>,
}

impl Client {
    async fn one(&mut self) {
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

fn now(began: Instant) -> u64 {
    began.elapsed().as_nanos() as u64
}

fn note(
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

async fn read(api: &Api, id: &str) -> Result<Tenant, tonic::Status> {
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

fn value(tenant: &Tenant) -> Said {
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
