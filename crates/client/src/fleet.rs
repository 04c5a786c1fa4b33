//! The fleet as a service sees it: resolve a tenant, get its pool.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reeve_proto::{
    identity::Credentials,
    v1::{ErrorReason, GetCredentialRequest, GetCredentialResponse, ResolveRequest},
};
use sqlx::PgPool;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tonic::Request;
use tracing::{
    Instrument, debug_span,
    field::{Empty, debug, display},
};

#[cfg(feature = "mock")]
use crate::mock::Script;
use crate::{
    Access, Api, Error, IdentityFiles, Limits, Resolution, Selector, acknowledge,
    answer::{self, serving, unanswered, unknown},
    away::{Away, Leave},
    cache::{Cache, Lookup},
    counts::{Counts, Outcome, Source},
    error,
    flight::Flights,
    identity,
    pools::Pools,
    watch::Watch,
};

/// How long a resolve may look for a node that answers.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(3);
/// Resolves that one process has under way at once.
const ASKING_MAX: usize = 64;
const CREDENTIAL_PATIENCE: Duration = Duration::from_secs(5);
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);
/// How often a tenant that has changed is resolved anew for one pool, and how long is waited in between.
const RENEWALS_MAX: u32 = 5;
const RENEWAL_PAUSE: Duration = Duration::from_millis(100);

/// A cloneable handle. The watch ends with the last clone.
#[derive(Clone)]
pub struct Fleet {
    rooms: Arc<Rooms>,
}

pub(crate) struct Rooms {
    api: Api,
    network: String,
    cache: Arc<Cache>,
    pools: Arc<Pools>,
    flights: Flights<String>,
    /// Seats for questions that are under way.
    asking: Semaphore,
    away: Away,
    ready: watch::Receiver<bool>,
    counts: Arc<Counts>,
    /// Names this process to the registry, and its sessions to PostgreSQL.
    instance: String,
    tasks: Vec<JoinHandle<()>>,
    /// Answers in the registry's stead.
    #[cfg(feature = "mock")]
    script: Option<Arc<Script>>,
    /// Of every role, without asking the registry.
    #[cfg(feature = "stand")]
    password: Option<String>,
}

