//! The probe: in as the tenant over TLS, turned away everywhere else, in again.
//!
//! A refusal counts only between two successes: otherwise a dead door would look like a closed one.

use sqlx::{Connection, PgConnection, Row};

use super::{Context, Outcome, Proof, Result_, reach};
use crate::host::{CANARY, Error, Knock, Said};

/// Refusals by rule or by right.
const REFUSED: [&str; 2] = ["28000", "42501"];

/// Proves the doors from outside.
pub(super) async fn probe(context: &Context<'_>) -> Result_ {
    let mut proof = Proof::default();
    proof.lines.push(inside(context).await?);
    proof.lines.push(reach(context).await?);
    let settings = context.host.settings();
    let own = || Knock::at(settings, &context.tenant.id);
    let mut tries = vec![
        (
            "database postgres",
            Knock {
                database: "postgres".to_owned(),
                ..own()
            },
        ),
        (
            "database template1",
            Knock {
                database: "template1".to_owned(),
                ..own()
            },
        ),
        (
            "the canary's database",
            Knock {
                database: CANARY.to_owned(),
                ..own()
            },
        ),
        (
            "a database that is not there",
            Knock {
                database: "t_000000000000".to_owned(),
                ..own()
            },
        ),
        ("without TLS", Knock { tls: false, ..own() }),
        (
            "physical replication",
            Knock {
                replication: Some("true"),
                ..own()
            },
        ),
        (
            "as the superuser",
            Knock {
                user: "ctl_agent".to_owned(),
                ..own()
            },
        ),
        (
            "as the migration role",
            Knock {
                user: format!("{}_mig", context.tenant.id),
                ..own()
            },
        ),
    ];
    if let Some(other) = neighbour(context).await? {
        tries.push((
            "another tenant's database",
            Knock {
                database: other,
                ..own()
            },
        ));
    }
    for (what, knock) in tries {
        match knock.go().await? {
            Said::Refused(code) if REFUSED.contains(&code.as_str()) => {
                proof.lines.push(format!("refused ({code}): {what}"));
            }
            Said::Refused(code) => {
                return Err(Error::retry(
                    "INCONCLUSIVE",
                    format!("{what}: turned away with {code}, which proves nothing"),
                ));
            }
            Said::AsksForPassword | Said::LetIn => {
                return Err(Error::permanent("LEAK", format!("{what}: the door is open")));
            }
        }
    }
    proof.lines.push(inside(context).await?);
    Ok(Outcome::Done(proof))
}

/// From inside nothing leads out.
async fn reach(context: &Context<'_>) -> Result<String, Error> {
    let mut session = login(context).await?;
    let refused = reach::try_all(&mut session, context.tenant.id.as_str()).await?;
    let _ = session.close().await;
    Ok(format!("refused (42501): {refused} ways out from inside"))
}

/// In as the tenant, with the login that is in use.
async fn login(context: &Context<'_>) -> Result<PgConnection, Error> {
    let login = context.login()?;
    let (tenant, ending) = (&context.tenant.id, login.slot.ending());
    context.host.as_tenant(tenant, ending, &login.password).await
}

/// The positive control: the tenant's login works, over TLS, as itself, in its own database.
async fn inside(context: &Context<'_>) -> Result<String, Error> {
    let tenant = context.tenant;
    let mut session = login(context).await?;
    let row = sqlx::query(
        "SELECT current_database()::text, (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), \
         (SELECT version::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()), \
         (SELECT bool_or(rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls) \
          FROM pg_roles WHERE rolname IN (current_user, session_user))",
    )
    .fetch_one(&mut session)
    .await?;
    let (database, ssl, version): (String, bool, Option<String>) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let mighty: bool = row.try_get(3)?;
    // The answer is here; how the session ends changes nothing.
    let _ = session.close().await;
    if database != tenant.id.as_str() || !ssl || mighty {
        return Err(Error::permanent(
            "LEAK",
            "the tenant's login is elsewhere, without TLS, or may too much",
        ));
    }
    Ok(format!("in as the tenant over {}", version.unwrap_or_default()))
}

async fn neighbour(context: &Context<'_>) -> Result<Option<String>, Error> {
    let mut session = context.host.control("postgres").await?;
    let found: Option<String> = sqlx::query_scalar(
        "SELECT datname::text FROM pg_database WHERE datname ~ '^t_[0-9a-f]{12}$' AND datname <> $1 ORDER BY 1 LIMIT 1",
    )
    .bind(context.tenant.id.to_string())
    .fetch_optional(&mut session)
    .await?;
    Ok(found)
}
