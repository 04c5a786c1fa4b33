//! Carries orders out: the fence, the journal, the step, the journal again, the report.
//!
//! Tenants go side by side, up to a limit; the steps of one tenant go strictly one after the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use reeve_domain::TenantId;
use reeve_domain::words::Cidr;
use reeve_proto::convert::time::length;
use reeve_proto::v1::step_key::Direction;
use reeve_proto::v1::step_report::Outcome as WireOutcome;
use reeve_proto::v1::{StepKey, StepOrder, StepReport};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::fence::{Fence, Word};
use crate::hold::{self, Moment};
use crate::host::ident::{Ending, Ident};
use crate::host::{self, Host};
use crate::identity::CredentialSource;
use crate::journal::Journal;
use crate::senses::isolation::Allowed;
use crate::steps::{self, Context, Outcome, Slot, TenantSpec, Wanted};

/// Tenants worked on at once.
const TENANTS_MAX: usize = 64;
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
const PROBE_MAX: Duration = Duration::from_secs(30);
/// Between two looks whether PostgreSQL is back.
const AWAY_PAUSE: Duration = Duration::from_millis(250);

/// Carries orders out.
pub struct Performer {
    pub host: Host,
    pub journal: Journal,
    pub fence: Fence,
    pub schemas: BTreeMap<String, PathBuf>,
    pub credentials: Arc<dyn CredentialSource>,
    pub allowed: Allowed,
    places: Semaphore,
    latest: Latest,
    tenants: Mutex<HashMap<TenantId, Arc<Turns>>>,
    /// Tenants that this life has had orders for.
    ordered: Mutex<BTreeSet<TenantId>>,
}

/// The steps of one tenant, one after the other.
struct Turns {
    at_work: tokio::sync::Mutex<()>,
    /// When a step last ended.
    ended: Mutex<Instant>,
    /// What is at work only looks: nothing is half done meanwhile.
    looks: AtomicBool,
}

impl Turns {
    /// Whether a step is at work, or something else that changes the tenant.
    fn is_stepped(&self) -> bool {
        self.at_work.try_lock().is_err() && !self.looks.load(Ordering::Relaxed)
    }
}

impl Default for Turns {
    fn default() -> Turns {
        Turns {
            at_work: tokio::sync::Mutex::default(),
            ended: Mutex::new(Instant::now()),
            looks: AtomicBool::new(false),
        }
    }
}

/// Says that what is at work only looks, for as long as it does.
struct Looking<'a>(&'a Turns);

impl Looking<'_> {
    fn begin(turns: &Turns) -> Looking<'_> {
        turns.looks.store(true, Ordering::Relaxed);
        Looking(turns)
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.looks.store(false, Ordering::Relaxed);
    }
}

/// Notes when a step ends, however it does.
struct Noting<'a>(&'a Turns);

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        *self.0.ended.lock() = Instant::now();
    }
}

/// The latest try of each operation: one that was overtaken must not act any more.
#[derive(Default)]
struct Latest(Mutex<HashMap<String, Try>>);

/// Forwards first, then back; within a direction by step and attempt as they came. A newer epoch begins anew: the
/// registry that came back from a copy may have forgotten how far the operation was.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Try {
    epoch: u64,
    back: bool,
    step: u32,
    attempt: u32,
}

impl Try {
    fn of(key: &StepKey, epoch: u64) -> Try {
        Try {
            epoch,
            back: key.direction() == Direction::Undo,
            step: key.step,
            attempt: key.attempt,
        }
    }
}

impl Latest {
    /// Notes an order; false when the operation is further already. There is no way from back to forwards.
    fn note(&self, key: &StepKey, epoch: u64, turned_back: bool) -> bool {
        let this = Try::of(key, epoch);
        let mut latest = self.0.lock();
        let known = latest.get(&key.operation_id).copied();
        let further = match known {
            Some(known) if known.epoch != epoch => known.epoch > epoch,
            Some(known) if known.back => !this.back,
            Some(known) if !this.back => (this.step, this.attempt) < (known.step, known.attempt),
            _ => turned_back && !this.back,
        };
        if !further {
            latest.insert(key.operation_id.clone(), this);
        }
        !further
    }

