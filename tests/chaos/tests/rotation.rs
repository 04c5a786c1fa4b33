//! A tenant's credential changes while its services are at work: nobody notices, whoever is killed on the way, and
//! afterwards exactly one login lets in.

mod held;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use held::{AGENT, Case, Held, PATIENCE, Victim};
use reeve_client::v1::operation::State;
use reeve_client::v1::{
    AcknowledgeCredentialRequest, CancelOperationRequest, GetCredentialRequest, GetCredentialResponse,
    ListCredentialsRequest, Operation, RotateCredentialRequest, step,
};
use reeve_client::{Access, Fleet, Selector};
use reeve_local::tenants;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::task::JoinHandle;

const SLUG: &str = "cho-ray";
const DOMAIN: &str = "cho-ray.example";
const WORKERS: usize = 6;
/// Longer than the test waits: what ends before has been acknowledged.
const GRACE: Duration = Duration::from_secs(600);

/// Services at work: each transaction writes, reads and moves, as pgbench's do.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    workers: Vec<JoinHandle<Result<()>>>,
    service: Fleet,
}

impl Load {
    async fn begin(held: &Held) -> Result<Load> {
        let service = held.fleet.service_client("ehr", &[]).await?;
        service.ready().await?;
        tenants::heard(&service, DOMAIN).await?;
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let workers = (0..WORKERS).map(|_| {
            let (stop, done, service) = (stop.clone(), done.clone(), service.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    // Said where it happens: whoever waits for more of them gives up later.
                    transaction(&service)
                        .await
                        .inspect_err(|error| eprintln!("{error:#}"))?;
                    done.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        });
        Ok(Load {
            workers: workers.collect(),
            stop,
            done,
            service,
        })
    }

    /// Every worker has done some more since.
    async fn goes_on(&self) -> Result<()> {
        let before = self.done.load(Ordering::SeqCst);
        reeve_local::until("transactions to go on", PATIENCE, async || {
            let since = self.done.load(Ordering::SeqCst) - before;
            let failed = self.workers.iter().any(JoinHandle::is_finished);
            Ok((failed || since > 10 * WORKERS as u64).then_some(()))
        })
        .await?;
        ensure!(
            !self.workers.iter().any(JoinHandle::is_finished),
            "a worker has failed"
        );
        Ok(())
    }

    /// How many were done; one that failed fails this.
    async fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        for worker in self.workers {
            worker.await?.context("a transaction failed")?;
        }
        self.service.close().await;
        Ok(self.done.load(Ordering::SeqCst))
    }
}

async fn transaction(service: &Fleet) -> Result<()> {
    let tenant = service
        .resolve(&Selector::domain(DOMAIN)?)
        .await
        .context("resolve")?;
    let pool = service.pool(&tenant, Access::Write).await.context("pool")?;
    let mut transaction = pool.begin().await.context("begin")?;
    sqlx::query(
        "INSERT INTO patient (mrn, family_name, given_name, birth_date, sex) \
         VALUES (upper(left(gen_random_uuid()::text, 30)), 'Nguyen', 'An', '1980-01-01', 'female')",
    )
    .execute(&mut *transaction)
    .await
    .context("insert")?;
    let _: i64 = sqlx::query_scalar("SELECT count(*) FROM (SELECT 1 FROM patient LIMIT 100) AS first")
        .fetch_one(&mut *transaction)
        .await
        .context("select")?;
    tokio::time::sleep(Duration::from_millis(2)).await;
    transaction.commit().await.context("commit")
}

/// A fleet with one tenant.
async fn hospital() -> Result<Held> {
    let held = Held::start().await?;
    let made = held.create(SLUG, "ehr").await?;
    let made = held.ended(&made.id).await?;
    ensure!(made.state() == State::Done, "{made:?}");
    Ok(held)
}

async fn rotate(held: &Held) -> Result<Operation> {
    let order = RotateCredentialRequest {
        request_id: reeve_client::request_id(),
        tenant: SLUG.into(),
        grace: Some(GRACE.try_into()?),
        ..Default::default()
    };
    let answer = held.fleet.api().databases().rotate_credential(order).await?;
    answer.into_inner().operation.context("no operation")
}

/// What a service is given that says at once that it keeps nothing: no change waits for it.
async fn credential(service: &Fleet) -> Result<GetCredentialResponse> {
    let tenant = tenants::heard(service, DOMAIN).await?;
    let asked = GetCredentialRequest {
        tenant_id: tenant.tenant.to_string(),
        ..Default::default()
    };
    let given = service.api().resolver().get_credential(asked).await?.into_inner();
    let kept = AcknowledgeCredentialRequest {
        tenant_id: tenant.tenant.to_string(),
        version: given.version + 1,
        instance: String::new(),
    };
    service.api().resolver().acknowledge_credential(kept).await?;
    Ok(given)
}

