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
use sqlx::{Connection, PgConnection};

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
    let (case, former) = &*shared;
    let retired = tokio::time::timeout(PATIENCE, case.forward("retire_login")).await;
    retired.expect("it was held up for ever").unwrap();
    assert!(!lets_in(case, former).await && lets_in(case, &case.login).await);
    assert_eq!(usable(&bench.host, case).await, [Slot::B]);
    stop.store(true, Ordering::SeqCst);
    for holder in holders {
        holder.await.unwrap();
    }
}
