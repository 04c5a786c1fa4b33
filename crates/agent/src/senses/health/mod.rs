//! How each tenant's database fares: whether its services come in, and how it is loaded.
//!
//! ```text
//! every few seconds: one look at all (loads) · a few tries as tenants (doors) · a few looks inside (sizes) ─► told
//! ```
//! The cost of a round does not grow with the tenants but for the one look at all; whoever failed is tried again before
//! it is the others' turn, in up to half of a round. Nothing that a tenant wrote is run with rights that are not its own.

mod keys;
mod look;
mod tries;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use parking_lot::Mutex;
use reeve_domain::TenantId;
use reeve_domain::health::{Cause, Vitals};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::warn;

use self::keys::Keys;
use self::look::Inside;
pub use self::turn::Turn;
use crate::host::Host;
use crate::identity::CredentialSource;
use crate::senses::isolation::Tenants;

/// Failures in a row before it is said: one alone may be a restart, or a step at work.
const FAILURES_MIN: u32 = 2;
/// Tries and looks at once.
const AT_ONCE: usize = 4;
/// What is not tried any more is known for so long, and for as long as everybody had three turns.
const SPARE: Duration = Duration::from_secs(60);

/// How often, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub every: Duration,
    /// Tenants that are tried in one round; who failed counts among them.
    pub tries: usize,
    /// Databases that are looked into in one round.
    pub databases: usize,
}

impl Plan {
    /// How long a try is known when so many tenants have their turns, in rounds that take so long.
    fn known_for(&self, tenants: usize, took: Duration) -> Duration {
        let rounds = tenants.div_ceil(self.tries.max(1)).max(1);
        let turn = self
            .every
            .max(took)
            .saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        turn.saturating_mul(3).saturating_add(SPARE)
    }
}

/// What is known of one tenant's database.
#[derive(Clone, Debug, Default)]
pub struct Fares {
    /// When somebody last tried to come in.
    pub tried: Option<Instant>,
    /// When somebody last came in: a failure proves nothing, however new.
    came: Option<Instant>,
    /// What the tries came to, once it is sure: the schema version, or why nobody comes in.
    pub verdict: Option<Result<Option<u32>, (Cause, String)>>,
    failures: u32,
    /// When a try last began, whatever it came to, or that it came to nothing.
    begun: Option<Instant>,
    /// The times that only the registry knows are not in it.
    pub vitals: Vitals,
}

impl Fares {
    /// When the verdict was last proved; none while there is none.
    pub fn proved(&self) -> Option<Instant> {
        match self.verdict.as_ref()? {
            Ok(_) => self.came,
            Err(_) => self.tried,
        }
    }

    fn note(&mut self, tried: Result<tries::Came, (Cause, String)>) {
        self.tried = Some(Instant::now());
        match tried {
            Ok(came) => {
                self.failures = 0;
                self.came = self.tried;
                self.vitals.tried_ms = Some(came.took.as_millis() as u64);
                self.verdict = Some(Ok(came.schema_version));
            }
            Err(why) => {
                self.failures += 1;
                if self.failures >= FAILURES_MIN {
                    self.vitals.tried_ms = None;
                    self.verdict = Some(Err(why));
                }
            }
        }
    }

    fn note_inside(&mut self, inside: Inside) {
        self.vitals.size_bytes = Some(inside.size_bytes);
        self.vitals.live_rows = Some(inside.live_rows);
        self.vitals.dead_rows = Some(inside.dead_rows);
    }
}

/// Looks after all tenants of one instance for as long as the agent lives.
#[derive(Clone)]
pub struct Checker {
    host: Host,
    plan: Plan,
    tenants: Arc<dyn Tenants>,
    keys: Arc<Keys>,
    board: Arc<Mutex<BTreeMap<TenantId, Fares>>>,
    /// How long the last round took.
    took: Arc<Mutex<Duration>>,
    news: Arc<Notify>,
}

impl Checker {
    /// Nothing is looked at yet.
    pub fn new(
        host: Host,
        plan: Plan,
        tenants: Arc<dyn Tenants>,
        credentials: Arc<dyn CredentialSource>,
    ) -> Checker {
        Checker {
            host,
            plan,
            keys: Arc::new(Keys::new(credentials, tenants.clone())),
            tenants,
            board: Arc::default(),
            took: Arc::default(),
            news: Arc::default(),
        }
    }

    /// How all of them fare.
    pub fn board(&self) -> BTreeMap<TenantId, Fares> {
        self.board.lock().clone()
    }

    /// How old a try may be: an older one is of a tenant that is not tried any more.
    pub fn known_for(&self) -> Duration {
        self.plan.known_for(self.board.lock().len(), *self.took.lock())
    }

