//! Hospital A tries to enter hospital B, by SQL and by the API; every try is refused and the refusal shown.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reeve_client::v1::watch_response::Event;
use reeve_client::v1::{
    Claim, ErrorReason, GetCredentialRequest, GetCredentialResponse, GetTenantRequest, ResolveRequest,
    WatchRequest, claim,
};
use reeve_client::{Api, Resolution, join, reason};
use reeve_local::tenants;
use reeve_proto::identity::{Tuning, pinned};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, Connection};
use tokio::process::Command;
use tonic::Status;

use super::Tour;
use super::hospitals::Hospital;
use super::show::say;

const PATIENCE: Duration = Duration::from_secs(10);
/// "Invalid authorization" and "insufficient privilege": refused before, and behind, the door.
const REFUSALS: [&str; 2] = ["28000", "42501"];

impl Tour {
    pub(super) async fn walls(&mut self) -> Result<()> {
        // Of the same region, so that both live in the same PostgreSQL.
        let home = self.hospitals.first().context("no hospital")?.clone();
        let other = self.hospitals.iter().skip(1).find(|h| h.region == home.region);
        let other = other.context("no neighbour in the region")?.clone();
        self.show.stage(&format!(
            "{} tries to enter {}, its neighbour in the same PostgreSQL",
            home.slug, other.slug
        ));
        let scoped = self.fleet.service_client("one-hospital", &[&home.slug]).await?;
        let own = tenants::heard(&scoped, &home.domain).await?;
        let asked = GetCredentialRequest {
            tenant_id: home.tenant.clone(),
            ..Default::default()
        };
        let credential = scoped.api().resolver().get_credential(asked).await?.into_inner();

        let tries = by_sql(&Key::new(&own, &credential)?, &other).await?;
        self.show
            .row("entering by SQL", format!("{tries} tries, {tries} refused"));
        let mut tries = by_api(&scoped.api(), &home, &other).await?;
        tries += self.as_nobody(&other).await?;
        self.show
            .row("entering by the API", format!("{tries} tries, {tries} refused"));
        scoped.close().await;
        Ok(())
    }

    /// Without any certificate.
    async fn as_nobody(&self, other: &Hospital) -> Result<usize> {
        let root = std::fs::read_to_string(self.fleet.admin_files().ca)?;
        let api = Api::over(
            &self.fleet.addresses(),
            &pinned(join::pin_of(&root)?)?,
            &Tuning::default(),
        )?;
        let answer = api.resolver().resolve(ask(other)).await;
        refused(
            "resolve, without a certificate",
            answer,
            &[ErrorReason::Unauthenticated],
        )
    }
}

/// What hospital A really holds: its role, its password, and where its database is.
struct Key {
    options: PgConnectOptions,
    role: String,
    password: String,
    database: String,
    port: u16,
}

impl Key {
    fn new(own: &Resolution, credential: &GetCredentialResponse) -> Result<Key> {
        let host = own.write().context("its own database has no address")?;
        let options = PgConnectOptions::new_without_pgpass()
            .host(&host.host)
            .port(host.port)
            .username(&credential.role)
            .password(&credential.password)
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert_from_pem(own.server_ca_pem().as_bytes().to_vec());
        Ok(Key {
            options,
            role: credential.role.clone(),
            password: credential.password.clone(),
            database: own.database().to_owned(),
            port: host.port,
        })
    }
}

async fn by_sql(key: &Key, other: &Hospital) -> Result<usize> {
    let own = key.options.clone().database(&key.database);
    let mut inside = open(&own).await.context("its own door must open")?;
    let whoami: String = sqlx::query_scalar("SELECT current_user::text")
        .fetch_one(&mut inside)
        .await?;
    say(format!("its own database opens for {whoami}"));

    let mut tries = 0;
    for database in [other.tenant.as_str(), "postgres", "template1"] {
        let opened = open(&key.options.clone().database(database)).await;
        tries += shut(&format!("connect to {}", named(database, other)), opened)?;
    }
    tries += shut(
        "connect without TLS",
        open(&own.clone().ssl_mode(PgSslMode::Disable)).await,
    )?;
    for (what, mode) in [
        ("stream the whole instance", "true"),
        ("stream its own database", "database"),
    ] {
        tries += replicate(key, what, mode).await?;
    }
    for (what, sql) in [
        (
            "become the neighbour's role",
            format!("SET ROLE {}", other.tenant),
        ),
        (
            "read the password table",
            "SELECT rolpassword FROM pg_authid".to_owned(),
        ),
        (
            "run a program on the host",
            "COPY (SELECT 1) TO PROGRAM 'id'".to_owned(),
        ),
        (
            "read a file of the host",
            "SELECT pg_read_file('postgresql.conf')".to_owned(),
        ),
    ] {
        let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut inside).await;
        tries += shut(what, done)?;
    }
    inside.close().await?;
    Ok(tries)
}

