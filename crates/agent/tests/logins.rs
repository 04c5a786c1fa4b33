//! A tenant's password changes on a real PostgreSQL: at every moment exactly the logins that should let in do, whatever
//! the tenant does about it.

mod bench;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bench::{Bench, Case, FORWARD};
use reeve_agent::host::ident::{Ending, Ident};
use reeve_agent::host::{Host, random_password};
use reeve_agent::steps::{Login, Outcome, Slot, undo};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A tenant with its doors open.
async fn onboarded(bench: &Bench) -> Case {
    let case = Case::new(bench, "ehr");
    for step in FORWARD {
        case.forward(step).await.unwrap();
    }
    case
}

fn next(case: &Case) -> Login {
    Login {
        slot: case.tenant.active_slot.other(),
        password: random_password(),
    }
}

/// Prepares the other login; it is what the case has now, the former one is given back.
async fn prepare(case: &mut Case) -> Login {
    let next = next(case);
    let former = std::mem::replace(&mut case.login, next);
    case.forward("prepare_login").await.unwrap();
    former
}

/// The registry publishes what was prepared.
fn publish(case: &mut Case) {
    case.tenant.active_slot = case.login.slot;
    case.tenant.credential_version += 1;
}

async fn log_in(case: &Case, login: &Login) -> Result<PgConnection, reeve_agent::host::Error> {
    case.host
        .as_tenant(&case.tenant.id, login.slot.ending(), &login.password)
        .await
}

async fn lets_in(case: &Case, login: &Login) -> bool {
    log_in(case, login).await.is_ok()
}

