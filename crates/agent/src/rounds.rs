//! Goes round with the isolation audit and the prober, and mends what the configuration says may be mended.
//!
//! ```text
//! every minute: auditor.round, a few probes ─► told ─► reap what is nobody's any more
//!                                                  └─► mend (tenant by tenant, in its turn) ─► a look at it, told
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use reeve_domain::TenantId;
use reeve_domain::isolation::{Found, Rule};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use crate::host::Error;
use crate::mend;
use crate::perform::Performer;
use crate::reap::Reaper;
use crate::records::Keeper;
use crate::senses::isolation::{Auditor, Round, Tenants, Turn, foreign};
use crate::senses::prober::Prober;
use crate::steps::Wanted;

/// Files are read again on a signal.
const AFTER_MENDING: Duration = Duration::from_millis(100);
/// A tenant that a step is at work on for longer is mended in another round.
const MENDING_MAX: Duration = Duration::from_secs(5);

/// What the registry said, and what steps are doing.
pub struct Hosted {
    pub records: Keeper,
    pub performer: Arc<Performer>,
}

impl Tenants for Hosted {
    fn known(&self) -> BTreeSet<TenantId> {
        let (mut known, mut gone) = (self.performer.ordered(), BTreeSet::new());
        for (id, is_gone) in self.records.tenants() {
            match is_gone {
                true => gone.insert(id),
                false => known.insert(id),
            };
        }
        &known - &gone
    }

    fn gone(&self) -> BTreeSet<TenantId> {
        let all = self.records.tenants().into_iter();
        all.filter(|(_, is_gone)| *is_gone).map(|(id, _)| id).collect()
    }

    fn credential_version(&self, tenant: &TenantId) -> Option<u64> {
        self.records.credential_version(tenant)
    }

    fn touched_since(&self, since: Instant) -> BTreeSet<TenantId> {
        self.performer.touched_since(since)
    }
}

/// Goes round for ever.
pub async fn run(auditor: Auditor, performer: Arc<Performer>, tenants: Arc<dyn Tenants>) {
    let mut ticks = tokio::time::interval(auditor.plan().every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut turn, mut prober) = (Turn::default(), Prober::default());
    let plan = auditor.plan();
    let mut reaper = Reaper::new(plan.every, plan.reap_after, plan.allowed.clone());
    loop {
        ticks.tick().await;
        let heard = auditor.heard();
        let found = match auditor.round(&mut turn).await {
            Ok(mut round) => {
                probe(&auditor, &performer, &mut prober, &tenants.known(), &mut round).await;
                let found = round.found.clone();
                auditor.tell(round);
                found
            }
            // What could not be looked at is no finding, and no proof either: the last round stays the last.
            Err(error) => {
                warn!(%error, "the isolation audit did not come to its end");
                // It may be what lies in the agent's own files that keeps it out.
                foreign(&performer.host).await
            }
        };
        let due = reaper.due(&found, &tenants.gone(), heard.as_ref(), Instant::now());
        let reaped = reap(&performer, &mut reaper, due).await;
        if mend_all(&auditor, &performer, &found).await || reaped {
            // Whether it is mended is seen at once; whatever is not is tried again in the next round.
            tokio::time::sleep(AFTER_MENDING).await;
            if let Ok(round) = auditor.round(&mut turn).await {
                auditor.tell(round);
            }
        }
    }
}

/// Probes the next few of those who are served.
async fn probe(
    auditor: &Auditor,
    performer: &Performer,
    prober: &mut Prober,
    all: &BTreeSet<TenantId>,
    round: &mut Round,
) {
    for tenant in prober.next(all, auditor.plan().probes) {
        if let Some(probed) = performer.probe(&tenant).await {
            round.found.extend(prober.note(&tenant, probed, &mut round.scope));
        }
    }
}

/// Takes away what tenants that are gone left here; whether anything was.
async fn reap(performer: &Performer, reaper: &mut Reaper, due: Vec<TenantId>) -> bool {
    let mut changed = false;
    for tenant in due {
        match performer.reap(&tenant).await {
            Ok(proof) => {
                info!(%tenant, proof = proof.join("; "), "what it left was taken away");
                changed = true;
            }
            Err(error) => {
                warn!(%tenant, %error, "what it left stays");
                reaper.stays(&tenant, Instant::now());
            }
        }
    }
    changed
}

/// Mends what was found by rules that may be mended; whether anything was changed.
async fn mend_all(auditor: &Auditor, performer: &Performer, found: &[Found]) -> bool {
    let plan = auditor.plan();
    let mut broken: BTreeMap<Option<&TenantId>, BTreeSet<Rule>> = BTreeMap::new();
    for found in found.iter().filter(|found| plan.repair.contains(&found.rule)) {
        broken
            .entry(found.tenant.as_ref())
            .or_default()
            .insert(found.rule);
    }
    let mut changed = false;
    for (tenant, rules) in &broken {
        let mended = match tenant {
            None => mend::instance(&performer.host, &plan.allowed, rules).await,
            Some(tenant) => mend_one(auditor, performer, tenant, rules).await,
        };
        let codes: Vec<&str> = rules.iter().map(|rule| rule.code()).collect();
        let tenant = tenant.map(ToString::to_string).unwrap_or_default();
        match mended {
            Ok(true) => {
                info!(tenant, rules = codes.join(" "), "mended");
                changed = true;
            }
            Ok(false) => {}
            Err(error) => warn!(tenant, rules = codes.join(" "), %error, "not mended"),
        }
    }
    changed
}

async fn mend_one(
    auditor: &Auditor,
    performer: &Performer,
    tenant: &TenantId,
    rules: &BTreeSet<Rule>,
) -> Result<bool, Error> {
    let login = match rules.contains(&Rule::Password) {
        true => {
            let fetched = performer.credentials.fetch(tenant, Wanted::InForce).await;
            Some(fetched.map_err(|error| Error::retry("CREDENTIAL", error))?)
        }
        false => None,
    };
    let allowed = &auditor.plan().allowed;
    let mending = mend::tenant(&performer.host, allowed, tenant, rules, login.as_ref());
    let in_turn = tokio::time::timeout(MENDING_MAX, performer.in_turn(tenant, mending)).await;
    in_turn.unwrap_or_else(|_| Err(Error::retry("BUSY", "a step is at work on it, or a lock is held")))
}