impl Rooms {
    #[cfg(feature = "mock")]
    fn without_nodes(limits: Limits, ready: watch::Receiver<bool>) -> Rooms {
        let (said, _) = mpsc::unbounded_channel();
        let instance = "reeve-mock".to_owned();
        Rooms {
            api: Api::nowhere(),
            network: String::new(),
            cache: Arc::default(),
            pools: Arc::new(Pools::new(limits, instance.clone(), said)),
            flights: Flights::default(),
            asking: Semaphore::new(ASKING_MAX),
            away: Away::default(),
            ready,
            counts: Arc::default(),
            instance,
            tasks: Vec::new(),
            script: None,
            #[cfg(feature = "stand")]
            password: None,
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    pub(crate) fn network(&self) -> &str {
        &self.network
    }

    pub(crate) fn asking(&self) -> &Semaphore {
        &self.asking
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Calls for which a second node was asked, and those of them that it answered.
    #[cfg(feature = "metrics")]
    pub(crate) fn hedges(&self) -> [u64; 2] {
        self.api.channel().hedges()
    }

    #[cfg(feature = "mock")]
    pub(crate) fn script(&self) -> Option<&Script> {
        self.script.as_deref()
    }
}

impl Drop for Rooms {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Who this service is.
enum Who {
    InMemory(Credentials),
    OnDisk(IdentityFiles),
}

/// What a fleet is made of; see [`Fleet::builder`].
pub struct Builder {
    nodes: Vec<String>,
    identity: Option<Who>,
    network: String,
    limits: Limits,
    watch: bool,
}

impl Builder {
    /// Registry nodes, `host:port` of their API doors; any subset will do.
    pub fn nodes<S: Into<String>>(mut self, nodes: impl IntoIterator<Item = S>) -> Builder {
        self.nodes = nodes.into_iter().map(Into::into).collect();
        self
    }

    /// This service's certificate, key and the cluster's root, as files. At half of its life the certificate is renewed,
    /// in use and on disk; processes may share the files.
    pub fn identity(mut self, files: IdentityFiles) -> Builder {
        self.identity = Some(Who::OnDisk(files));
        self
    }

    /// The same from memory, where it is renewed; who starts again needs one that has not ended.
    pub fn credentials(mut self, credentials: Credentials) -> Builder {
        self.identity = Some(Who::InMemory(credentials));
        self
    }

    /// The network this process is in, for endpoints it can reach. Default: `default`.
    pub fn network(mut self, network: impl Into<String>) -> Builder {
        self.network = network.into();
        self
    }

    /// Bounds for pools and connections.
    pub fn limits(mut self, limits: Limits) -> Builder {
        self.limits = limits;
        self
    }

    /// Whether to keep the cache fresh by watching. On by default; short-lived programs switch it off.
    pub fn watch(mut self, watch: bool) -> Builder {
        self.watch = watch;
        self
    }

    /// Starts the fleet. Needs a tokio runtime, and no registry: the first call dials.
    pub fn build(self) -> Result<Fleet, Error> {
        let (credentials, files) = match self.identity {
            Some(Who::OnDisk(files)) => (files.credentials()?, Some(files)),
            Some(Who::InMemory(credentials)) => (credentials, None),
            None => {
                return Err(Error::Invalid {
                    what: "identity",
                    why: "none was given".to_owned(),
                });
            }
        };
        let api = Api::connect(&self.nodes, &credentials)?;
        // Opaque on purpose: every role of the instance can read it.
        let instance = format!("reeve-{:016x}", rand::random::<u64>());
        let (said, due) = mpsc::unbounded_channel();
        let (cache, pools) = (
            Arc::new(Cache::default()),
            Arc::new(Pools::new(self.limits, instance.clone(), said)),
        );
        let counts = Arc::new(Counts::default());
        let (ready, is_ready) = watch::channel(false);
        let watching = self.watch.then(|| {
            let pools = pools.clone();
            let watch = Watch {
                channel: api.channel().clone(),
                cache: cache.clone(),
                counts: counts.clone(),
                network: self.network.clone(),
                ready,
                on_change: Box::new(move |resolution| pools.supersede(resolution)),
            };
            tokio::spawn(watch.run())
        });
        let acknowledging = tokio::spawn(acknowledge::run(api.clone(), instance.clone(), due));
        let renewing = tokio::spawn(identity::keep_fresh(api.clone(), credentials, files));
        let rooms = Rooms {
            api,
            network: self.network,
            cache,
            pools,
            flights: Flights::default(),
            asking: Semaphore::new(ASKING_MAX),
            away: Away::default(),
            ready: is_ready,
            counts,
            instance,
            tasks: watching.into_iter().chain([acknowledging, renewing]).collect(),
            #[cfg(feature = "mock")]
            script: None,
            #[cfg(feature = "stand")]
            password: None,
        };
        Ok(Fleet {
            rooms: Arc::new(rooms),
        })
    }
}

impl Fleet {
    /// Begins a fleet.
    pub fn builder() -> Builder {
        Builder {
            nodes: Vec::new(),
            identity: None,
            network: "default".to_owned(),
            limits: Limits::default(),
            watch: true,
        }
    }

    /// A fleet of what a test wrote, without a node, a task or a runtime.
    #[cfg(feature = "mock")]
    pub(crate) fn played(script: Arc<Script>) -> Fleet {
        let mut rooms = Rooms::without_nodes(Limits::default(), watch::channel(true).1);
        rooms.script = Some(script);
        let rooms = Arc::new(rooms);
        Fleet { rooms }
    }

    /// A fleet of what its watch is told, without a node, a task or a runtime.
    #[cfg(feature = "stand")]
    pub(crate) fn told(limits: Limits, password: String) -> (Fleet, Watch) {
        let (ready, is_ready) = watch::channel(false);
        let mut rooms = Rooms::without_nodes(limits, is_ready);
        rooms.password = Some(password);
        let pools = rooms.pools.clone();
        let watch = Watch {
            channel: rooms.api.channel().clone(),
            cache: rooms.cache.clone(),
            counts: rooms.counts.clone(),
            network: String::new(),
            ready,
            on_change: Box::new(move |resolution| pools.supersede(resolution)),
        };
        let rooms = Arc::new(rooms);
        (Fleet { rooms }, watch)
    }

    /// Waits until the watch has listed everything once. Not needed for correctness, only for a warm start.
    pub async fn ready(&self) -> Result<(), Error> {
        let waited = self.rooms.ready.clone().wait_for(|ready| *ready).await.map(drop);
        waited.map_err(|_| Error::Invalid {
            what: "watch",
            why: "it is switched off".to_owned(),
        })
    }

    /// Finds the tenant. An ACTIVE one is served from memory for a while when no node answers; one that is
    /// suspended, fenced or unknown is not.
    pub async fn resolve(&self, selector: &Selector) -> Result<Arc<Resolution>, Error> {
        let span = debug_span!("resolve", tenant = Empty, source = Empty);
        let (source, found) = match span.in_scope(|| self.remembered(selector)) {
            Some(settled) => (Source::Memory, settled),
            // On the heap: a future that is large would be moved about by those who never come here.
            None => Box::pin(self.find(selector)).instrument(span.clone()).await,
        };
        self.rooms.counts.resolved(source, Outcome::of(&found));
        if span.is_disabled() {
            return found;
        }
        span.record("source", debug(source));
        if let Ok(resolution) = &found {
            span.record("tenant", display(&resolution.tenant));
        }
        found
    }

    async fn find(&self, selector: &Selector) -> (Source, Result<Arc<Resolution>, Error>) {
        #[cfg(feature = "mock")]
        if let Some(script) = &self.rooms.script {
            return (Source::Registry, script.resolve(selector));
        }
        let leave = match self.leave(selector) {
            Ok(leave) => leave,
            Err(fallback) => return (Source::Fallback, Ok(fallback)),
        };
        // Whoever waits for another's answer waits as long as one who asks, and no longer.
        let turn = self.rooms.flights.enter(selector.key().to_owned());
        let Ok(_turn) = timeout(RESOLVE_PATIENCE, turn).await else {
            return match self.rooms.cache.look_up(selector, Instant::now()) {
                Lookup::Ask { fallback: None } => (Source::Registry, Err(unanswered())),
                Lookup::Ask {
                    fallback: Some(fallback),
                } => (Source::Fallback, Ok(fallback)),
                Lookup::Fresh(known) => (Source::Memory, serving(known)),
                Lookup::Nobody => (Source::Memory, Err(unknown(selector))),
            };
        };
        // Whoever went before may have found that nobody answers.
        if let (Leave::Anybody, Err(fallback)) = (leave, self.leave(selector)) {
            return (Source::Fallback, Ok(fallback));
        }
        match self.rooms.cache.look_up(selector, Instant::now()) {
            Lookup::Ask { fallback } => {
                // Names that nobody has cost whoever sends them nothing, and must not take the registry from the others.
                // That all seats are taken says nothing of whether nodes answer.
                let Ok(Ok(_seat)) = timeout(RESOLVE_PATIENCE, self.rooms.asking.acquire()).await else {
                    return match fallback {
                        Some(fallback) => (Source::Fallback, Ok(fallback)),
                        None => (Source::Registry, Err(unanswered())),
                    };
                };
                let asked_at = Instant::now();
                let answer = self.ask(selector).await;
                self.rooms.counts.asked.took(asked_at.elapsed());
                match (answer, fallback) {
                    (Err(error), fallback) if error.is_transient() => {
                        self.rooms.away.silent(Instant::now());
                        match fallback {
                            Some(fallback) => (Source::Fallback, Ok(fallback)),
                            None => (Source::Registry, Err(error)),
                        }
                    }
                    (answer, _) => {
                        self.rooms.away.answered();
                        (Source::Registry, answer.and_then(serving))
                    }
                }
            }
            _ => {
                let settled = self.remembered(selector);
                let settled = settled.unwrap_or_else(|| Err(unknown(selector)));
                (Source::Memory, settled)
            }
        }
    }

    /// Whether a node may be asked; else what there is to fall back on, while nobody answers and another one tries.
    fn leave(&self, selector: &Selector) -> Result<Leave, Arc<Resolution>> {
        let now = Instant::now();
        match self.rooms.cache.look_up(selector, now) {
            Lookup::Ask {
                fallback: Some(fallback),
            } => self.rooms.away.leave(now).ok_or(fallback),
            _ => Ok(Leave::Anybody),
        }
    }

    /// The pool for a tenant just resolved. What has changed since is asked for anew; `Superseded` means that it changes
    /// faster than that.
    ///
    /// When there is no room for a new pool, one that nobody needs is closed: it is idle, and was not lent just now. When
    /// there is none for a tenth of [`Limits::patience`], the one that was lent longest ago goes: sessions in use come to
    /// their end, and who waits for one hears `PoolClosed` from sqlx, before anything was sent, and asks for the pool again.
    pub async fn pool(&self, tenant: &Resolution, access: Access) -> Result<PgPool, Error> {
        let span = debug_span!("pool", tenant = %tenant.tenant, ?access);
        self.newest(tenant, access).instrument(span).await
    }

    async fn newest(&self, tenant: &Resolution, access: Access) -> Result<PgPool, Error> {
        let mut pool = self.open(tenant, access).await;
        for _ in 0..RENEWALS_MAX {
            let (Err(Error::Superseded { .. }), Some(selector)) = (&pool, tenant.selector()) else {
                break;
            };
            let newer = self.resolve(&selector).await?;
            if newer.tenant != tenant.tenant {
                break;
            }
            pool = self.open(&newer, access).await;
            if pool.is_err() {
                // The node that answered has not heard of the change yet.
                tokio::time::sleep(RENEWAL_PAUSE).await;
            }
        }
        pool
    }

    async fn open(&self, tenant: &Resolution, access: Access) -> Result<PgPool, Error> {
        #[cfg(feature = "mock")]
        if let Some(script) = &self.rooms.script {
            return Ok(script.pool(&tenant.tenant));
        }
        let unseal = || self.credential(tenant);
        let pool = self.rooms.pools.get(tenant, access, unseal).await;
        if let (Err(Error::Superseded { .. }), Some(selector)) = (&pool, tenant.selector()) {
            // So that resolving again asks a node, instead of finding the same answer here.
            self.rooms.cache.forget(&selector, u64::MAX);
        }
        pool
    }

    /// How many requests named two tenants and were refused at a [`TenantLayer`](crate::TenantLayer) over this fleet.
    pub fn mismatches(&self) -> u64 {
        self.rooms.counts.mismatches()
    }

    pub(crate) fn count_mismatch(&self) {
        self.rooms.counts.mismatched();
    }

    /// All services of the registry, over the same nodes.
    pub fn api(&self) -> Api {
        self.rooms.api.clone()
    }

    /// Closes all pools, waiting for connections in use, and tells the registry that no credential is held any more.
    pub async fn close(&self) {
        #[cfg(feature = "mock")]
        if let Some(script) = &self.rooms.script {
            return script.close().await;
        }
        let held = self.rooms.pools.close().await;
        let told = held.iter().map(|one| {
            // It is a courtesy: who is not told waits for the grace of the next change.
            acknowledge::say(&self.rooms.api, &self.rooms.instance, one, FAREWELL_PATIENCE)
        });
        futures::future::join_all(told).await;
    }

    pub(crate) fn rooms(&self) -> &Arc<Rooms> {
        &self.rooms
    }

    pub(crate) fn remembered(&self, selector: &Selector) -> Option<Result<Arc<Resolution>, Error>> {
        match self.rooms.cache.look_up(selector, Instant::now()) {
            Lookup::Fresh(resolution) => Some(serving(resolution)),
            Lookup::Nobody => Some(Err(unknown(selector))),
            Lookup::Ask { .. } => None,
        }
    }

    async fn ask(&self, selector: &Selector) -> Result<Arc<Resolution>, Error> {
        let mut request = Request::new(ResolveRequest {
            claim: Some(selector.to_wire()),
            network: self.rooms.network.clone(),
            ..Default::default()
        });
        request.set_timeout(RESOLVE_PATIENCE);
        let asked_at = Instant::now();
        let response = match self.rooms.api.resolver().resolve(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return self.refused(selector, status, asked_at),
        };
        let wire = response
            .resolution
            .ok_or_else(|| Error::Answer("a resolve without a resolution".into()))?;
        let freshness = response.freshness.unwrap_or_default();
        answer::found(&self.rooms.cache, selector, wire, &freshness, asked_at)
    }

    fn refused(
        &self,
        selector: &Selector,
        status: tonic::Status,
        asked_at: Instant,
    ) -> Result<Arc<Resolution>, Error> {
        let (reason, revision) = (error::reason(&status), error::revision(&status));
        let told = match reason {
            Some(ErrorReason::TenantNotFound) => unknown(selector),
            Some(ErrorReason::TenantNotServing) => Error::NotServing {
                tenant: selector.to_string(),
                state: status.message().to_owned(),
            },
            _ => status.into(),
        };
        answer::refused(&self.rooms.cache, selector, reason, revision, asked_at, told)
    }

    async fn credential(&self, tenant: &Resolution) -> Result<GetCredentialResponse, Error> {
        #[cfg(feature = "stand")]
        if let Some(password) = &self.rooms.password {
            return Ok(GetCredentialResponse {
                role: tenant.role().to_owned(),
                password: password.clone(),
                version: tenant.credential_version,
                server_ca_sha256: Vec::new(),
            });
        }
        let (version, tenant) = (tenant.credential_version, &tenant.tenant);
        let wanted = GetCredentialRequest {
            tenant_id: tenant.to_string(),
            version,
            slot: String::new(),
            instance: self.rooms.instance.clone(),
        };
        let mut request = Request::new(wanted);
        request.set_timeout(CREDENTIAL_PATIENCE);
        let given = self.rooms.api.resolver().get_credential(request).await;
        given
            .map(tonic::Response::into_inner)
            .map_err(|status| match error::reason(&status) {
                // Another version is in force than the one that was resolved.
                Some(ErrorReason::Fenced) => Error::Superseded {
                    tenant: tenant.to_string(),
                },
                _ => status.into(),
            })
    }
}
