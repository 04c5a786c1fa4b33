//! Migrations and seeds: files of the tenant's schema, run by logging in as the tenant's own migration role.
//!
//! A superuser's session never runs any of it: `SET ROLE` is no sandbox, a trigger may `RESET ROLE`.

use std::time::Duration;

use reeve_domain::TenantId;
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection, Row};
use tracing::warn;
use zeroize::Zeroizing;

use super::manifest::{Channel, Script};
use super::{Context, Outcome, Proof, Result_};
use crate::host::ident::{Ending, Ident, literal, tenants_own};
use crate::host::{Error, Host, random_password, verifier};

/// Looks at sessions that were told to end.
const ENDINGS_MAX: u32 = 200;
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Which files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Version,
    Seed,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Version => "version",
            Kind::Seed => "seed",
        }
    }
}

/// Brings the schema to its target version.
pub(super) async fn migrate(context: &Context<'_>) -> Result_ {
    let channel = channel(context)?;
    let target = match context.tenant.target_version {
        0 => channel.versions.len() as u32,
        target if target as usize <= channel.versions.len() => target,
        target => {
            let newest = channel.versions.len();
            return Err(Error::permanent(
                "SCHEMA_FOLDER",
                format!("version {target} is wanted, {newest} is the newest"),
            ));
        }
    };
    let wanted = &channel.versions[..target as usize];
    let ran = run(context, Kind::Version, wanted).await?;
    let mut proof = Proof::of(format!(
        "schema: version {target} of {}, {ran} files applied now",
        context.tenant.channel
    ));
    proof.schema = Some((target, checksum(wanted)));
    Ok(if ran == 0 {
        Outcome::AlreadyTrue(proof)
    } else {
        Outcome::Done(proof)
    })
}

/// Loads the reference data.
pub(super) async fn seed(context: &Context<'_>) -> Result_ {
    let channel = channel(context)?;
    let ran = run(context, Kind::Seed, &channel.seeds).await?;
    let proof = Proof::of(format!("seed: {} files, {ran} applied now", channel.seeds.len()));
    Ok(if ran == 0 {
        Outcome::AlreadyTrue(proof)
    } else {
        Outcome::Done(proof)
    })
}

fn channel(context: &Context<'_>) -> Result<Channel, Error> {
    let name = &context.tenant.channel;
    let Some(folder) = context.schemas.get(name) else {
        return Err(Error::permanent(
            "SCHEMA_FOLDER",
            format!("this agent has no folder for channel {name}"),
        ));
    };
    Channel::read(folder, name)
}

fn checksum(scripts: &[Script]) -> String {
    let mut sum = Sha256::new();
    for script in scripts {
        sum.update(&script.sha256);
    }
    hex::encode(sum.finalize())
}

/// Opens the migration role for this one job, runs what is missing, and closes it again whatever came of it.
async fn run(context: &Context<'_>, kind: Kind, scripts: &[Script]) -> Result<usize, Error> {
    let (host, tenant) = (context.host, &context.tenant.id);
    // A try that was cut off may have left its session and its login.
    close_role(host, tenant).await?;
    let password = open_role(host, tenant).await?;
    let result = async {
        let mut session = host.as_migrator(tenant, &password).await?;
        let ran = apply(&mut session, kind, scripts).await;
        // What the session held is of no use to anyone; how it ends changes nothing.
        let _ = session.close().await;
        ran
    }
    .await;
    match (result, close_role(host, tenant).await) {
        (Ok(ran), Ok(())) => Ok(ran),
        (Ok(_), Err(error)) => Err(error.of("the migration role could not be closed")),
        (Err(error), closed) => {
            if let Err(closing) = closed {
                warn!(%closing, "the migration role could not be closed; its password ends in 15 minutes");
            }
            Err(error)
        }
    }
}

async fn open_role(host: &Host, tenant: &TenantId) -> Result<Zeroizing<String>, Error> {
    let password = random_password();
    let mut session = host.control("postgres").await?;
    let until: String = sqlx::query_scalar("SELECT (now() + interval '15 minutes')::text")
        .fetch_one(&mut session)
        .await?;
    let role = Ident::role(tenant, Ending::Mig).quoted();
    let opened = format!(
        "ALTER ROLE {role} LOGIN PASSWORD {} VALID UNTIL {}",
        literal(&verifier(&password)),
        literal(&until)
    );
    host.in_one_transaction("postgres", &[opened]).await?;
    Ok(password)
}

async fn close_role(host: &Host, tenant: &TenantId) -> Result<(), Error> {
    let role = Ident::role(tenant, Ending::Mig);
    host.in_one_transaction(
        "postgres",
        &[format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", role.quoted())],
    )
    .await?;
    let mut session = host.control("postgres").await?;
    for _ in 0..ENDINGS_MAX {
        let ended = sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1")
            .bind(role.as_str())
            .fetch_all(&mut session)
            .await?;
        if ended.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Error::retry(
        "SESSIONS",
        "a session of the migration role does not end",
    ))
}

/// Applies what is missing, each file in a transaction of its own together with its line in the book.
async fn apply(session: &mut PgConnection, kind: Kind, scripts: &[Script]) -> Result<usize, Error> {
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS _reeve.schema_migrations (kind text, number integer, name text NOT NULL, \
         checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (kind, number))",
    )
    .execute(&mut *session)
    .await?;
    let applied =
        sqlx::query("SELECT number, checksum FROM _reeve.schema_migrations WHERE kind = $1 ORDER BY number")
            .bind(kind.word())
            .fetch_all(&mut *session)
            .await?;
    for (row, expected) in applied.iter().zip(1u32..) {
        let (number, checksum): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
        if number != expected as i32 {
            return Err(Error::permanent(
                "SCHEMA_DRIFT",
                format!("{} {expected} is missing in the database", kind.word()),
            ));
        }
        if scripts
            .get(expected as usize - 1)
            .is_some_and(|script| script.sha256 != checksum)
        {
            let why = format!(
                "{} {expected} was applied with another content than the folder has",
                kind.word()
            );
            return Err(Error::permanent("SCHEMA_DRIFT", why));
        }
    }
    let missing = scripts.get(applied.len()..).unwrap_or_default();
    for script in missing {
        apply_one(session, kind, script)
            .await
            .map_err(|error| error.of(&script.file))?;
    }
    Ok(missing.len())
}

async fn apply_one(session: &mut PgConnection, kind: Kind, script: &Script) -> Result<(), Error> {
    sqlx::raw_sql("BEGIN").execute(&mut *session).await?;
    let begun: i64 = sqlx::query_scalar("SELECT pg_catalog.txid_current()")
        .fetch_one(&mut *session)
        .await?;
    sqlx::raw_sql(tenants_own(script.sql.clone()))
        .execute(&mut *session)
        .await?;
    let now: i64 = sqlx::query_scalar("SELECT pg_catalog.txid_current()")
        .fetch_one(&mut *session)
        .await?;
    if now != begun {
        return Err(Error::permanent(
            "SCHEMA_FOLDER",
            "the file ends its own transaction; take BEGIN and COMMIT out",
        ));
    }
    sqlx::query(
        "INSERT INTO _reeve.schema_migrations (kind, number, name, checksum) VALUES ($1, $2, $3, $4)",
    )
    .bind(kind.word())
    .bind(script.number as i32)
    .bind(&script.name)
    .bind(&script.sha256)
    .execute(&mut *session)
    .await?;
    // What the file set for its session shall not reach the next one; the role comes back with the rest.
    sqlx::raw_sql("COMMIT; RESET ALL").execute(&mut *session).await?;
    Ok(())
}
