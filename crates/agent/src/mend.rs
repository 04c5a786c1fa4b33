//! Mends what an audit found, where the configuration says so: by rule, and by looking again at what is there now.
//!
//! A tenant is mended in its turn, like a step: nothing is at work on it meanwhile. Each says whether it changed anything.

use std::collections::BTreeSet;

use reeve_domain::TenantId;
use reeve_domain::isolation::Rule;
use sqlx::PgConnection;

use crate::host::ident::{Ending, Ident, literal, quoted};
use crate::host::{CANARY, Error, Host, Statement, verifier};
use crate::senses::isolation::Allowed;
use crate::steps::{Login, acts_as_owner};

/// Rules that can be mended without asking anybody.
pub const MENDABLE: [Rule; 7] = [
    Rule::Grant,
    Rule::Session,
    Rule::Clear,
    Rule::Hba,
    Rule::RoleSetting,
    Rule::Login,
    Rule::Password,
];

/// Rights on a database that are not its tenant's, and rights to give rights. `$1`: the database, `$2`: roles that may
/// be there; a null grantee is everybody.
const GRANTS: &str = "SELECT DISTINCT r.rolname::text, a.is_grantable FROM pg_database d \
    CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a \
    LEFT JOIN pg_roles r ON r.oid = a.grantee \
    WHERE d.datname = $1 AND a.grantee <> d.datdba AND (a.grantee = 0 OR r.rolname IS NOT NULL) \
    AND (r.rolname IS NULL OR r.rolname <> ALL ($2)) \
    AND (a.is_grantable OR coalesce(r.rolname NOT IN ($1, $1 || '_a', $1 || '_b', $1 || '_ddl', $1 || '_mig'), true))";
/// Settings that stick. `$1`: the tenant.
const STICKING: &str = "SELECT r.rolname::text, d.datname::text FROM pg_db_role_setting s \
    LEFT JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole \
    WHERE d.datname = $1 OR left(r.rolname, 14) = $1";
/// Sessions of the tenant's roles where they are not at home, of others in its database, and without TLS. `$1`: the
/// tenant, `$2`: roles that may be anywhere.
const END: &str = "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a LEFT JOIN pg_stat_ssl s ON s.pid = a.pid \
    WHERE a.backend_type IN ('client backend', 'walsender') AND coalesce(a.usename::text, '') <> ALL ($2) \
    AND (left(a.usename, 14) = $1 OR a.datname = $1) AND (a.datname IS DISTINCT FROM $1 \
        OR coalesce(substring(a.usename::text from '^(t_[0-9a-f]{12})(?:_(?:a|b|ddl|mig))?$'), '') <> $1 \
        OR (NOT s.ssl AND a.client_addr IS NOT NULL))";
/// Sessions of the tenant's that have changed something and not said so yet: they may hold its own roles' rows.
const HOLDING: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE left(usename, 14) = $1 AND backend_xid IS NOT NULL";
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Puts right what is the instance's own.
pub async fn instance(host: &Host, allowed: &Allowed, rules: &BTreeSet<Rule>) -> Result<bool, Error> {
    let mut changed = false;
    if rules.contains(&Rule::Hba) && !host.foreign_files().await.is_empty() {
        host.rewrite().await?;
        changed = true;
    }
    if rules.contains(&Rule::Grant) {
        for database in ["postgres", "template1", CANARY] {
            changed |= revoke(host, allowed, database).await?;
        }
    }
    Ok(changed)
}

/// Mends one tenant by the rules that were broken.
pub async fn tenant(
    host: &Host,
    allowed: &Allowed,
    tenant: &TenantId,
    rules: &BTreeSet<Rule>,
    login: Option<&Login>,
) -> Result<bool, Error> {
    let mut changed = false;
    if rules.contains(&Rule::Grant) {
        changed |= revoke(host, allowed, tenant.as_str()).await?;
    }
    if rules.contains(&Rule::RoleSetting) {
        changed |= forget_settings(host, tenant).await?;
    }
    if rules.contains(&Rule::Login) {
        changed |= close_logins(host, tenant).await?;
    }
    if let Some(login) = login.filter(|_| rules.contains(&Rule::Password)) {
        changed |= set_password(host, tenant, login).await?;
    }
    // Last: what was open until now let somebody in, perhaps.
    if rules.contains(&Rule::Session) || rules.contains(&Rule::Clear) {
        let mut session = host.control("postgres").await?;
        let ended = sqlx::query(END)
            .bind(tenant.as_str())
            .bind(allowed.all_roles())
            .fetch_all(&mut session)
            .await?;
        changed |= !ended.is_empty();
    }
    Ok(changed)
}