    fn is(&self, key: &StepKey, epoch: u64) -> bool {
        self.0.lock().get(&key.operation_id) == Some(&Try::of(key, epoch))
    }
}

/// Why a try did not reach its goal.
struct Failure {
    outcome: WireOutcome,
    code: String,
    message: String,
}

impl Failure {
    fn failed(code: &str, message: impl ToString) -> Failure {
        Failure {
            outcome: WireOutcome::Failed,
            code: code.to_owned(),
            message: message.to_string(),
        }
    }

    fn retry(code: &str, message: impl ToString) -> Failure {
        Failure {
            outcome: WireOutcome::Retry,
            code: code.to_owned(),
            message: message.to_string(),
        }
    }
}

impl Failure {
    /// Whether PostgreSQL was not there: starting, stopping, or not to be reached.
    fn is_away(&self) -> bool {
        let away = ["CONNECTION", "57P01", "57P02", "57P03"];
        self.outcome == WireOutcome::Retry
            && (away.contains(&self.code.as_str()) || self.code.starts_with("08"))
    }
}

impl Performer {
    /// Puts the hands together.
    pub fn new(
        host: Host,
        journal: Journal,
        fence: Fence,
        schemas: BTreeMap<String, PathBuf>,
        credentials: Arc<dyn CredentialSource>,
        allowed: Allowed,
    ) -> Performer {
        let places = Semaphore::new(TENANTS_MAX);
        Performer {
            host,
            journal,
            fence,
            schemas,
            credentials,
            allowed,
            places,
            latest: Latest::default(),
            tenants: Mutex::default(),
            ordered: Mutex::default(),
        }
    }

    /// Carries one order out, or answers from the journal. An error means that nothing may be reported. What is reported
    /// as done is in the journal.
    pub async fn perform(&self, order: &StepOrder) -> io::Result<StepReport> {
        let Some(key) = &order.key else {
            return Err(io::Error::other("an order without a key"));
        };
        let limit = limit_of(order);
        // As for a PostgreSQL that is away: what could not be kept is to be told before the step is taken for lost.
        let patient_until = Instant::now() + limit - limit / 6;
        let judged = patiently_kept(patient_until, || self.fence.judge(&order.group, order.epoch)).await;
        let word = match judged {
            Ok(word) => word,
            Err(error) => return Ok(report(order, Err(not_kept("the new epoch", &error)))),
        };
        if let Word::Older { known } = word {
            return Err(io::Error::other(format!(
                "order of epoch {} turned away: epoch {known} of group {} is known",
                order.epoch, order.group
            )));
        }
        // Of another epoch the outcome would not count: the step is looked at anew, which does no harm.
        if let Some(report) = self
            .journal
            .recall(key)
            .filter(|report| report.epoch == order.epoch)
        {
            return Ok(report);
        }
        let turned_back = self.journal.has_turned_back(&key.operation_id, order.epoch);
        if !self.latest.note(key, order.epoch, turned_back) {
            return Err(io::Error::other("a later order of this operation has come"));
        }
        let result = self.carry_out(order).await;
        let done = report(order, result);
        if let Err(error) = patiently_kept(patient_until, || self.journal.record(&done)).await {
            // Whoever tries next looks anew at what is there.
            return Ok(report(order, Err(not_kept("the outcome", &error))));
        }
        hold::at(&order.name, key.direction() == Direction::Undo, Moment::Journaled).await;
        Ok(done)
    }

    /// Does something to a tenant while no step is at work on it.
    pub async fn in_turn<T>(&self, tenant: &TenantId, work: impl Future<Output = T>) -> T {
        let turns = self.tenants.lock().entry(tenant.clone()).or_default().clone();
        let _turn = turns.at_work.lock().await;
        let _noting = Noting(&turns);
        work.await
    }

    /// Looks at a tenant while no step is at work on it, and no step begins.
    async fn look_in_turn<T>(&self, tenant: &TenantId, look: impl Future<Output = T>) -> T {
        let turns = self.tenants.lock().entry(tenant.clone()).or_default().clone();
        let _turn = turns.at_work.lock().await;
        let _looking = Looking::begin(&turns);
        look.await
    }

