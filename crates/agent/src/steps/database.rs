//! The tenant's database: closed to everyone before any code of the tenant's is in it.

use reeve_domain::TenantId;

use super::{Context, Outcome, Proof, Result_};
use crate::host::ident::{Ending, Ident, literal};
use crate::host::{Error, Host, Statement};

const READY: &str = "reeve database, closed to all but its tenant";

/// Makes the database, takes everything from PUBLIC, and grants the tenant what it needs.
pub(super) async fn create(context: &Context<'_>) -> Result_ {
    let (host, tenant) = (context.host, context.tenant);
    if comment(host, &tenant.id).await?.as_deref() == Some(READY) {
        return Ok(Outcome::AlreadyTrue(Proof::of(
            "database: there, and closed to PUBLIC",
        )));
    }
    let database = Ident::of(&tenant.id);
    let name = database.quoted();
    if !exists(host, &tenant.id).await? {
        // A few more than both logins together, for migrations and for looking after it.
        let limit = tenant.connection_limit * 2 + 5;
        host.alone(format!(
            "CREATE DATABASE {name} OWNER ctl_owner TEMPLATE template0 ENCODING 'UTF8' CONNECTION LIMIT {limit}"
        ))
        .await
        .map_err(|error| match error.code() {
            // An abandoned try may still be making it: the next one finds it there.
            "23505" => Error::retry("23505", "another session is making the database"),
            _ => error,
        })?;
    }
    host.in_one_transaction("postgres", &outside(&tenant.id)).await?;
    host.in_one_transaction(database.as_str(), &inside(&tenant.id))
        .await?;
    host.alone(format!("COMMENT ON DATABASE {name} IS {}", literal(READY)))
        .await?;
    Ok(Outcome::Done(Proof::of(
        "database: made, closed to PUBLIC, default privileges set",
    )))
}

/// What is granted on the database itself.
fn outside(tenant: &TenantId) -> Vec<Statement> {
    let database = Ident::of(tenant).quoted();
    let ddl = Ident::role(tenant, Ending::Ddl).quoted();
    vec![
        format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"),
        format!("GRANT CONNECT ON DATABASE {database} TO {database}"),
        format!("GRANT CREATE, TEMPORARY ON DATABASE {database} TO {ddl}"),
    ]
}

/// What is granted inside, for objects to come.
fn inside(tenant: &TenantId) -> Vec<Statement> {
    let group = Ident::of(tenant).quoted();
    let ddl = Ident::role(tenant, Ending::Ddl).quoted();
    let default = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {ddl}");
    vec![
        format!("ALTER SCHEMA public OWNER TO {ddl}"),
        "REVOKE ALL ON SCHEMA public FROM PUBLIC".to_owned(),
        format!("GRANT USAGE ON SCHEMA public TO {group}"),
        format!("{default} IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {group}"),
        format!("{default} IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {group}"),
        // This one must be global: taken away per schema it has no effect.
        format!("{default} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"),
        format!("{default} IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO {group}"),
        "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC".to_owned(),
        format!("GRANT USAGE ON LANGUAGE plpgsql TO {ddl}"),
        "REVOKE EXECUTE ON FUNCTION lo_create(oid), lo_creat(integer), lo_from_bytea(oid, bytea) FROM PUBLIC"
            .to_owned(),
        format!("CREATE SCHEMA IF NOT EXISTS _reeve AUTHORIZATION {ddl}"),
        // So that whoever comes in may see which version it meets.
        format!("GRANT USAGE ON SCHEMA _reeve TO {group}"),
        format!("{default} IN SCHEMA _reeve GRANT SELECT ON TABLES TO {group}"),
    ]
}

/// Drops the database, whoever is connected to it.
pub(super) async fn drop(context: &Context<'_>) -> Result_ {
    let (host, tenant) = (context.host, context.tenant);
    if !exists(host, &tenant.id).await? {
        return Ok(Outcome::AlreadyTrue(Proof::of("database: not there")));
    }
    host.alone(format!(
        "DROP DATABASE IF EXISTS {} WITH (FORCE)",
        Ident::of(&tenant.id).quoted()
    ))
    .await?;
    match exists(host, &tenant.id).await? {
        false => Ok(Outcome::Done(Proof::of("database: dropped"))),
        true => Err(Error::retry("DATABASE", "the database is still there")),
    }
}

/// Whether the database is there.
pub(super) async fn exists(host: &Host, tenant: &TenantId) -> Result<bool, Error> {
    let mut session = host.control("postgres").await?;
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
        .bind(tenant.to_string())
        .fetch_one(&mut session)
        .await?;
    Ok(found == 1)
}

async fn comment(host: &Host, tenant: &TenantId) -> Result<Option<String>, Error> {
    let mut session = host.control("postgres").await?;
    let found: Option<Option<String>> = sqlx::query_scalar(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1",
    )
    .bind(tenant.to_string())
    .fetch_optional(&mut session)
    .await?;
    Ok(found.flatten())
}
