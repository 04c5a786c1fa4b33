//! A caller may be cancelled at any await: nothing of it reaches the next, and nothing that it held is lost.
//!
//! ```text
//! k = 0, 1, 2, …: begin something, poll it k times, drop it ─► every tenant's next session is its own, and as new
//! ```

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::future::{BoxFuture, try_join_all};
use reeve_client::{Access, Error, Fleet, Limits, Selector, v1::Role, v1::operation};
use reeve_local::{examples_dir, tenants};
use sqlx::{Acquire, Executor, PgConnection, PgPool, Row, postgres::PgListener};

const HOSPITALS: [&str; 3] = ["cho-ray", "bach-mai", "viet-duc"];
const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing has so many awaits; what never ends would never be done.
const POLLS_MAX: usize = 10_000;
const LOCK: i64 = 4711;

/// Polls a future `times` times at most, and drops it: None when it had not ended.
async fn cancelled_after<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            // The last poll was the last: it hears of nothing any more.
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn domain(hospital: &str) -> String {
    format!("{hospital}.example")
}

async fn onboard(fleet: &reeve_local::Fleet, hospital: &str) -> Result<()> {
    let order = tenants::order(hospital, &domain(hospital), "vn", "ehr");
    let operation = tenants::create(fleet.api(), order).await?;
    let ended = tenants::ended(fleet.api(), &operation.id, PATIENCE).await?;
    ensure!(ended.state() == operation::State::Done, "{hospital}: {ended:?}");
    Ok(())
}

async fn service(fleet: &reeve_local::Fleet, limits: Limits, watch: bool) -> Result<Fleet> {
    let name = format!("ehr-{}-{watch}", limits.connections_max);
    let service = Fleet::builder()
        .nodes(fleet.addresses())
        .credentials(fleet.enroll(Role::Service, &name, &[]).await?)
        .limits(limits)
        .watch(watch)
        .build()?;
    Ok(service)
}

async fn pool(service: &Fleet, hospital: &str) -> Result<PgPool> {
    let tenant = service.resolve(&Selector::domain(&domain(hospital))?).await?;
    Ok(service.pool(&tenant, Access::Write).await?)
}

/// What a session says of itself; one that is as new says the same each time.
const LOOK: &str = "SELECT current_database()::text || ' ' || current_user || ' ' || session_user, \
    (SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings WHERE source IN ('session', 'client')), \
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
    (SELECT count(*) FROM pg_listening_channels()), \
    (SELECT count(*) FROM pg_prepared_statements WHERE from_sql), \
    (SELECT count(*) FROM pg_cursors WHERE is_holdable), \
    (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND pg_table_is_visible(oid)), \
    (SELECT string_agg(DISTINCT family_name, ',') FROM patient), \
    now() = statement_timestamp()";

#[derive(Debug, PartialEq)]
struct Look {
    who: String,
    settings: String,
    /// Locks, channels, prepared statements, cursors and temporary tables.
    left_behind: [i64; 5],
    patients: String,
    /// Outside of a transaction a statement is its own.
    is_alone: bool,
}

async fn look(session: &mut PgConnection) -> Result<Look> {
    let row = session.fetch_one(LOOK).await?;
    Ok(Look {
        who: row.try_get(0)?,
        settings: row.try_get::<Option<String>, _>(1)?.unwrap_or_default(),
        left_behind: [2, 3, 4, 5, 6].map(|column| row.get(column)),
        patients: row.try_get::<Option<String>, _>(7)?.unwrap_or_default(),
        is_alone: row.try_get(8)?,
    })
}

/// The next session of each tenant; that there is one says that none was lost.
async fn looks(service: &Fleet) -> Result<Vec<Look>> {
    let mut all = Vec::new();
    for hospital in HOSPITALS {
        let pool = pool(service, hospital)
            .await
            .with_context(|| hospital.to_owned())?;
        let mut session = pool.acquire().await.context("no session is left")?;
        all.push(look(&mut session).await?);
    }
    Ok(all)
}

/// Something a caller does, and what it leaves behind when it is dropped on the way.
type Scenario = (&'static str, fn(PgPool) -> BoxFuture<'static, Result<()>>);

macro_rules! scenario {
    ($what:literal, $pool:ident => $body:block) => {
        ($what, |$pool| {
            Box::pin(async move {
                $body
                Ok(())
            })
        })
    };
}