/// Whether a password lets in, over TLS.
async fn lets_in(held: &Held, service: &Fleet, credential: &GetCredentialResponse) -> Result<bool> {
    let tenant = tenants::heard(service, DOMAIN).await?;
    let write = tenant.write().cloned().context("nowhere to write")?;
    let options = PgConnectOptions::new_without_pgpass()
        .host(&write.host)
        .port(write.port)
        .database(tenant.database())
        .username(&credential.role)
        .password(&credential.password)
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert_from_pem(tenant.server_ca_pem().as_bytes().to_vec());
    // An answer of any kind first: a database that is away says nothing of passwords.
    held.ask("postgres", "SELECT 1").await?;
    match options.connect().await {
        Ok(session) => Ok(session.close().await.map(|()| true)?),
        Err(sqlx::Error::Database(refused)) => {
            let code = refused.code().unwrap_or_default();
            ensure!(
                ["28P01", "28000"].contains(&code.as_ref()),
                "turned away with {code}"
            );
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// The login in force lets in, is the only one that does, and what was in force before does not.
async fn one_is_left(held: &Held, service: &Fleet, former: Option<&GetCredentialResponse>) -> Result<()> {
    let now = credential(service).await?;
    ensure!(
        lets_in(held, service, &now).await?,
        "what is in force does not let in"
    );
    let tenant = tenants::heard(service, DOMAIN).await?.tenant.clone();
    let usable = format!(
        "SELECT string_agg(rolname, ' ') FROM pg_authid WHERE left(rolname, 14) = '{tenant}' \
         AND (rolcanlogin OR rolpassword IS NOT NULL)"
    );
    ensure!(
        held.ask("postgres", &usable).await? == now.role,
        "{} and others",
        now.role
    );
    let logins = std::fs::read_to_string(held.fleet.dir().join(AGENT).join("agent/doors/logins.json"))?;
    ensure!(logins.matches(tenant.as_str()).count() == 1, "{logins}");
    if let Some(former) = former.filter(|former| former.version != now.version) {
        ensure!(!lets_in(held, service, former).await?, "the former one lets in");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_at_work_follow_each_change_and_not_one_transaction_fails() -> Result<()> {
    let held = hospital().await?;
    let looking = held.fleet.service_client("looking", &[]).await?;
    let load = Load::begin(&held).await?;
    load.goes_on().await?;
    for round in 2..5 {
        let ended = held.ended(&rotate(&held).await?.id).await?;
        ensure!(ended.state() == State::Done, "{ended:?}");
        let drained = ended
            .steps
            .iter()
            .find(|s| s.name == "drain_clients")
            .context("no drain")?;
        // By word of the clients, and not because the grace was over.
        ensure!(
            drained.proof == [format!("clients: nobody holds anything before v{round}")],
            "{:?}",
            drained.proof
        );
        load.goes_on().await?;
        one_is_left(&held, &looking, None).await?;
        let asked = ListCredentialsRequest {
            tenant: SLUG.into(),
            include_clients: true,
            ..Default::default()
        };
        let listed = held
            .fleet
            .api()
            .databases()
            .list_credentials(asked)
            .await?
            .into_inner();
        let shown = listed.credentials.first().context("no credential")?;
        ensure!(shown.version == round && shown.behind_count == 0, "{shown:?}");
        let names = |who: &str| shown.clients.iter().any(|c| c.principal.ends_with(who));
        ensure!(names("/svc/ehr"), "{shown:?}");
    }
    let done = load.end().await?;
    println!("{done} transactions over three changes");
    looking.close().await;
    held.fleet.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_login_lets_in_whoever_dies_around_whichever_step() -> Result<()> {
    let held = hospital().await?;
    let looking = held.fleet.service_client("looking", &[]).await?;
    let forward = Case::all(&["prepare_login", "retire_login"], "forward");
    let (database, others): (Vec<Case>, Vec<Case>) = forward
        .into_iter()
        .partition(|case| case.victim == Victim::Postgres);
    let load = Load::begin(&held).await?;
    for case in others {
        change(&held, &looking, &case)
            .await
            .with_context(|| case.name())?;
        load.goes_on().await.with_context(|| case.name())?;
    }
    for case in Case::all(&["prepare_login"], "undo") {
        if case.victim != Victim::Postgres {
            take_back(&held, &looking, &case)
                .await
                .with_context(|| case.name())?;
            load.goes_on().await.with_context(|| case.name())?;
        }
    }
    println!("{} transactions while agents and leaders died", load.end().await?);
    // A database that is killed fails those who are inside: nobody is.
    for case in database {
        change(&held, &looking, &case)
            .await
            .with_context(|| case.name())?;
    }
    for case in Case::all(&["prepare_login"], "undo") {
        if case.victim == Victim::Postgres {
            take_back(&held, &looking, &case)
                .await
                .with_context(|| case.name())?;
        }
    }
    looking.close().await;
    held.fleet.shutdown().await
}

/// Changes the credential, with a death on the way.
async fn change(held: &Held, looking: &Fleet, case: &Case) -> Result<()> {
    let former = credential(looking).await?;
    held.hold(case)?;
    let operation = rotate(held).await?;
    held.strike(case).await?;
    let ended = held.ended(&operation.id).await?;
    ensure!(ended.state() == State::Done, "{ended:?}");
    let proved = |s: &step::State| *s == step::State::Done;
    ensure!(
        ended.steps.iter().all(|s| proved(&s.state())),
        "{:?}",
        ended.steps
    );
    let now = credential(looking).await?;
    ensure!(
        now.version == former.version + 1,
        "v{} after v{}",
        now.version,
        former.version
    );
    one_is_left(held, looking, Some(&former)).await
}

/// Begins to change it and takes that back, with a death on the way back.
async fn take_back(held: &Held, looking: &Fleet, case: &Case) -> Result<()> {
    let former = credential(looking).await?;
    let forth = Case {
        way: "forward",
        moment: "after",
        ..*case
    };
    held.hold(&forth)?;
    let operation = rotate(held).await?;
    held.is_there().await?;
    let cancel = CancelOperationRequest {
        request_id: reeve_client::request_id(),
        operation: operation.id.clone(),
        reason: "a test".into(),
    };
    held.fleet.api().operations().cancel_operation(cancel).await?;
    held.go_on_to(case)?;
    held.strike(case).await?;
    let ended = held.ended(&operation.id).await?;
    ensure!(ended.state() == State::Undone, "{ended:?}");
    let now = credential(looking).await?;
    ensure!(
        (now.version, &now.password) == (former.version, &former.password),
        "v{}",
        now.version
    );
    one_is_left(held, looking, None).await
}