    /// Probes a tenant in its turn, with the login that it has; none while it has no door to knock at.
    pub async fn probe(&self, tenant: &TenantId) -> Option<Result<(), host::Error>> {
        let logins = self.host.logins();
        let has = |ending| logins.contains_key(Ident::role(tenant, ending).as_str());
        if !has(Ending::A) && !has(Ending::B) {
            return None;
        }
        self.host.doors_of(tenant)?;
        let probe = async {
            let fetched = self.credentials.fetch(tenant, Wanted::InForce).await;
            let login = fetched.map_err(|error| host::Error::retry("CREDENTIAL", error))?;
            let context = Context {
                host: &self.host,
                tenant: &unplaced(tenant, login.slot),
                login: Some(&login),
                schemas: &self.schemas,
                allowed: &self.allowed,
            };
            steps::forward("probe", &context).await.map(drop)
        };
        let limited = tokio::time::timeout(PROBE_MAX, self.look_in_turn(tenant, probe));
        let timed_out = |_| Err(host::Error::retry("TIMEOUT", "the probe did not come to its end"));
        Some(limited.await.unwrap_or_else(timed_out))
    }

    /// Takes away all that is here of a tenant that is gone, as offboarding does, and proves it; in its turn, so that no
    /// step is at work on it. The registry is asked once more: one that was restored may know it again. Of whom anything
    /// is elsewhere, all stays: with the roles it would go, too.
    pub async fn reap(&self, tenant: &TenantId) -> Result<Vec<String>, host::Error> {
        let spec = unplaced(tenant, Slot::A);
        let context = Context {
            host: &self.host,
            tenant: &spec,
            login: None,
            schemas: &self.schemas,
            allowed: &self.allowed,
        };
        let reaping = async {
            match self.credentials.is_gone(tenant).await {
                Ok(true) => {}
                Ok(false) => return Err(host::Error::permanent("PLACED", "the registry knows it here")),
                Err(error) => return Err(host::Error::retry("REGISTRY", error)),
            }
            let mut proof = Vec::new();
            for step in ["close_doors", "drop_database", "drop_roles", "prove_absence"] {
                steps::own_nothing_elsewhere(&self.host, tenant).await?;
                let (Outcome::Done(done) | Outcome::AlreadyTrue(done)) =
                    steps::forward(step, &context).await?;
                proof.extend(done.lines);
            }
            Ok(proof)
        };
        let limited = tokio::time::timeout(TIMEOUT_DEFAULT, self.in_turn(tenant, reaping));
        let timed_out = |_| Err(host::Error::retry("TIMEOUT", "it did not come to its end"));
        limited.await.unwrap_or_else(timed_out)
    }

    /// Tenants that this life has had orders for.
    pub fn ordered(&self) -> BTreeSet<TenantId> {
        self.ordered.lock().clone()
    }

    /// Tenants that a step was at work on at any time since then.
    pub fn touched_since(&self, since: Instant) -> BTreeSet<TenantId> {
        let tenants = self.tenants.lock();
        let touched = tenants
            .iter()
            .filter(|(_, turns)| turns.is_stepped() || *turns.ended.lock() >= since);
        touched.map(|(id, _)| id.clone()).collect()
    }

    async fn carry_out(&self, order: &StepOrder) -> Result<Outcome, Failure> {
        let tenant = spec(order)?;
        let undo = order
            .key
            .as_ref()
            .is_some_and(|k| k.direction() == Direction::Undo);
        wait_until_due(order).await;

        self.ordered.lock().insert(tenant.id.clone());
        let queue = self.tenants.lock().entry(tenant.id.clone()).or_default().clone();
        let _turn = queue.at_work.lock().await;
        let _noting = Noting(&queue);
        // It may have waited while the operation turned back, or came to another try.
        if !order
            .key
            .as_ref()
            .is_some_and(|key| self.latest.is(key, order.epoch))
        {
            return Err(Failure::retry(
                "OVERTAKEN",
                "a later order of this operation has come",
            ));
        }
        let Ok(_place) = self.places.acquire().await else {
            return Err(Failure::retry("STOPPING", "the agent is stopping"));
        };
        let limit = limit_of(order);
        hold::at(&order.name, undo, Moment::Before).await;
        let result = self.patiently(order, &tenant, undo, limit).await;
        hold::at(&order.name, undo, Moment::After).await;
        result
    }