const SCENARIOS: [Scenario; 8] = [
    scenario!("a statement", pool => {
        sqlx::query("SELECT family_name FROM patient").fetch_all(&pool).await?;
    }),
    scenario!("settings of a session", pool => {
        let mut session = pool.acquire().await?;
        session.execute("SET search_path = pg_catalog").await?;
        session.execute("SET statement_timeout = '77s'; SET TIME ZONE 'Asia/Ho_Chi_Minh'").await?;
        session.execute("SELECT set_config('reeve.person', 'dr-lan', false)").await?;
        sqlx::query("SELECT 1").execute(&mut *session).await?;
    }),
    scenario!("a transaction", pool => {
        let mut transaction = pool.begin().await?;
        transaction.execute("SET LOCAL statement_timeout = '77s'").await?;
        transaction.execute("UPDATE patient SET family_name = 'NOBODY'").await?;
        let mut inner = transaction.begin().await?;
        inner.execute("SELECT pg_advisory_xact_lock(4711)").await?;
        inner.rollback().await?;
        transaction.rollback().await?;
    }),
    scenario!("a transaction that sqlx knows nothing of", pool => {
        let mut session = pool.acquire().await?;
        session.execute("BEGIN").await?;
        session.execute("UPDATE patient SET family_name = 'NOBODY'").await?;
        session.execute("SELECT pg_advisory_lock(4711)").await?;
        session.execute("SELECT 1/0").await.err();
    }),
    scenario!("locks and channels", pool => {
        let mut session = pool.acquire().await?;
        sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut *session).await?;
        session.execute("LISTEN admissions").await?;
        sqlx::query("SELECT pg_advisory_lock_shared($1)").bind(LOCK + 1).execute(&mut *session).await?;
    }),
    scenario!("statements, cursors and tables of a session", pool => {
        let mut session = pool.acquire().await?;
        session.execute("PREPARE everybody AS SELECT * FROM patient").await?;
        session.execute("DECLARE held CURSOR WITH HOLD FOR SELECT * FROM patient").await?;
        session.execute("CREATE TEMPORARY TABLE patient AS SELECT 'NOBODY'::text AS family_name").await?;
        session.execute("SELECT count(*) FROM pg_temp.patient").await?;
    }),
    scenario!("a listener", pool => {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen_all(["admissions", "discharges"]).await?;
        listener.unlisten("discharges").await?;
    }),
    scenario!("rows that are still on their way", pool => {
        use futures::TryStreamExt;
        let mut session = pool.acquire().await?;
        let mut rows = session.fetch("SELECT repeat('x', 1000) FROM generate_series(1, 2000)");
        while rows.try_next().await?.is_some() {}
    }),
];

