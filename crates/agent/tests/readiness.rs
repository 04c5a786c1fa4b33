//! How tenants' databases fare, on a real PostgreSQL: who comes in, who does not and why, and what is measured.

mod bench;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bench::{Bench, Case, FORWARD};
use parking_lot::Mutex;
use reeve_agent::host::ident::{Ending, Ident, literal};
use reeve_agent::host::{random_password, verifier};
use reeve_agent::identity::CredentialSource;
use reeve_agent::senses::health::{Checker, Fares, Plan, Turn};
use reeve_agent::senses::isolation::Tenants;
use reeve_agent::steps::{Login, Slot, Wanted};
use reeve_domain::TenantId;
use reeve_domain::health::Cause;
use sqlx::Connection;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// The registry, as far as an agent asks it.
#[derive(Default)]
struct Registry {
    passwords: Mutex<BTreeMap<TenantId, String>>,
    /// The version of all credentials.
    version: AtomicU64,
    /// On whom a step is at work.
    touched: Mutex<BTreeSet<TenantId>>,
    asked: AtomicUsize,
}

#[tonic::async_trait]
impl CredentialSource for Registry {
    async fn is_gone(&self, _: &TenantId) -> Result<bool, String> {
        Ok(false)
    }

    async fn fetch(&self, tenant: &TenantId, _: Wanted) -> Result<Login, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let held = self.passwords.lock().get(tenant).cloned();
        Ok(Login {
            slot: Slot::A,
            password: Zeroizing::new(held.ok_or("the registry is away")?),
        })
    }
}

impl Tenants for Registry {
    fn known(&self) -> BTreeSet<TenantId> {
        self.passwords.lock().keys().cloned().collect()
    }

    fn credential_version(&self, _: &TenantId) -> Option<u64> {
        Some(self.version.load(Ordering::Relaxed))
    }

    fn touched_since(&self, _: Instant) -> BTreeSet<TenantId> {
        self.touched.lock().clone()
    }
}

struct Ward {
    bench: Bench,
    a: Case,
    b: Case,
    registry: Arc<Registry>,
    checker: Checker,
    turn: Turn,
}

impl Ward {
    async fn new(tries: usize) -> Ward {
        let bench = Bench::new().await;
        let (a, b) = (Case::new(&bench, "ehr"), Case::new(&bench, "ehr"));
        let registry = Arc::new(Registry::default());
        for case in [&a, &b] {
            for step in FORWARD {
                case.forward(step).await.unwrap();
            }
            let password = case.login.password.to_string();
            registry.passwords.lock().insert(case.tenant.id.clone(), password);
        }
        let plan = Plan {
            every: Duration::from_secs(10),
            tries,
            databases: 8,
        };
        let checker = Checker::new(bench.host.clone(), plan, registry.clone(), registry.clone());
        Ward {
            bench,
            a,
            b,
            registry,
            checker,
            turn: Turn::default(),
        }
    }

    async fn round(&mut self) -> [Fares; 2] {
        self.checker.round(&mut self.turn).await;
        let board = self.checker.board();
        [&self.a, &self.b].map(|case| board[&case.tenant.id].clone())
    }

    /// What is said of the first one after so many rounds; the second one is well.
    async fn verdict(&mut self, rounds: usize) -> Option<Result<Option<u32>, (Cause, String)>> {
        let mut last = None;
        for _ in 0..rounds {
            let [a, b] = self.round().await;
            assert!(matches!(b.verdict, Some(Ok(_))), "{:?}", b.verdict);
            last = a.verdict;
        }
        last
    }

    async fn cause(&mut self) -> Option<Cause> {
        self.verdict(2).await?.err().map(|(cause, _)| cause)
    }

