//! The tenant's roles: a group, an owner of objects, two alternating logins, a one-job migration role.

use reeve_domain::TenantId;
use sqlx::Row;

use super::{Context, Outcome, Proof, Result_};
use crate::host::ident::{Ending, Ident, literal};
use crate::host::{Error, Host, Statement, verifier};

const PLAIN: &str = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS";

/// Makes the roles in one transaction, with verifiers instead of passwords.
pub(super) async fn create(context: &Context<'_>) -> Result_ {
    let (host, tenant) = (context.host, context.tenant);
    let mark = mark(tenant.credential_version);
    if is_marked(host, &tenant.id, &mark).await? {
        return Ok(Outcome::AlreadyTrue(Proof::of("roles: all five are there")));
    }
    let login = context.login()?;
    let group = Ident::of(&tenant.id).quoted();
    let role = |ending| Ident::role(&tenant.id, ending).quoted();
    let (ddl, a, b, mig) = (
        role(Ending::Ddl),
        role(Ending::A),
        role(Ending::B),
        role(Ending::Mig),
    );
    let limit = tenant.connection_limit;

    let mut statements = vec![
        format!("CREATE ROLE {group} NOLOGIN {PLAIN}"),
        format!("CREATE ROLE {ddl} NOLOGIN {PLAIN}"),
        format!("CREATE ROLE {a} NOLOGIN INHERIT {PLAIN} CONNECTION LIMIT {limit} IN ROLE {group}"),
        format!("CREATE ROLE {b} NOLOGIN INHERIT {PLAIN} CONNECTION LIMIT {limit} IN ROLE {group}"),
        format!("CREATE ROLE {mig} NOLOGIN INHERIT {PLAIN} CONNECTION LIMIT 2 IN ROLE {group}, {ddl}"),
        acts_as_owner(&tenant.id),
    ];
    let ending = login.slot.ending();
    let active = role(ending);
    let verifier = verifier(&login.password);
    statements.push(format!(
        "ALTER ROLE {active} LOGIN PASSWORD {}",
        literal(&verifier)
    ));
    statements.push(format!("COMMENT ON ROLE {group} IS {}", literal(&mark)));
    if !existing(host, &tenant.id).await?.is_empty() {
        // Left by an earlier credential or an earlier life; nothing depends on them before there is a database.
        drop(context).await?;
    }
    host.want_login(&tenant.id, ending, &verifier)?;
    host.in_one_transaction("postgres", &statements).await?;
    match is_marked(host, &tenant.id, &mark).await? {
        true => Ok(Outcome::Done(Proof::of(
            "roles: group, owner, two logins, migration role; none with an attribute",
        ))),
        false => Err(Error::retry(
            "ROLES",
            "the roles are not there after they were made",
        )),
    }
}

/// What the migration role makes belongs to the owner of objects.
pub(crate) fn acts_as_owner(tenant: &TenantId) -> Statement {
    format!(
        "ALTER ROLE {} SET role = {}",
        Ident::role(tenant, Ending::Mig).quoted(),
        literal(Ident::role(tenant, Ending::Ddl).as_str())
    )
}

/// Drops the roles; only what is in no database can be dropped, so this proves that too.
pub(super) async fn drop(context: &Context<'_>) -> Result_ {
    let (host, tenant) = (context.host, context.tenant);
    host.want_no_login(&tenant.id)?;
    let roles = existing(host, &tenant.id).await?;
    if roles.is_empty() {
        return Ok(Outcome::AlreadyTrue(Proof::of("roles: none is there")));
    }
    // Somebody may have kept its data under another name: what would be dropped with its owner waits for a person.
    own_nothing_elsewhere(host, &tenant.id).await?;
    forget_grants(host, &tenant.id, &roles).await?;
    let statements: Vec<Statement> = own(&tenant.id)
        .into_iter()
        .map(|role| format!("DROP ROLE IF EXISTS {}", role.quoted()))
        .collect();
    host.in_one_transaction("postgres", &statements)
        .await
        .map_err(|error| match error.code() {
            // Something still depends on them, a session perhaps: it may be gone the next time.
            "2BP01" | "55006" => Error::retry(error.code(), "a role is still in use"),
            _ => error,
        })?;
    Ok(Outcome::Done(Proof::of(format!(
        "roles: {} dropped",
        roles.len()
    ))))
}

