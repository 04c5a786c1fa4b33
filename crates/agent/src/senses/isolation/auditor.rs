//! The audit's rounds, and what of them the registry has not heard yet.
//!
//! ```text
//! round: shared looks, a few databases inside ─► what was found, and how far it looked ─► told, until acknowledged
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reeve_domain::TenantId;
use reeve_domain::isolation::{Found, OPEN_MAX, Rule, Scope};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::heard::Heard;
use super::{Allowed, Whom, found, inside, look};
use crate::host::{Error, Host};
use crate::senses::around::Around;

/// Of one rule, about one tenant: more of the same says nothing more, and would push others out.
const ALIKE_MAX: usize = 10;

/// Who is hosted here, and on whom something is being done.
pub trait Tenants: Send + Sync {
    /// Whom the registry has placed here, as far as this agent has heard.
    fn known(&self) -> BTreeSet<TenantId>;

    /// Of whom the registry has signed that they are gone, and that nothing of them is to be here.
    fn gone(&self) -> BTreeSet<TenantId> {
        BTreeSet::new()
    }

    /// The version of its credential, as far as this agent has heard.
    fn credential_version(&self, _: &TenantId) -> Option<u64> {
        None
    }

    /// On whom a step has been at work at any time since then: what is seen of them is half done.
    fn touched_since(&self, since: Instant) -> BTreeSet<TenantId>;
}

/// What a round came to.
#[derive(Clone, Debug)]
pub struct Round {
    /// Counts up in this life.
    pub number: u64,
    pub ended: Instant,
    pub took: Duration,
    pub found: Vec<Found>,
    pub scope: Scope,
}

/// How often, how much, and what is mended.
#[derive(Clone, Debug)]
pub struct Plan {
    pub every: Duration,
    /// Databases looked into in one round; the others come in the next ones.
    pub databases: usize,
    pub allowed: Allowed,
    /// Tenants that are probed in one round, likewise.
    pub probes: usize,
    /// How long what a tenant that is gone left is told of before it is taken away; none: it stays.
    pub reap_after: Option<Duration>,
    pub repair: BTreeSet<Rule>,
}

/// Audits one instance for as long as the agent lives.
#[derive(Clone)]
pub struct Auditor {
    host: Host,
    plan: Arc<Plan>,
    tenants: Arc<dyn Tenants>,
    told: Arc<Mutex<Told>>,
    news: Arc<Notify>,
}

#[derive(Default)]
struct Told {
    last: Option<Round>,
    /// What is open as far as this life has seen.
    open: BTreeSet<Found>,
    heard: Heard,
}

impl Auditor {
    /// Nothing is looked at yet.
    pub fn new(host: Host, plan: Plan, tenants: Arc<dyn Tenants>) -> Auditor {
        Auditor {
            host,
            plan: Arc::new(plan),
            tenants,
            told: Arc::default(),
            news: Arc::default(),
        }
    }

    /// The last round that came to its end, and what is open.
    pub fn last(&self) -> Option<(Round, usize)> {
        let told = self.told.lock();
        Some((told.last.clone()?, told.open.len()))
    }

    /// The oldest round that the registry has not acknowledged.
    pub fn untold(&self) -> Option<Round> {
        self.told.lock().heard.next().cloned()
    }

    /// The registry has heard this round, and with it all before; whether it took it: what it turned away it does not know.
    pub fn acknowledged(&self, number: u64, taken: bool) {
        self.told.lock().heard.answered(number, taken);
        self.news.notify_waiters();
    }

    /// What the last round told that the registry took; none while a round waits for its answer.
    pub fn heard(&self) -> Option<BTreeSet<Found>> {
        self.told.lock().heard.taken().cloned()
    }

    /// When each tenant's database was last looked into, of which the registry knows all that was found.
    pub fn looked(&self) -> BTreeMap<TenantId, Instant> {
        self.told.lock().heard.looked().clone()
    }

    /// Returns when there is something to tell.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// How often, how much, and what is mended.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// One round.
    pub async fn round(&self, turn: &mut Turn) -> Result<Round, Error> {
        let began = Instant::now();
        let known = self.tenants.known();
        let mut found = look(&self.host, &self.plan.allowed, Whom::All(&known)).await?;
        let mut scope = Scope::default();
        for tenant in turn.around.next(&known, self.plan.databases) {
            match inside::look(&self.host, &self.plan.allowed, &tenant).await {
                Ok(more) => {
                    found.extend(more);
                    turn.dark.remove(&tenant);
                    scope.inside.insert(tenant);
                }
                Err(error) => {
                    warn!(%error, %tenant, "a database could not be looked into");
                    found.extend(turn.unproved(&tenant, &error));
                }
            }
        }
        scope.half_done = self.tenants.touched_since(began);
        let is_whole = |found: &Found| {
            found
                .tenant
                .as_ref()
                .is_none_or(|of| !scope.half_done.contains(of))
        };
        found.retain(is_whole);
        turn.settle(&known, &scope.half_done);
        turn.number += 1;
        Ok(Round {
            number: turn.number,
            ended: Instant::now(),
            took: began.elapsed(),
            found,
            scope,
        })
    }