/// A fleet with three hospitals, each of which has one patient, called as it is.
async fn hospitals() -> Result<reeve_local::Fleet> {
    let fleet = reeve_local::Fleet::builder()
        .nodes(1)
        .regions(["vn"])
        .schema("ehr", examples_dir()?.join("ehr"))
        .start()
        .await?;
    try_join_all(HOSPITALS.map(|hospital| onboard(&fleet, hospital))).await?;
    let limits = Limits::default();
    let service = service(&fleet, limits, true).await?;
    for hospital in HOSPITALS {
        tenants::heard(&service, &domain(hospital)).await?;
        let pool = pool(&service, hospital).await?;
        sqlx::query(
            "INSERT INTO patient (mrn, family_name, given_name, birth_date, sex) \
             VALUES ('M-1', $1, 'An', '1980-01-01', 'female')",
        )
        .bind(hospital)
        .execute(&pool)
        .await?;
        // A service may not, unless somebody lets it; where it may, nothing must stay.
        let database = pool
            .connect_options()
            .get_database()
            .unwrap_or_default()
            .to_owned();
        let agent = fleet.agents().first().context("no agent")?;
        agent
            .postgres()
            .ask(
                "postgres",
                &format!("GRANT TEMPORARY ON DATABASE {database} TO PUBLIC"),
            )
            .await?;
    }
    service.close().await;
    Ok(fleet)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_cancelled_leaves_nothing_behind_and_takes_nothing_along() -> Result<()> {
    let fleet = hospitals().await?;
    nothing_is_left_in_a_session(&fleet).await?;
    nothing_of_the_budget_is_lost(&fleet).await?;
    nobody_waits_for_a_question_that_was_given_up(&fleet).await?;
    fleet.shutdown().await
}

/// One connection for each tenant: the next caller gets the very one that was left.
async fn nothing_is_left_in_a_session(fleet: &reeve_local::Fleet) -> Result<()> {
    let limits = Limits {
        connections_max: HOSPITALS.len() as u32,
        connections_per_pool_max: 1,
        ..Limits::default()
    };
    let service = service(fleet, limits, true).await?;
    service.ready().await?;
    let as_new = looks(&service).await?;
    for (hospital, look) in HOSPITALS.iter().zip(&as_new) {
        ensure!(look.patients == *hospital && look.is_alone, "{look:?}");
        ensure!(look.left_behind == [0; 5], "{look:?}");
    }
    for (what, scenario) in SCENARIOS {
        let mut ended = false;
        let mut polls = 0;
        while !ended {
            for hospital in HOSPITALS {
                let pool = pool(&service, hospital).await?;
                let outcome = cancelled_after(polls, scenario(pool)).await;
                ended = match outcome {
                    Some(outcome) => outcome.map(|()| true).with_context(|| what.to_owned())?,
                    None => false,
                };
                let now = looks(&service)
                    .await
                    .with_context(|| format!("{what}, {polls} polls"))?;
                for (now, as_new) in now.iter().zip(&as_new) {
                    ensure!(
                        now == as_new,
                        "{what}, {polls} polls at {hospital}:\n{now:#?}\n{as_new:#?}"
                    );
                }
            }
            polls += 1;
            ensure!(polls < POLLS_MAX, "{what} never ends");
        }
        eprintln!("{what}: cancelled after each of {polls} polls");
        ensure!(polls > 2, "{what} was never cancelled on its way");
    }
    service.close().await;
    Ok(())
}

/// Room for two pools, and three tenants that take turns: each finds the room that another has left.
async fn nothing_of_the_budget_is_lost(fleet: &reeve_local::Fleet) -> Result<()> {
    let limits = Limits {
        connections_max: 2,
        connections_per_pool_max: 1,
        ..Limits::default()
    };
    let service = service(fleet, limits, true).await?;
    service.ready().await?;
    let mut polls = 0;
    let mut ended = 0;
    while ended < HOSPITALS.len() {
        ended = 0;
        for hospital in HOSPITALS {
            let coming_in = async {
                let pool = pool(&service, hospital).await?;
                let mut session = pool.acquire().await?;
                look(&mut session).await
            };
            if let Some(outcome) = cancelled_after(polls, coming_in).await {
                ensure!(outcome?.patients == hospital, "another hospital's patients");
                ended += 1;
            }
        }
        // Two at once: all of the budget is there.
        let (one, two) = (HOSPITALS[polls % 3], HOSPITALS[(polls + 1) % 3]);
        let whole = async {
            let (one, two) = (pool(&service, one).await?, pool(&service, two).await?);
            let _both = (one.acquire().await?, two.acquire().await?);
            anyhow::Ok(())
        };
        whole
            .await
            .with_context(|| format!("the budget is not whole after {polls} polls"))?;
        // Proving a password steps aside hundreds of times, and is the same each time.
        polls += 1 + polls / 8;
        ensure!(polls < POLLS_MAX, "coming in never ends");
    }
    eprintln!("coming in: cancelled after up to {polls} polls");
    ensure!(polls > 2, "nobody was ever cancelled on the way in");
    service.close().await;
    Ok(())
}

/// More are given up than may be under way at once.
async fn nobody_waits_for_a_question_that_was_given_up(fleet: &reeve_local::Fleet) -> Result<()> {
    let service = service(fleet, Limits::default(), false).await?;
    let mut given_up = 0;
    let mut polls = 0;
    while given_up < 100 {
        let name = format!("nobody-{given_up}-{polls}.example");
        let outcome = cancelled_after(polls, service.resolve(&Selector::domain(&name)?)).await;
        match outcome {
            None => (given_up, polls) = (given_up + 1, polls + 1),
            Some(outcome) => {
                ensure!(matches!(outcome, Err(Error::Unknown(_))), "{outcome:?}");
                polls = 0;
            }
        }
        // The same name again: whoever went before has left its turn.
        let again = service.resolve(&Selector::domain(&name)?).await;
        ensure!(matches!(again, Err(Error::Unknown(_))), "{again:?}");
    }
    for hospital in HOSPITALS {
        service.resolve(&Selector::domain(&domain(hospital))?).await?;
    }
    Ok(())
}
