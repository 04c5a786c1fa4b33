//! Connection pools, one per tenant, place and credential, within one budget for the process.
//!
//! A pool is never changed: another placement, epoch or credential is another pool, and the former one is
//! closed. One of a former credential leads to the right place still: it closes a moment later, so that nobody who has
//! just got it is turned away. A session is made as new when it comes back, so nothing of one caller reaches the next,
//! wherever that one was cancelled.

mod held;
mod reset;
mod shelf;
mod tally;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use reeve_proto::v1::GetCredentialResponse;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use sha2::{Digest, Sha256};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc::UnboundedSender};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroize;

pub(crate) use self::held::Acknowledgement;
#[cfg(feature = "stand")]
pub(crate) use self::reset::RESET;
#[cfg(feature = "metrics")]
pub(crate) use self::tally::Tally;
use self::{
    held::{Held, Lease},
    shelf::{Found, LENT, Lent, Retired, Shelf},
};
use crate::{Error, Host, Resolution, flight::Flights};

/// What the connections are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// A standby when there is one, else the primary.
    Read,
    /// The primary.
    Write,
}

/// How many pools and connections this process may hold.
#[derive(Clone, Debug)]
pub struct Limits {
    pub pools_max: usize,
    /// Over all pools together.
    pub connections_max: u32,
    pub connections_per_pool_max: u32,
    /// How long a caller waits for a free connection, and a new pool for room in the budget.
    pub patience: Duration,
    pub idle_max: Duration,
    pub lifetime_max: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            pools_max: 64,
            connections_max: 200,
            connections_per_pool_max: 8,
            patience: Duration::from_secs(5),
            idle_max: Duration::from_secs(60),
            lifetime_max: Duration::from_secs(1800),
        }
    }
}

/// Where a pool leads, whatever its age; only the newest of a place is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    tenant: String,
    database: String,
    access: Access,
}

/// Placement number, epoch, credential version.
type Rank = (u64, u64, u64);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    place: Place,
    role: String,
    host: Host,
    rank: Rank,
}

/// A pool with its share of the budget, which returns when the last connection is closed.
#[derive(Clone)]
struct Open {
    pool: PgPool,
    share: Arc<OwnedSemaphorePermit>,
    lease: Arc<Lease>,
}

impl Lent for Open {
    fn is_idle(&self) -> bool {
        // A session that is being opened or made as new counts as in use.
        self.pool.num_idle() >= self.pool.size() as usize
    }
}

/// What all pools together hold.
#[cfg(feature = "metrics")]
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) pools: usize,
    pub(crate) idle: usize,
    pub(crate) in_use: usize,
}

/// How much longer than anybody waits for a connection a pool of a former credential stays open: who has it in the hand,
/// or stands in its line, is not turned away.
const HANDOVER: Duration = Duration::from_secs(1);

/// All pools of this process.
pub(crate) struct Pools {
    limits: Limits,
    application_name: String,
    budget: Arc<Semaphore>,
    shelf: Mutex<Shelf<Open>>,
    flights: Flights<Key>,
    held: Held,
    /// Shares of pools of a former credential that are closing: their successors go on with them. For a moment both may
    /// be in use.
    legacies: Mutex<HashMap<Place, Weak<OwnedSemaphorePermit>>>,
    /// Nothing is opened any more, and nothing stays open out of courtesy.
    closing: CancellationToken,
    tally: Arc<tally::Tally>,
    /// Held by whoever looks for a pool that can go.
    making_room: tokio::sync::Mutex<()>,
}

impl Pools {
    /// Versions of credentials that nothing earlier is held of are said to `said`.
    pub(crate) fn new(
        limits: Limits,
        application_name: String,
        said: UnboundedSender<Acknowledgement>,
    ) -> Pools {
        let shelf = Mutex::new(Shelf::new(limits.pools_max));
        let budget = Arc::new(Semaphore::new(limits.connections_max as usize));
        Pools {
            limits,
            application_name,
            budget,
            shelf,
            flights: Flights::default(),
            held: Held::new(said),
            legacies: Mutex::default(),
            closing: CancellationToken::new(),
            tally: Arc::default(),
            making_room: tokio::sync::Mutex::default(),
        }
    }