async fn open(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let connecting = PgConnection::connect_with(options);
    tokio::time::timeout(PATIENCE, connecting)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// A database's name as the audience knows it.
fn named<'a>(database: &'a str, other: &'a Hospital) -> &'a str {
    if database == other.tenant {
        &other.slug
    } else {
        database
    }
}

/// One try that must have been refused by PostgreSQL itself; anything else is a hole or a broken test.
fn shut<T>(what: &str, tried: Result<T, sqlx::Error>) -> Result<usize> {
    match tried {
        Ok(_) => bail!("{what}: it worked, and must not"),
        Err(sqlx::Error::Database(refusal)) => {
            let code = refusal.code().unwrap_or_default();
            ensure!(REFUSALS.contains(&code.as_ref()), "{what}: {code} {refusal}");
            say(format!("{what:<28} {code}  {}", first_line(refusal.message())));
            Ok(1)
        }
        Err(error) => Err(error).with_context(|| format!("{what}: neither let in nor refused")),
    }
}

/// Replication speaks another dialect at the door; psql knows it.
async fn replicate(key: &Key, what: &str, mode: &str) -> Result<usize> {
    let place = format!(
        "host=127.0.0.1 port={} user={} dbname={} sslmode=require replication={mode}",
        key.port, key.role, key.database
    );
    let mut command = Command::new("psql");
    command
        .args(["-X", "-w", "-c", "IDENTIFY_SYSTEM"])
        .arg(place)
        .env("PGPASSWORD", &key.password);
    let output = command
        .kill_on_drop(true)
        .output()
        .await
        .context("starting psql")?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let is_refused = !output.status.success() && told.contains("FATAL:");
    ensure!(is_refused, "{what}: it was not refused: {told}");
    let reason = told
        .split_once("FATAL:")
        .map_or(told.as_str(), |(_, reason)| reason);
    say(format!("{what:<28} FATAL  {}", first_line(reason)));
    Ok(1)
}

async fn by_api(api: &Api, home: &Hospital, other: &Hospital) -> Result<usize> {
    use ErrorReason::{PermissionDenied, TenantNotFound};
    let mut tries = refused(
        "resolve",
        api.resolver().resolve(ask(other)).await,
        &[TenantNotFound],
    )?;
    let asked = GetCredentialRequest {
        tenant_id: other.tenant.clone(),
        ..Default::default()
    };
    let answer = api.resolver().get_credential(asked).await;
    tries += refused("get its password", answer, &[TenantNotFound, PermissionDenied])?;
    let asked = GetTenantRequest {
        tenant: other.tenant.clone(),
        ..Default::default()
    };
    tries += refused(
        "get its record",
        api.tenants().get_tenant(asked).await,
        &[PermissionDenied, TenantNotFound],
    )?;
    let order = tenants::order("trojan", "trojan.example", &other.region, "ehr");
    tries += refused(
        "onboard a tenant",
        api.tenants().create_tenant(order).await,
        &[PermissionDenied],
    )?;
    let seen = watched(api).await?;
    ensure!(seen == [home.tenant.as_str()], "a watch shows {seen:?}");
    say(format!("{:<28} shows {} alone", "watch everything", home.slug));
    Ok(tries + 1)
}

fn ask(hospital: &Hospital) -> ResolveRequest {
    let claim = Claim {
        kind: claim::Kind::Domain.into(),
        key: hospital.domain.clone(),
    };
    ResolveRequest {
        claim: Some(claim),
        ..Default::default()
    }
}

fn refused<T>(what: &str, answer: Result<T, Status>, allowed: &[ErrorReason]) -> Result<usize> {
    let Err(status) = answer else {
        bail!("{what}: it was answered, and must not be")
    };
    let Some(found) = reason(&status).filter(|found| allowed.contains(found)) else {
        bail!("{what}: refused for another reason: {status}");
    };
    let word = reeve_proto::error::word(found);
    say(format!("{what:<28} {word}  {}", first_line(status.message())));
    Ok(1)
}

/// The tenants of a watch's first listing.
async fn watched(api: &Api) -> Result<Vec<String>> {
    let mut stream = api.resolver().watch(WatchRequest::default()).await?.into_inner();
    let mut seen = Vec::new();
    let listing = async {
        while let Some(message) = stream.message().await? {
            match message.event {
                Some(Event::Initial(resolution)) => seen.push(resolution.tenant_id),
                Some(Event::InitialDone(_)) => return Ok(()),
                _ => {}
            }
        }
        bail!("the listing broke off")
    };
    tokio::time::timeout(PATIENCE, listing)
        .await
        .context("the listing never ended")??;
    Ok(seen)
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default()
}