    /// From now on this is the last round, and it waits for the registry.
    pub fn tell(&self, mut round: Round) {
        (round.found, round.scope.truncated) = worst(round.found);
        let known = self.tenants.known();
        let mut told = self.told.lock();
        let now: BTreeSet<Found> = round.found.iter().cloned().collect();
        for new in now.difference(&told.open) {
            let tenant = new.tenant.as_ref().map(ToString::to_string).unwrap_or_default();
            warn!(
                rule = new.rule.code(),
                tenant,
                what = new.subject,
                "a wall is broken"
            );
        }
        let is_gone = |open: &Found| {
            let is_here = open.tenant.as_ref().is_none_or(|tenant| known.contains(tenant));
            let tenant = open.tenant.as_ref();
            !now.contains(open) && round.scope.closes(open.rule, tenant, &open.subject, is_here)
        };
        let (gone, open): (BTreeSet<_>, BTreeSet<_>) = std::mem::take(&mut told.open)
            .into_iter()
            .partition(|open| is_gone(open));
        for gone in gone {
            info!(
                rule = gone.rule.code(),
                what = gone.subject,
                "a wall stands again"
            );
        }
        told.open = open.into_iter().chain(now).collect();
        told.heard.tell(round.clone());
        told.heard.keep_only(&known);
        told.last = Some(round);
        drop(told);
        self.news.notify_waiters();
    }
}

/// The worst first, few alike, and no more than the registry keeps; and whether something was left out.
fn worst(mut found: Vec<Found>) -> (Vec<Found>, bool) {
    found.sort();
    found.dedup_by(|a, b| (a.rule, &a.tenant, &a.subject) == (b.rule, &b.tenant, &b.subject));
    let mut alike: BTreeMap<(Rule, Option<TenantId>), usize> = BTreeMap::new();
    let mut ranked = Vec::new();
    let mut more = BTreeSet::new();
    for one in found {
        let rank = alike.entry((one.rule, one.tenant.clone())).or_default();
        *rank += 1;
        match *rank <= ALIKE_MAX {
            true => ranked.push((one.rule.severity(), *rank, one)),
            false => drop(more.insert((one.rule, one.tenant))),
        }
    }
    let is_cut = !more.is_empty();
    for (rule, tenant) in more {
        ranked.push((
            rule.severity(),
            0,
            self::found(rule, tenant, "and more of them", ""),
        ));
    }
    // A tenant with many does not push out one with few.
    ranked.sort();
    let is_long = ranked.len() > OPEN_MAX;
    let kept = ranked.into_iter().take(OPEN_MAX).map(|(_, _, one)| one);
    (kept.collect(), is_cut || is_long)
}

/// What a life of rounds remembers from one to the next.
#[derive(Debug, Default)]
pub struct Turn {
    number: u64,
    around: Around,
    /// Databases that could not be looked into, and how often in a row.
    dark: BTreeMap<TenantId, u32>,
}

impl Turn {
    /// A database that cannot be looked into time after time is no proof of anything.
    fn unproved(&mut self, tenant: &TenantId, error: &Error) -> Option<Found> {
        const TIMES: u32 = 3;
        let times = self.dark.entry(tenant.clone()).or_default();
        *times += 1;
        let subject = reeve_domain::isolation::inside(tenant, "could not be looked into");
        (*times >= TIMES).then(|| found(Rule::Object, Some(tenant.clone()), subject, error.to_string()))
    }

    /// A round is over. A database that is being made or taken away is dark for a reason: it is counted from then on anew.
    fn settle(&mut self, known: &BTreeSet<TenantId>, half_done: &BTreeSet<TenantId>) {
        self.dark
            .retain(|tenant, _| known.contains(tenant) && !half_done.contains(tenant));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(rule: Rule, of: u64, subject: &str) -> Found {
        found(rule, Some(TenantId::from_random(of)), subject, "")
    }

    #[test]
    fn a_tenant_with_many_findings_pushes_nobody_out() {
        let mut all: Vec<Found> = (0..2_000)
            .map(|n| one(Rule::RoleSetting, 1, &format!("{n:04}")))
            .collect();
        all.push(one(Rule::Unproved, 9, "unproved"));
        all.push(one(Rule::Leak, 9, "open"));
        let (kept, truncated) = worst(all);
        assert!(truncated && kept.len() == ALIKE_MAX + 3, "{kept:?}");
        assert_eq!((kept[0].rule, kept[0].subject.as_str()), (Rule::Leak, "open"));
        assert!(kept.iter().any(|f| f.subject == "and more of them"));
        let many: Vec<Found> = (0..OPEN_MAX as u64 + 1)
            .map(|of| one(Rule::Password, of, "x"))
            .collect();
        let (kept, truncated) = worst(many);
        assert!(truncated && kept.len() == OPEN_MAX);
        let (kept, truncated) = worst(vec![one(Rule::Grant, 1, "x"), one(Rule::Grant, 1, "x")]);
        assert!(!truncated && kept.len() == 1, "the same thing is found once");
    }

    #[test]
    fn a_database_that_stays_dark_is_told_the_third_time() {
        let (mut turn, tenant) = (Turn::default(), TenantId::from_random(1));
        let error = Error::retry("57014", "it took too long");
        assert_eq!(turn.unproved(&tenant, &error), None);
        assert_eq!(turn.unproved(&tenant, &error), None);
        let told = turn.unproved(&tenant, &error).unwrap();
        assert_eq!(told.subject, "t_000000000001: could not be looked into");
        let (known, nobody) = (BTreeSet::from([tenant.clone()]), BTreeSet::new());
        turn.settle(&known, &nobody);
        assert!(turn.unproved(&tenant, &error).is_some());
        for (known, half_done) in [(&known, &known), (&nobody, &nobody)] {
            turn.settle(known, half_done);
            assert_eq!(turn.unproved(&tenant, &error), None, "counted anew");
            assert_eq!(turn.unproved(&tenant, &error), None);
            assert!(turn.unproved(&tenant, &error).is_some());
        }
    }
}