/// Which of the two logins can log in or have a password.
async fn usable(host: &Host, case: &Case) -> Vec<Slot> {
    let mut session = host.control("postgres").await.unwrap();
    let mut usable = Vec::new();
    for slot in [Slot::A, Slot::B] {
        let is: bool = sqlx::query_scalar(
            "SELECT rolcanlogin OR rolpassword IS NOT NULL FROM pg_authid WHERE rolname = $1",
        )
        .bind(Ident::role(&case.tenant.id, slot.ending()).as_str())
        .fetch_one(&mut session)
        .await
        .unwrap();
        usable.extend(is.then_some(slot));
    }
    usable
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logins_alternate_and_each_lets_in_for_as_long_as_it_should() {
    let bench = Bench::new().await;
    let mut case = onboarded(&bench).await;
    for _ in 0..3 {
        let former = prepare(&mut case).await;
        assert!(lets_in(&case, &former).await && lets_in(&case, &case.login).await);
        case.forward("audit").await.unwrap();
        let mut inside = log_in(&case, &former).await.unwrap();
        // Said again after a crash, it is true already.
        let again = case.forward("prepare_login").await.unwrap();
        assert!(matches!(again, Outcome::AlreadyTrue(_)), "{again:?}");

        publish(&mut case);
        let Outcome::Done(proof) = case.forward("retire_login").await.unwrap() else {
            panic!("the former login could log in")
        };
        assert!(proof.lines[0].contains("is the only one"), "{proof:?}");
        assert!(
            sqlx::query("SELECT 1").execute(&mut inside).await.is_err(),
            "it goes on"
        );
        assert!(!lets_in(&case, &former).await && lets_in(&case, &case.login).await);
        assert_eq!(usable(&bench.host, &case).await, [case.login.slot]);
        let again = case.forward("retire_login").await.unwrap();
        assert!(matches!(again, Outcome::AlreadyTrue(_)), "{again:?}");
        case.forward("audit").await.unwrap();
        case.forward("probe").await.unwrap();
    }
    case.undo_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_leaves_the_login_in_use_and_no_other() {
    let bench = Bench::new().await;
    let mut case = onboarded(&bench).await;
    let former = prepare(&mut case).await;
    let mut early = log_in(&case, &case.login).await.unwrap();
    undo("prepare_login", &case.context()).await.unwrap();
    assert!(lets_in(&case, &former).await && !lets_in(&case, &case.login).await);
    assert!(sqlx::query("SELECT 1").execute(&mut early).await.is_err());
    assert_eq!(usable(&bench.host, &case).await, [Slot::A]);
    // Nothing was there to take back: a step that never came to its goal.
    undo("prepare_login", &case.context()).await.unwrap();

    // Another password after one that was taken back, and over one that was left half done.
    case.login = next(&case);
    case.forward("prepare_login").await.unwrap();
    let newer = next(&case);
    let abandoned = std::mem::replace(&mut case.login, newer);
    case.forward("prepare_login").await.unwrap();
    assert!(!lets_in(&case, &abandoned).await && lets_in(&case, &case.login).await);
    case.login.slot = case.tenant.active_slot;
    let refused = case.forward("prepare_login").await.unwrap_err();
    assert!(refused.is_permanent(), "the login in use was prepared: {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_login_kept_from_its_last_time_in_use_is_gone_the_next_time() {
    let bench = Bench::new().await;
    let mut case = onboarded(&bench).await;
    let mut session = log_in(&case, &case.login).await.unwrap();
    for said in [
        "ALTER ROLE CURRENT_USER SET default_transaction_read_only = on",
        "ALTER ROLE CURRENT_USER SET statement_timeout = '1ms'",
    ] {
        sqlx::query(said).execute(&mut session).await.unwrap();
    }
    for _ in 0..2 {
        prepare(&mut case).await;
        publish(&mut case);
        case.forward("retire_login").await.unwrap();
    }
    assert_eq!(case.login.slot, Slot::A);
    let mut control = bench.host.control("postgres").await.unwrap();
    let kept: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole WHERE r.rolname = $1",
    )
    .bind(Ident::role(&case.tenant.id, Ending::A).as_str())
    .fetch_one(&mut control)
    .await
    .unwrap();
    assert_eq!(kept, 0);
}

/// Comes back with the former password as fast as it can, and holds its own row each time.
async fn hold_on(case: Arc<(Case, Login)>, stop: Arc<AtomicBool>, held: Arc<AtomicU64>) {
    while !stop.load(Ordering::SeqCst) {
        let (case, former) = &*case;
        let Ok(mut session) = log_in(case, former).await else {
            continue;
        };
        let mut say = async |said: &'static str| sqlx::query(said).execute(&mut session).await.is_ok();
        if say("BEGIN").await && say("ALTER ROLE CURRENT_USER SET work_mem = '5MB'").await {
            held.fetch_add(1, Ordering::SeqCst);
            say("SELECT pg_sleep(3600)").await;
        }
    }
}

/// The former login is retired whatever these do about it; then they are told to stop.
async fn retires_all_the_same(
    bench: &Bench,
    shared: &(Case, Login),
    stop: &AtomicBool,
    against: Vec<tokio::task::JoinHandle<()>>,
) {
    let (case, former) = shared;
    let retired = tokio::time::timeout(PATIENCE, case.forward("retire_login")).await;
    retired.expect("it was held up for ever").unwrap();
    assert!(!lets_in(case, former).await && lets_in(case, &case.login).await);
    assert_eq!(usable(&bench.host, case).await, [Slot::B]);
    stop.store(true, Ordering::SeqCst);
    for one in against {
        one.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_holds_its_own_row_and_comes_back_cannot_stop_it() {
    let bench = Bench::new().await;
    let mut case = onboarded(&bench).await;
    let former = prepare(&mut case).await;
    publish(&mut case);
    let mut sleeper = log_in(&case, &former).await.unwrap();
    let mut transaction = sleeper.begin().await.unwrap();
    sqlx::query("ALTER ROLE CURRENT_USER PASSWORD 'mine'")
        .execute(&mut *transaction)
        .await
        .unwrap();

    let (stop, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let shared = Arc::new((case, former));
    let holders: Vec<_> = (0..3)
        .map(|_| tokio::spawn(hold_on(shared.clone(), stop.clone(), held.clone())))
        .collect();
    retires_all_the_same(&bench, &shared, &stop, holders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_behind_the_password_does_not_come_in_later() {
    let bench = Bench::new().await;
    let mut case = onboarded(&bench).await;
    let former = prepare(&mut case).await;
    publish(&mut case);
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(bench.settings.port)
        .username(Ident::role(&case.tenant.id, former.slot.ending()).as_str())
        .password(&former.password)
        .database(case.tenant.id.as_str())
        // Past the password and the look at the login, and nowhere to be seen.
        .options([("post_auth_delay", "600")])
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert(&bench.settings.tls.ca);
    // Being woken it may greet, and must not get an answer.
    let waiting = tokio::spawn(async move {
        let mut session = options.connect().await?;
        sqlx::query("SELECT 1").execute(&mut session).await.map(drop)
    });
    let mut control = bench.host.control("postgres").await.unwrap();
    let starting = "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_database'::regclass \
                    AND objid = (SELECT oid FROM pg_database WHERE datname = $1)";
    loop {
        let there: i64 = sqlx::query_scalar(starting)
            .bind(case.tenant.id.as_str())
            .fetch_one(&mut control)
            .await
            .unwrap();
        if there > 0 {
            break;
        }
        assert!(!waiting.is_finished(), "it does not wait");
        tokio::task::yield_now().await;
    }
    case.forward("retire_login").await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(ended.expect("it waits still").unwrap().is_err(), "it came in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_its_holder_has_altered_is_given_again_before_the_former_login_goes() {
    let bench = Bench::new().await;
    let mut case = onboarded(&bench).await;
    let former = prepare(&mut case).await;
    publish(&mut case);
    let mut session = log_in(&case, &case.login).await.unwrap();
    sqlx::query("ALTER ROLE CURRENT_USER PASSWORD 'mine'")
        .execute(&mut session)
        .await
        .unwrap();
    assert!(!lets_in(&case, &case.login).await);
    case.forward("retire_login").await.unwrap();
    assert!(lets_in(&case, &case.login).await && !lets_in(&case, &former).await);
    case.forward("audit").await.unwrap();
}

/// Alters its own password in commands of their own, as fast as it can.
async fn alter_on(case: Arc<(Case, Login)>, stop: Arc<AtomicBool>) {
    let (case, former) = &*case;
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut session) = log_in(case, former).await else {
            continue;
        };
        while sqlx::query("ALTER ROLE CURRENT_USER SET work_mem = '5MB'")
            .execute(&mut session)
            .await
            .is_ok()
            && sqlx::raw_sql(AssertSqlSafe(format!(
                "ALTER ROLE CURRENT_USER PASSWORD '{}'",
                former.password.as_str()
            )))
            .execute(&mut session)
            .await
            .is_ok()
        {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_alters_its_own_row_all_the_time_cannot_stop_it() {
    let bench = Bench::new().await;
    let mut case = onboarded(&bench).await;
    let former = prepare(&mut case).await;
    publish(&mut case);
    let (stop, shared) = (Arc::new(AtomicBool::new(false)), Arc::new((case, former)));
    let alterers: Vec<_> = (0..3)
        .map(|_| tokio::spawn(alter_on(shared.clone(), stop.clone())))
        .collect();
    retires_all_the_same(&bench, &shared, &stop, alterers).await;
}
