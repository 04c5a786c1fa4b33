//! A fleet without a registry, for the tests of services.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use reeve_domain::{Epoch, PlacementNumber, Revision, TenantId};
use reeve_proto::v1::tenant::State;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tonic::Status;

use crate::{
    Error, Fleet, Host, Resolution, Selector,
    resolution::{Home, Words},
};

/// How long a pool that leads nowhere lets its callers wait.
const PATIENCE: Duration = Duration::from_millis(100);

/// A fleet whose tenants a test makes up. What stands on a [`Fleet`] cannot tell it from a real one: layer, extractor and
/// handlers are tested as they are.
///
/// ```
/// use reeve_client::{Failure, FleetMock, Selector};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mock = FleetMock::new();
/// let cho_ray = Selector::domain("cho-ray.example")?;
/// let tenant = mock.tenant("cho-ray", [cho_ray.clone()]);
///
/// let fleet = mock.fleet();
/// assert_eq!(fleet.resolve(&cho_ray).await?.tenant, tenant);
///
/// mock.fail(&cho_ray, Failure::Suspended);
/// assert!(fleet.resolve(&cho_ray).await.is_err());
/// # Ok(())
/// # }
/// ```
/// A tenant's pools lead nowhere until [`database`](FleetMock::database) names a PostgreSQL: a query fails then, soon.
#[derive(Clone)]
pub struct FleetMock {
    script: Arc<Script>,
    fleet: Fleet,
}

/// How resolving fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No registry node answers.
    Unavailable,
    /// The registry asks to come back later.
    Busy,
    /// The tenant is there and must not be used.
    Suspended,
    /// This service may not ask.
    Denied,
}

/// What the mock answers by.
#[derive(Default)]
pub(crate) struct Script {
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    tenants: HashMap<Selector, Arc<Resolution>>,
    failures: HashMap<Selector, Failure>,
    databases: HashMap<TenantId, PgConnectOptions>,
    pools: HashMap<TenantId, PgPool>,
}

impl FleetMock {
    /// A fleet without tenants.
    pub fn new() -> FleetMock {
        let script = Arc::new(Script::default());
        let fleet = Fleet::played(script.clone());
        FleetMock { script, fleet }
    }

    /// The fleet to build layers and services on.
    pub fn fleet(&self) -> Fleet {
        self.fleet.clone()
    }

    /// A tenant that is active, under these names; one of the same slug is replaced.
    pub fn tenant(&self, slug: &str, names: impl IntoIterator<Item = Selector>) -> TenantId {
        let names: Vec<Selector> = names.into_iter().collect();
        let mut told = self.script.told.lock();
        let known = told.tenants.values().find(|known| known.slug() == slug);
        let tenant = known.map_or_else(
            || TenantId::from_random(rand::random()),
            |known| known.tenant.clone(),
        );
        told.tenants.retain(|_, known| known.tenant != tenant);
        let resolution = Arc::new(resolution(&tenant, slug, &names));
        told.tenants
            .extend(names.into_iter().map(|name| (name, resolution.clone())));
        tenant
    }

    /// From now on the tenant's pools, for reading and for writing, lead to this PostgreSQL.
    pub fn database(&self, tenant: &TenantId, options: PgConnectOptions) {
        let mut told = self.script.told.lock();
        told.pools.remove(tenant);
        told.databases.insert(tenant.clone(), options);
    }

    /// From now on this name fails to resolve.
    pub fn fail(&self, name: &Selector, failure: Failure) {
        self.script.told.lock().failures.insert(name.clone(), failure);
    }

    /// From now on it resolves again.
    pub fn mend(&self, name: &Selector) {
        self.script.told.lock().failures.remove(name);
    }
}

impl Default for FleetMock {
    fn default() -> FleetMock {
        FleetMock::new()
    }
}

impl Script {
    pub(crate) fn resolve(&self, name: &Selector) -> Result<Arc<Resolution>, Error> {
        let told = self.told.lock();
        if let Some(failure) = told.failures.get(name) {
            return Err(failure.error(name));
        }
        let found = told.tenants.get(name).cloned();
        found.ok_or_else(|| Error::Unknown(name.to_string()))
    }

    /// One pool for each tenant, as long as its database is the same.
    pub(crate) fn pool(&self, tenant: &TenantId) -> PgPool {
        let mut told = self.told.lock();
        if let Some(pool) = told.pools.get(tenant) {
            return pool.clone();
        }
        let pool = match told.databases.get(tenant) {
            Some(options) => PgPoolOptions::new().connect_lazy_with(options.clone()),
            None => PgPoolOptions::new()
                .acquire_timeout(PATIENCE)
                .connect_lazy_with(PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(1)),
        };
        told.pools.insert(tenant.clone(), pool.clone());
        pool
    }

    pub(crate) async fn close(&self) {
        let pools = std::mem::take(&mut self.told.lock().pools);
        futures::future::join_all(pools.values().map(PgPool::close)).await;
    }
}

impl Failure {
    fn error(self, name: &Selector) -> Error {
        match self {
            Failure::Unavailable => Status::unavailable("no node answers").into(),
            Failure::Busy => Status::resource_exhausted("come back later").into(),
            Failure::Denied => Status::permission_denied("not for this service").into(),
            Failure::Suspended => Error::NotServing {
                tenant: name.to_string(),
                state: "suspended".to_owned(),
            },
        }
    }
}

fn resolution(tenant: &TenantId, slug: &str, names: &[Selector]) -> Resolution {
    let database = tenant.to_string();
    let words = Words::new(slug, &format!("{tenant}_a"), &database, names.iter().cloned());
    Resolution {
        tenant: tenant.clone(),
        state: State::Active,
        placement: PlacementNumber(1),
        epoch: Epoch(1),
        credential_version: 1,
        schema_version: 1,
        changed: Revision(1),
        not_ready: None,
        home: Arc::new(Home {
            region: "mock".to_owned(),
            group: "mock".to_owned(),
            write: Some(Host {
                host: "127.0.0.1".to_owned(),
                port: 1,
            }),
            read: Vec::new(),
            server_ca_pem: String::new(),
        }),
        words: words.expect("a slug has no 65 536 letters"),
    }
}