/// Refuses as long as the tenant's roles own anything outside its own database: a database of another name, or objects in
/// one. Somebody may have brought them back on purpose. Rights by default are no object: they go with their role.
pub(crate) async fn own_nothing_elsewhere(host: &Host, tenant: &TenantId) -> Result<(), Error> {
    let mut session = host.control("postgres").await?;
    let owned: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT CASE s.dbid WHEN 0 THEN pg_describe_object(s.classid, s.objid, 0) \
            ELSE 'objects in database ' || d.datname END \
         FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid \
         WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o' \
         AND s.classid <> 'pg_default_acl'::regclass AND s.refobjid IN (SELECT oid FROM pg_roles WHERE rolname::text = ANY ($1)) \
         AND d.datname IS DISTINCT FROM $2 AND NOT (s.classid = 'pg_database'::regclass \
            AND s.objid IN (SELECT oid FROM pg_database WHERE datname = $2)) ORDER BY 1",
    )
    .bind(existing(host, tenant).await?)
    .bind(tenant.as_str())
    .fetch_all(&mut session)
    .await?;
    match owned.is_empty() {
        true => Ok(()),
        false => Err(Error::permanent(
            "OWNS",
            format!("its roles own what is elsewhere: {}", owned.join(", ")),
        )),
    }
}

/// Takes back what other tenants granted to these roles, or wrote into policies about them: it would hold the roles
/// for ever. Nothing is dropped by it, for they own nothing outside their own database, which is gone.
async fn forget_grants(host: &Host, tenant: &TenantId, roles: &[String]) -> Result<(), Error> {
    if super::database::exists(host, tenant).await? {
        return Ok(());
    }
    let mut session = host.control("postgres").await?;
    let rows = sqlx::query(
        "SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid \
         WHERE s.refclassid = 'pg_authid'::regclass AND d.datallowconn \
         AND s.refobjid IN (SELECT oid FROM pg_roles WHERE rolname::text = ANY ($1))",
    )
    .bind(roles)
    .fetch_all(&mut session)
    .await?;
    // One by one: a right of one role on what another one gave by default is changed by both.
    let held: Vec<Statement> = own(tenant)
        .iter()
        .filter(|role| roles.iter().any(|r| r == role.as_str()))
        .map(|role| format!("DROP OWNED BY {}", role.quoted()))
        .collect();
    for row in rows {
        let database: String = row.try_get(0)?;
        host.in_one_transaction(&database, &held).await?;
    }
    Ok(())
}

/// Roles of the tenant, most dependent first.
fn own(tenant: &TenantId) -> Vec<Ident> {
    let mut roles: Vec<Ident> = [Ending::Mig, Ending::A, Ending::B, Ending::Ddl]
        .into_iter()
        .map(|e| Ident::role(tenant, e))
        .collect();
    roles.push(Ident::of(tenant));
    roles
}

/// The tenant's roles that are there.
pub(super) async fn existing(host: &Host, tenant: &TenantId) -> Result<Vec<String>, Error> {
    let mut session = host.control("postgres").await?;
    let rows =
        sqlx::query("SELECT rolname::text FROM pg_roles WHERE rolname = $1 OR rolname LIKE $2 ORDER BY 1")
            .bind(tenant.to_string())
            .bind(format!("{}\\_%", tenant.as_str().replace('_', "\\_")))
            .fetch_all(&mut session)
            .await?;
    rows.iter()
        .map(|row| row.try_get(0).map_err(Error::from))
        .collect()
}

fn mark(credential_version: u64) -> String {
    format!("reeve roles, credential {credential_version}")
}

async fn is_marked(host: &Host, tenant: &TenantId, mark: &str) -> Result<bool, Error> {
    let mut session = host.control("postgres").await?;
    let marked: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_roles r WHERE r.rolname = $1 AND shobj_description(r.oid, 'pg_authid') = $2",
    )
    .bind(tenant.to_string())
    .bind(mark)
    .fetch_one(&mut session)
    .await?;
    Ok(marked == 1 && existing(host, tenant).await?.len() == Ending::ALL.len() + 1)
}
