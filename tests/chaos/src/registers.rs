//! Clients that read, write and compare the display names of a few tenants, and note what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use reeve_client::Api;
use reeve_client::v1::Tenant;
use reeve_local::{Fleet, hand, tenants, until};
use tokio::task::JoinSet;

use crate::linear::Event;
use crate::linear::register::{Op, Said};
use crate::player::{Client, note, read, value};

const REGION: &str = "vn";
const ONBOARD_PATIENCE: Duration = Duration::from_secs(60);
/// For the reads that a history begins and ends with.
const PATIENCE: Duration = Duration::from_secs(60);
/// How old a glance may be before it must be flagged.
pub const GLANCE_MAX: Duration = Duration::from_millis(500);

/// Who is no client.
pub const NOBODY: usize = usize::MAX;

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
            let tenant = insist(fleet, id).await?.1;
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

    /// How many answers were heard so far.
    pub fn heard(&self) -> usize {
        let seen = self.seen.lock();
        seen.iter().filter(|event| event.said().is_some()).count()
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
            let (asked, tenant) = insist(fleet, id).await?;
            let asked_ns = (asked - self.began).as_nanos() as u64;
            note(
                &self.seen,
                self.began,
                NOBODY,
                id,
                Op::Read,
                asked_ns,
                Some(value(&tenant)),
            );
        }
        Ok(self.seen.lock().clone())
    }
}

/// Reads a register until somebody answers: when that was asked, and what it holds.
async fn insist(fleet: &Fleet, id: &str) -> Result<(Instant, Tenant)> {
    until("an answer of the registry", PATIENCE, async || {
        let asked = Instant::now();
        Ok(Some((asked, read(fleet.api(), id).await?)))
    })
    .await
}