    /// The pool for a resolution; `unseal` fetches the credential when a new one must be opened.
    pub(crate) async fn get<F>(
        &self,
        resolution: &Resolution,
        access: Access,
        unseal: impl FnOnce() -> F,
    ) -> Result<PgPool, Error>
    where
        F: Future<Output = Result<GetCredentialResponse, Error>>,
    {
        let key = key(resolution, access)?;
        if let Some(pool) = self.find(&key)? {
            return Ok(pool);
        }
        let asked_at = Instant::now();
        let _turn = self.flights.enter(key.clone()).await;
        if let Some(pool) = self.find(&key)? {
            return Ok(pool);
        }
        let superseded = || Error::Superseded {
            tenant: key.place.tenant.clone(),
        };
        let lease = self.held.lease(&resolution.tenant, key.rank);
        let lease = lease.ok_or_else(superseded)?;
        let options = self.options(resolution, &key, unseal().await?)?;
        let share = match self.inherited(&key) {
            Some(share) => share,
            None => Arc::new(self.share().await?),
        };
        let pool = self.lazy(options);
        let open = Open {
            pool: pool.clone(),
            share,
            lease: Arc::new(lease),
        };
        let rank = key.rank;
        let put = {
            let mut shelf = self.shelf.lock();
            let is_late =
                !open.lease.is_newest() || matches!(shelf.find(&key, Instant::now()), Found::Superseded);
            match is_late || self.closing.is_cancelled() {
                true => Err(superseded()),
                false => Ok(shelf.put(key.clone(), open, Instant::now())),
            }
        };
        // What changed while it was opened has never been lent: it goes as it came.
        self.retire(put?, rank);
        self.tally.openings.took(asked_at.elapsed());
        Ok(pool)
    }

    /// Closes the pools that lead to where the tenant no longer is.
    pub(crate) fn supersede(&self, resolution: &Resolution) {
        let rank = rank(resolution);
        let retired = self
            .shelf
            .lock()
            .take_older(&resolution.tenant.to_string(), &rank);
        self.retire(retired, rank);
        self.held.hear(&resolution.tenant, rank);
    }

    /// Closes what was taken off the shelf; of the same place as the newest, a moment later.
    fn retire(&self, retired: Vec<Retired<Open>>, newest: Rank) {
        for Retired { key, pool } in retired {
            let is_rotated = precedes(&key, newest);
            let stays = self.limits.patience + HANDOVER;
            let closing = self.closing.clone();
            if is_rotated {
                let mut legacies = self.legacies.lock();
                legacies.retain(|_, share| share.strong_count() > 0);
                legacies.insert(key.place, Arc::downgrade(&pool.share));
            }
            tokio::spawn(async move {
                if is_rotated {
                    // Either way it is closed now.
                    let _ = tokio::time::timeout(stays, closing.cancelled()).await;
                }
                shut(pool).await;
            });
        }
    }

    /// Closes everything and waits for connections in use to come back: what was held, and is no more.
    pub(crate) async fn close(&self) -> Vec<Acknowledgement> {
        self.closing.cancel();
        let all = self.shelf.lock().take_all();
        futures::future::join_all(all.into_iter().map(shut)).await;
        self.held.take_all().await
    }