    /// Returns when a round has ended since it was last asked, if only one asks.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Goes round for ever.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(self.plan.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = Turn::default();
        loop {
            ticks.tick().await;
            self.round(&mut turn).await;
        }
    }

    /// One round. What could not be looked at keeps what was known of it; who hears it sees how old that is.
    pub async fn round(&self, turn: &mut Turn) {
        let began = Instant::now();
        let known = self.tenants.known();
        self.keys.keep_only(&known);
        self.board.lock().retain(|id, _| known.contains(id));
        match look::at_all(&self.host).await {
            Ok(loads) => {
                let mut board = self.board.lock();
                for (id, load) in loads.into_iter().filter(|(id, _)| known.contains(id)) {
                    let fares = board.entry(id).or_default();
                    load.put(&mut fares.vitals);
                }
            }
            // Without a PostgreSQL that answers nobody is tried: the instance as a whole is told of elsewhere.
            Err(error) => return warn!(%error, "loads could not be looked at"),
        }
        let chosen = self.chosen(turn, &known);
        self.try_to_come_in(chosen, began).await;
        self.look_inside(turn, &known).await;
        *self.took.lock() = began.elapsed();
        // Kept for a link that is busy just now.
        self.news.notify_one();
    }

    async fn try_to_come_in(&self, chosen: BTreeSet<TenantId>, began: Instant) {
        let tried = chosen.into_iter().map(|tenant| async move {
            let tried = tries::come_in(&self.host, &self.keys, &tenant).await;
            (tenant, tried)
        });
        let tried: Vec<_> = stream::iter(tried).buffer_unordered(AT_ONCE).collect().await;
        // A step may have been at work on it: then a failure proves nothing.
        let touched = self.tenants.touched_since(began);
        let mut board = self.board.lock();
        for (tenant, tried) in tried {
            let verdict = tried.filter(|tried| tried.is_ok() || !touched.contains(&tenant));
            if let (Some(verdict), Some(fares)) = (verdict, board.get_mut(&tenant)) {
                fares.note(verdict);
            }
        }
    }

    /// Who is tried now, of those with a door to come in by.
    fn chosen(&self, turn: &mut Turn, known: &BTreeSet<TenantId>) -> BTreeSet<TenantId> {
        let logins = self.host.logins();
        let with_door: BTreeSet<TenantId> = known
            .iter()
            .filter(|tenant| tries::has_door(&self.host, &logins, tenant))
            .cloned()
            .collect();
        let mut board = self.board.lock();
        let chosen = turn.tries(&board, &with_door, self.plan.tries);
        let now = Instant::now();
        for (_, fares) in board.iter_mut().filter(|(id, _)| chosen.contains(*id)) {
            fares.begun = Some(now);
        }
        chosen
    }

    async fn look_inside(&self, turn: &mut Turn, known: &BTreeSet<TenantId>) {
        let chosen = turn.inside.next(known, self.plan.databases);
        let looks = chosen.into_iter().map(|tenant| async move {
            let looked = look::inside(&self.host, &tenant).await;
            (tenant, looked)
        });
        let looked: Vec<_> = stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
        let mut board = self.board.lock();
        for (tenant, looked) in looked {
            match (looked, board.get_mut(&tenant)) {
                (Ok(inside), Some(fares)) => fares.note_inside(inside),
                (Err(error), _) => warn!(%error, %tenant, "a database could not be measured"),
                (Ok(_), None) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_is_known_for_three_turns_of_everybody_and_a_minute() {
        let plan = Plan {
            every: Duration::from_secs(10),
            tries: 64,
            databases: 32,
        };
        let known_for = |tenants, took_s| plan.known_for(tenants, Duration::from_secs(took_s)).as_secs();
        assert_eq!(known_for(0, 0), 90);
        assert_eq!(known_for(64, 3), 90);
        assert_eq!(known_for(1_000, 3), 3 * 160 + 60);
        assert_eq!(
            known_for(1_000, 48),
            3 * 16 * 48 + 60,
            "rounds are slow when many are not reached"
        );
    }

    #[test]
    fn one_failure_alone_is_not_said_and_one_success_ends_all() {
        let mut fares = Fares::default();
        let not = || Err((Cause::TurnedAway, "28P01".to_owned()));
        let came = || {
            Ok(tries::Came {
                took: Duration::from_millis(12),
                schema_version: Some(6),
            })
        };
        fares.note(not());
        assert_eq!(fares.verdict, None);
        fares.note(came());
        assert_eq!(
            (fares.verdict.clone(), fares.vitals.tried_ms),
            (Some(Ok(Some(6))), Some(12))
        );
        let proved = fares.proved();
        fares.note(not());
        assert_eq!(fares.verdict, Some(Ok(Some(6))), "once is nothing");
        assert!(
            fares.tried > proved && fares.proved() == proved,
            "nor is it a proof"
        );
        fares.note(not());
        assert_eq!(fares.verdict, Some(Err((Cause::TurnedAway, "28P01".to_owned()))));
        assert_eq!(fares.vitals.tried_ms, None);
        fares.note(came());
        assert_eq!(fares.verdict, Some(Ok(Some(6))));
    }
}