    async fn say(&self, database: &str, sql: String) {
        let mut session = self.bench.host.control(database).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut session)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_in_is_ready_and_who_does_not_is_told_why_and_comes_back() {
    let mut ward = Ward::new(8).await;
    let [a, _] = ward.round().await;
    assert_eq!(
        a.verdict,
        Some(Ok(Some(6))),
        "in over TLS, and it sees its version"
    );
    assert!(a.vitals.tried_ms.is_some() && a.vitals.size_bytes.is_some_and(|bytes| bytes > 1 << 20));
    assert!(
        a.vitals.live_rows.is_some() && a.vitals.xid_age > 0,
        "{:?}",
        a.vitals
    );
    let asked = ward.registry.asked.load(Ordering::Relaxed);
    ward.round().await;
    assert_eq!(
        ward.registry.asked.load(Ordering::Relaxed),
        asked,
        "a password is asked for once"
    );

    let id = ward.a.tenant.id.clone();
    let role = Ident::role(&id, Ending::A).quoted();
    // A login that lets nobody in.
    ward.say("postgres", format!("ALTER ROLE {role} NOLOGIN")).await;
    assert!(
        matches!(ward.verdict(1).await, Some(Ok(_))),
        "one failure is nothing"
    );
    assert!(matches!(ward.verdict(1).await, Some(Err((Cause::TurnedAway, _)))));
    ward.say("postgres", format!("ALTER ROLE {role} LOGIN")).await;
    assert_eq!(ward.verdict(1).await, Some(Ok(Some(6))), "it is back at once");

    // As many are in as may be.
    ward.say("postgres", format!("ALTER ROLE {role} CONNECTION LIMIT 0"))
        .await;
    assert_eq!(ward.cause().await, Some(Cause::Full));
    ward.say("postgres", format!("ALTER ROLE {role} CONNECTION LIMIT 5"))
        .await;
    assert_eq!(ward.cause().await, None);

    // A right that is gone.
    let database = Ident::of(&id).quoted();
    ward.say(
        "postgres",
        format!("REVOKE CONNECT ON DATABASE {database} FROM {database}"),
    )
    .await;
    assert_eq!(ward.cause().await, Some(Cause::TurnedAway));
    ward.say(
        "postgres",
        format!("GRANT CONNECT ON DATABASE {database} TO {database}"),
    )
    .await;
    assert_eq!(ward.cause().await, None);

    // The password is another one, and the registry knows: who holds the former one asks again.
    let next = random_password();
    let sum = literal(&verifier(&next));
    ward.say("postgres", format!("ALTER ROLE {role} PASSWORD {sum}"))
        .await;
    ward.registry
        .passwords
        .lock()
        .insert(id.clone(), next.to_string());
    assert_eq!(ward.verdict(1).await, Some(Ok(Some(6))), "no failure at all");
    // It does not know: nobody's services come in.
    let forgotten = random_password();
    let sum = literal(&verifier(&forgotten));
    ward.say("postgres", format!("ALTER ROLE {role} PASSWORD {sum}"))
        .await;
    let asked = ward.registry.asked.load(Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!(ward.cause().await, Some(Cause::TurnedAway));
    }
    let again = ward.registry.asked.load(Ordering::Relaxed);
    assert_eq!(again, asked + 1, "it is not asked for with each try");
    // A new version is asked for at once.
    ward.registry.passwords.lock().insert(id, forgotten.to_string());
    ward.registry.version.fetch_add(1, Ordering::Relaxed);
    assert_eq!(ward.cause().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_proves_nothing_changes_no_verdict() {
    let mut ward = Ward::new(8).await;
    assert!(matches!(ward.verdict(1).await, Some(Ok(_))));
    let id = ward.a.tenant.id.clone();
    let role = Ident::role(&id, Ending::A).quoted();
    // A step is at work on it.
    ward.say("postgres", format!("ALTER ROLE {role} NOLOGIN")).await;
    ward.registry.touched.lock().insert(id.clone());
    assert!(matches!(ward.verdict(3).await, Some(Ok(_))));
    ward.registry.touched.lock().clear();
    assert!(matches!(ward.verdict(2).await, Some(Err(_))));
    ward.say("postgres", format!("ALTER ROLE {role} LOGIN")).await;
    assert!(matches!(ward.verdict(1).await, Some(Ok(_))));

    // Its own book of versions is locked, gone, or not what it was: that is the tenant's own affair.
    let database = id.to_string();
    let mut holder = ward.bench.host.control(&database).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE _reeve.schema_migrations")
        .execute(&mut holder)
        .await
        .unwrap();
    assert_eq!(
        ward.verdict(1).await,
        Some(Ok(None)),
        "it came in, and could not see"
    );
    holder.close().await.unwrap();
    ward.say(
        &database,
        "UPDATE _reeve.schema_migrations SET number = -7 WHERE number = 6".to_owned(),
    )
    .await;
    assert_eq!(ward.verdict(1).await, Some(Ok(Some(5))));

    // PostgreSQL is away: the instance as a whole is told of elsewhere.
    let before = ward.round().await[0].verdict.clone();
    ward.bench.host.stop().await.unwrap();
    for _ in 0..3 {
        let [a, _] = ward.round().await;
        assert_eq!(a.verdict, before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_fails_is_tried_each_round_and_the_others_have_their_turn() {
    let mut ward = Ward::new(1).await;
    for _ in 0..2 {
        ward.round().await;
    }
    let [a, b] = ward.round().await;
    assert!(a.verdict.is_some() && b.verdict.is_some(), "one a round, in turn");
    let role = Ident::role(&ward.a.tenant.id, Ending::A).quoted();
    ward.say("postgres", format!("ALTER ROLE {role} NOLOGIN")).await;
    // At the latest in the second round it is its turn, and from there in each.
    for _ in 0..3 {
        ward.round().await;
    }
    let [a, b] = ward.round().await;
    assert!(matches!(a.verdict, Some(Err(_))), "{:?}", a.verdict);
    // One that fails is tried in each round; of three rounds the other has one all the same.
    let (mut last, before) = (a.tried, b.tried);
    for _ in 0..2 {
        let [a, _] = ward.round().await;
        assert!(a.tried > last, "it was not tried again");
        last = a.tried;
    }
    let [_, b] = ward.round().await;
    assert!(b.tried > before, "it had no turn");
    // Who is gone is forgotten.
    ward.registry.passwords.lock().remove(&ward.a.tenant.id);
    ward.checker.round(&mut ward.turn).await;
    assert_eq!(ward.checker.board().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_are_the_tenants_own() {
    let mut ward = Ward::new(8).await;
    let held = &ward.a;
    let mut slow = ward
        .bench
        .host
        .as_tenant(&held.tenant.id, Ending::A, &held.login.password)
        .await
        .unwrap();
    let sleeping = tokio::spawn(async move {
        // As long as it takes to be seen; the session ends with the test.
        let _ = sqlx::query("SET statement_timeout = 0").execute(&mut slow).await;
        let _ = sqlx::query("SELECT pg_sleep(60)").execute(&mut slow).await;
    });
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let [a, b] = ward.round().await;
        assert_eq!(
            (b.vitals.connections, b.vitals.slow_statements),
            (0, 0),
            "{:?}",
            b.vitals
        );
        if a.vitals.slow_statements == 1 && a.vitals.oldest_transaction_s >= 5 {
            assert_eq!(a.vitals.connections, 1);
            break;
        }
        assert!(Instant::now() < until, "{:?}", a.vitals);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    sleeping.abort();
}