    /// Within the step's time a PostgreSQL that is away, or on its way, is waited for: it costs no try.
    async fn patiently(
        &self,
        order: &StepOrder,
        tenant: &TenantSpec,
        undo: bool,
        limit: Duration,
    ) -> Result<Outcome, Failure> {
        let until = Instant::now() + limit;
        // What was not reached is to be told before the registry takes the step for lost.
        let patient_until = until - limit / 6;
        loop {
            let tried = tokio::time::timeout_at(until, self.step(order, tenant, undo)).await;
            let result = tried.unwrap_or_else(|_| {
                let why = format!("not done within {} s", limit.as_secs());
                Err(Failure::retry("TIMEOUT", why))
            });
            match result {
                Err(failure) if failure.is_away() && Instant::now() < patient_until => {
                    tokio::time::sleep(AWAY_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn step(&self, order: &StepOrder, tenant: &TenantSpec, undo: bool) -> Result<Outcome, Failure> {
        let login = match steps::needs(&order.name, undo, tenant) {
            Some(wanted) => {
                let fetched = self.credentials.fetch(&tenant.id, wanted).await;
                Some(fetched.map_err(|e| Failure::retry("CREDENTIAL", e))?)
            }
            None => None,
        };
        let context = Context {
            host: &self.host,
            tenant,
            login: login.as_ref(),
            schemas: &self.schemas,
            allowed: &self.allowed,
        };
        let result = match undo {
            true => steps::undo(&order.name, &context).await,
            false => steps::forward(&order.name, &context).await,
        };
        result.map_err(|error| match error.is_permanent() {
            true => Failure::failed(error.code(), &error),
            false => Failure::retry(error.code(), &error),
        })
    }
}

/// How long the step may take.
fn limit_of(order: &StepOrder) -> Duration {
    order.timeout.as_ref().and_then(length).unwrap_or(TIMEOUT_DEFAULT)
}

/// Tries to write something down until the time is over: a disk that is full may have room again.
async fn patiently_kept<T>(until: Instant, mut keep: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut is_first = true;
    loop {
        match keep() {
            Err(error) if Instant::now() < until => {
                if std::mem::take(&mut is_first) {
                    warn!(%error, "the agent's own disk takes nothing; it is tried again");
                }
                tokio::time::sleep(AWAY_PAUSE).await;
            }
            kept => return kept,
        }
    }
}

fn not_kept(what: &str, error: &io::Error) -> Failure {
    Failure::retry(
        "AGENT_DISK",
        format!("{what} cannot be written to the agent's disk: {error}"),
    )
}

/// A retry is due a little later than it is sent; the registry's clock says when.
async fn wait_until_due(order: &StepOrder) {
    let Some(due) = &order.not_before else {
        return;
    };
    let due = Duration::new(due.seconds.max(0) as u64, due.nanos.max(0) as u32);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    // Clocks may disagree; a pause is never longer than the registry would ever ask for.
    tokio::time::sleep(due.saturating_sub(now).min(Duration::from_secs(30))).await;
}

fn spec(order: &StepOrder) -> Result<TenantSpec, Failure> {
    let wire = order
        .tenant
        .as_ref()
        .ok_or_else(|| Failure::failed("BAD_ORDER", "it names no tenant"))?;
    let id = TenantId::parse(&wire.tenant_id).map_err(|e| Failure::failed("BAD_ORDER", e))?;
    let allowlist = wire
        .allowlist_cidrs
        .iter()
        .map(|c| Cidr::parse(c))
        .collect::<Result<Vec<_>, _>>();
    Ok(TenantSpec {
        id,
        connection_limit: wire.connection_limit,
        allowlist: allowlist.map_err(|e| Failure::failed("BAD_ORDER", e))?,
        channel: wire.schema_channel.clone(),
        target_version: wire.schema_version,
        active_slot: if wire.active_slot == "b" { Slot::B } else { Slot::A },
        credential_version: wire.credential_version,
    })
}

/// A tenant of whom nothing but its id and login needs to be known.
fn unplaced(tenant: &TenantId, active_slot: Slot) -> TenantSpec {
    TenantSpec {
        id: tenant.clone(),
        connection_limit: 0,
        allowlist: Vec::new(),
        channel: String::new(),
        target_version: 0,
        active_slot,
        credential_version: 0,
    }
}

fn report(order: &StepOrder, result: Result<Outcome, Failure>) -> StepReport {
    let mut report = StepReport {
        key: order.key.clone(),
        epoch: order.epoch,
        ..Default::default()
    };
    let proof = match result {
        Ok(Outcome::Done(proof)) => {
            report.outcome = WireOutcome::Done as i32;
            proof
        }
        Ok(Outcome::AlreadyTrue(proof)) => {
            report.outcome = WireOutcome::AlreadyTrue as i32;
            proof
        }
        Err(failure) => {
            warn!(
                step = order.name,
                code = failure.code,
                error = failure.message,
                "a step did not reach its goal"
            );
            report.outcome = failure.outcome as i32;
            report.code = failure.code;
            report.error = failure.message;
            return report;
        }
    };
    info!(step = order.name, "a step reached its goal");
    report.proof = proof.lines;
    if let Some((version, checksum)) = proof.schema {
        report.schema_version = version;
        report.schema_checksum = checksum;
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_only_looks_is_no_step_at_work() {
        let turns = Turns::default();
        assert!(!turns.is_stepped());
        let turn = turns.at_work.lock().await;
        assert!(turns.is_stepped());
        let looking = Looking::begin(&turns);
        assert!(!turns.is_stepped());
        drop(looking);
        assert!(turns.is_stepped(), "what comes after it changes the tenant");
        drop(turn);
        assert!(!turns.is_stepped());
    }

    fn key(direction: Direction, step: u32, attempt: u32) -> StepKey {
        StepKey {
            operation_id: "op_0000000000000001".into(),
            step,
            attempt,
            direction: direction as i32,
        }
    }

    #[test]
    fn an_order_that_was_overtaken_does_not_act() {
        let latest = Latest::default();
        let first = key(Direction::Forward, 1, 1);
        assert!(latest.note(&first, 1, false) && latest.is(&first, 1));
        let second = key(Direction::Forward, 1, 2);
        assert!(latest.note(&second, 1, false));
        assert!(!latest.is(&first, 1), "an older try would have acted");
        assert!(!latest.note(&first, 1, false), "an older try was taken up again");
        let back = key(Direction::Undo, 1, 1);
        assert!(latest.note(&back, 1, false) && !latest.is(&second, 1));
        assert!(
            !latest.note(&key(Direction::Forward, 2, 1), 1, false),
            "forwards after it turned back"
        );
        assert!(latest.note(&key(Direction::Undo, 0, 1), 1, false));
    }

    #[test]
    fn what_turned_back_in_an_earlier_life_stays_turned() {
        let latest = Latest::default();
        assert!(!latest.note(&key(Direction::Forward, 1, 3), 1, true));
        assert!(latest.note(&key(Direction::Undo, 0, 1), 1, true));
    }

    #[test]
    fn a_newer_epoch_begins_anew_and_an_older_one_never_comes_back() {
        let latest = Latest::default();
        assert!(latest.note(&key(Direction::Forward, 4, 1), 1, false));
        assert!(latest.note(&key(Direction::Undo, 3, 1), 1, false));
        let again = key(Direction::Forward, 2, 1);
        assert!(latest.note(&again, 9, false) && latest.is(&again, 9));
        assert!(!latest.note(&key(Direction::Undo, 2, 1), 1, false));
        assert!(latest.is(&again, 9), "an order of an older epoch took its place");
    }
}