async fn revoke(host: &Host, allowed: &Allowed, database: &str) -> Result<bool, Error> {
    let mut session = host.control("postgres").await?;
    let open = grants(&mut session, allowed, database).await?;
    if open.is_empty() {
        return Ok(false);
    }
    let name = quoted(database);
    // First the rights to give rights, with all that was given by them: only who gave a right can take it.
    let mut statements: Vec<Statement> = Vec::new();
    for (who, _) in open.iter().filter(|(_, grantable)| *grantable) {
        let from = grantee(who.as_deref());
        statements.push(format!(
            "REVOKE GRANT OPTION FOR ALL PRIVILEGES ON DATABASE {name} FROM {from} CASCADE"
        ));
    }
    for (who, _) in open
        .iter()
        .filter(|(who, _)| !is_its_own(database, who.as_deref()))
    {
        let from = grantee(who.as_deref());
        statements.push(format!("REVOKE ALL ON DATABASE {name} FROM {from} CASCADE"));
    }
    host.in_one_transaction("postgres", &statements).await?;
    match grants(&mut session, allowed, database).await?.is_empty() {
        true => Ok(true),
        false => Err(Error::retry(
            "GRANT",
            format!("rights on {database} are left, which others gave"),
        )),
    }
}

async fn grants(
    session: &mut PgConnection,
    allowed: &Allowed,
    database: &str,
) -> Result<Vec<(Option<String>, bool)>, Error> {
    Ok(sqlx::query_as(GRANTS)
        .bind(database)
        .bind(allowed.all_roles())
        .fetch_all(session)
        .await?)
}

fn grantee(who: Option<&str>) -> String {
    who.map_or_else(|| "PUBLIC".to_owned(), quoted)
}

/// Whether a role is the tenant's whose database it is: it keeps its rights, and loses only those to give them away.
fn is_its_own(database: &str, role: Option<&str>) -> bool {
    let Ok(tenant) = TenantId::parse(database) else {
        return false;
    };
    let own = Ending::ALL.map(|ending| Ident::role(&tenant, ending));
    role.is_some_and(|role| role == database || own.iter().any(|own| own.as_str() == role))
}

async fn forget_settings(host: &Host, tenant: &TenantId) -> Result<bool, Error> {
    let mut session = host.control("postgres").await?;
    let sticking: Vec<(Option<String>, Option<String>)> = sqlx::query_as(STICKING)
        .bind(tenant.as_str())
        .fetch_all(&mut session)
        .await?;
    let mut statements: Vec<Statement> = sticking
        .into_iter()
        .map(|(role, database)| match (role, database) {
            (Some(role), Some(database)) => {
                format!(
                    "ALTER ROLE {} IN DATABASE {} RESET ALL",
                    quoted(&role),
                    quoted(&database)
                )
            }
            (Some(role), None) => format!("ALTER ROLE {} RESET ALL", quoted(&role)),
            (None, Some(database)) => format!("ALTER DATABASE {} RESET ALL", quoted(&database)),
            (None, None) => "ALTER ROLE ALL RESET ALL".to_owned(),
        })
        .collect();
    statements.push(acts_as_owner(tenant));
    alter(host, tenant, &statements).await
}

/// Takes the login from each role of the tenant's that has one and should have none. The two logins of services are
/// let be while the tenant's doors are open: to shut a hospital out is for a person to say.
async fn close_logins(host: &Host, tenant: &TenantId) -> Result<bool, Error> {
    let wanted = host.logins();
    let is_open = host.doors_of(tenant).is_some();
    let services = [Ending::A, Ending::B].map(|ending| Ident::role(tenant, ending).as_str().to_owned());
    let mut session = host.control("postgres").await?;
    let roles: Vec<String> = sqlx::query_scalar(
        "SELECT rolname::text FROM pg_authid WHERE left(rolname, 14) = $1 AND (rolcanlogin OR rolpassword IS NOT NULL)",
    )
    .bind(tenant.as_str())
    .fetch_all(&mut session)
    .await?;
    let statements: Vec<Statement> = roles
        .iter()
        .filter(|role| !(wanted.contains_key(*role) || is_open && services.contains(*role)))
        .map(|role| format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", quoted(role)))
        .collect();
    alter(host, tenant, &statements).await
}

/// Gives the login in use the registry's password again.
async fn set_password(host: &Host, tenant: &TenantId, login: &Login) -> Result<bool, Error> {
    let role = Ident::role(tenant, login.slot.ending());
    if !host.logins().contains_key(role.as_str()) {
        return Ok(false);
    }
    let verifier = verifier(&login.password);
    host.want_login(tenant, login.slot.ending(), &verifier)?;
    let set = format!(
        "ALTER ROLE {} LOGIN PASSWORD {}",
        role.quoted(),
        literal(&verifier)
    );
    alter(host, tenant, &[set]).await
}

/// Alters roles of a tenant's, whoever of them holds their own rows.
async fn alter(host: &Host, tenant: &TenantId, statements: &[Statement]) -> Result<bool, Error> {
    if statements.is_empty() {
        return Ok(false);
    }
    match host.in_one_transaction("postgres", statements).await {
        Err(error) if error.code() == LOCK_NOT_AVAILABLE => {
            let mut session = host.control("postgres").await?;
            sqlx::query(HOLDING)
                .bind(tenant.as_str())
                .fetch_all(&mut session)
                .await?;
            host.in_one_transaction("postgres", statements).await?;
        }
        altered => altered?,
    }
    Ok(true)
}