    /// How many pools are kept open, and their connections.
    #[cfg(feature = "metrics")]
    pub(crate) fn sizes(&self) -> Sizes {
        let shelf = self.shelf.lock();
        shelf.all().fold(Sizes::default(), |sizes, open| {
            let all = usize::try_from(open.pool.size()).unwrap_or(usize::MAX);
            let idle = open.pool.num_idle();
            Sizes {
                pools: sizes.pools + 1,
                idle: sizes.idle + idle,
                // The two are read one after the other.
                in_use: sizes.in_use + all.saturating_sub(idle),
            }
        })
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The share of the pool that this one takes the place of, with another credential.
    fn inherited(&self, key: &Key) -> Option<Arc<OwnedSemaphorePermit>> {
        let former = self.shelf.lock().former(key).map(|open| open.share);
        former.or_else(|| self.legacies.lock().get(&key.place)?.upgrade())
    }

    fn find(&self, key: &Key) -> Result<Option<PgPool>, Error> {
        let found = self.shelf.lock().find(key, Instant::now());
        match found {
            Found::Open(Open { pool, .. }) => {
                if pool.num_idle() == 0 && pool.size() >= self.share_size() {
                    self.tally.waits_for_session();
                }
                Ok(Some(pool))
            }
            Found::Missing => Ok(None),
            Found::Superseded => Err(Error::Superseded {
                tenant: key.place.tenant.clone(),
            }),
        }
    }

    fn share_size(&self) -> u32 {
        self.limits
            .connections_per_pool_max
            .min(self.limits.connections_max)
    }

    /// Takes a pool's worth of the budget, closing other pools until it is there.
    async fn share(&self) -> Result<OwnedSemaphorePermit, Error> {
        let wanted = self.share_size();
        if let Ok(share) = self.budget.clone().try_acquire_many_owned(wanted) {
            return Ok(share);
        }
        self.tally.waits_for_room();
        // However many wait before this one: where nothing is ever idle, that alone must not use up their patience.
        let until = Instant::now() + self.limits.patience / 10;
        let taking = async {
            loop {
                if let Ok(share) = self.budget.clone().try_acquire_many_owned(wanted) {
                    return share;
                }
                if let Some(pool) = self.dispensable(wanted, until).await {
                    // On its own: what a caller gives up must not let go of what is in use.
                    drop(tokio::spawn(shut(pool)).await);
                }
            }
        };
        match tokio::time::timeout(self.limits.patience, taking).await {
            Ok(share) => Ok(share),
            Err(_) => Err(Error::Exhausted {
                connections_max: self.limits.connections_max,
            }),
        }
    }

    /// The pool that makes room for another: one that nobody needs; when there is none until then, the one that was lent
    /// longest ago. None when there is room by now. One caller at a time looks for it.
    async fn dispensable(&self, wanted: u32, until: Instant) -> Option<Open> {
        let _turn = self.making_room.lock().await;
        loop {
            if self.budget.available_permits() >= wanted as usize {
                return None;
            }
            let going = {
                let (mut shelf, now) = (self.shelf.lock(), Instant::now());
                let idle = shelf.take_idle(now);
                idle.or_else(|| (now >= until).then(|| shelf.take_oldest())?)
            };
            if let Some(retired) = going {
                return Some(retired.pool);
            }
            tokio::time::sleep(LENT / 4).await;
        }
    }

    /// A pool that dials when somebody wants a session.
    fn lazy(&self, options: PgConnectOptions) -> PgPool {
        let (opened, cleaned) = (self.tally.clone(), self.tally.clone());
        PgPoolOptions::new()
            .max_connections(self.share_size())
            .acquire_timeout(self.limits.patience)
            .idle_timeout(self.limits.idle_max)
            .max_lifetime(self.limits.lifetime_max)
            .after_connect(move |_, _| {
                opened.session_opened();
                Box::pin(async { Ok(()) })
            })
            .after_release(move |session, _| {
                let tally = cleaned.clone();
                Box::pin(async move {
                    let from = Instant::now();
                    let is_clean = reset::reset(session).await;
                    tally.resets.took(from.elapsed());
                    Ok(is_clean)
                })
            })
            .connect_lazy_with(options)
    }

    fn options(
        &self,
        resolution: &Resolution,
        key: &Key,
        mut credential: GetCredentialResponse,
    ) -> Result<PgConnectOptions, Error> {
        if credential.role != resolution.role() || credential.version != resolution.credential_version {
            return Err(Error::Superseded {
                tenant: resolution.tenant.to_string(),
            });
        }
        if !is_pinned(resolution.server_ca_pem(), &credential.server_ca_sha256) {
            return Err(Error::Answer(
                "the database servers' CA is not the one named with the credential".into(),
            ));
        }
        let options = PgConnectOptions::new_without_pgpass()
            .host(&key.host.host)
            .port(key.host.port)
            .database(resolution.database())
            .username(&credential.role)
            .password(&credential.password)
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert_from_pem(resolution.server_ca_pem().as_bytes().to_vec())
            .application_name(&self.application_name);
        credential.password.zeroize();
        Ok(options)
    }
}

fn key(resolution: &Resolution, access: Access) -> Result<Key, Error> {
    let (true, Some(primary)) = (resolution.serves(), resolution.write()) else {
        return Err(resolution.not_serving());
    };
    let host = match access {
        Access::Read => resolution.read().first().unwrap_or(primary),
        Access::Write => primary,
    };
    let place = Place {
        tenant: resolution.tenant.to_string(),
        database: resolution.database().to_owned(),
        access,
    };
    Ok(Key {
        place,
        role: resolution.role().to_owned(),
        host: host.clone(),
        rank: rank(resolution),
    })
}

/// Whether a pool leads to the same place as the newest, with an earlier credential.
fn precedes(key: &Key, newest: Rank) -> bool {
    (key.rank.0, key.rank.1) == (newest.0, newest.1) && key.rank.2 < newest.2
}

fn rank(resolution: &Resolution) -> Rank {
    let (placement, epoch, credential) = resolution.rank();
    (placement.0, epoch.0, credential)
}

/// Whether one of the PEM's certificates has this SHA-256; an empty pin means that none was given.
fn is_pinned(pem: &str, pin: &[u8]) -> bool {
    let mut certs = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok);
    pin.is_empty() || certs.any(|cert| Sha256::digest(&cert)[..] == *pin)
}

/// Lets connections in use finish, then gives the share of the budget back.
async fn shut(open: Open) {
    open.pool.close().await;
    drop((open.share, open.lease));
}
