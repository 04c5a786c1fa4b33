//! What all databases share: rights on databases, memberships, attributes, sessions, settings, tablespaces.

use reeve_domain::isolation::{Found, NOBODYS, Rule};
use sqlx::PgConnection;

use super::{Allowed, Whom, found, tenant};
use crate::host::Error;

/// The tenant that a role is of, by its name: only Reeve makes roles, and it makes none that is called otherwise.
macro_rules! tenant_of {
    ($role:literal) => {
        concat!(
            "substring(",
            $role,
            "::text from '^(t_[0-9a-f]{12})(?:_(?:a|b|ddl|mig))?$')"
        )
    };
}
/// The tenant that a database is of.
macro_rules! tenant_in {
    ($database:literal) => {
        concat!("substring(", $database, "::text from '^t_[0-9a-f]{12}$')")
    };
}

/// A look tells (tenant, subject), each once, and no more than anybody reads: the first of each tenant before the second of
/// any, so that nobody hides behind what another one heaps up. `$1`: roles, `$2`: databases that may be
/// there, `$3`: the tenant that it is about, or none for all: then what is another tenant's is left out.
///
/// `roles` and `dbs` tell each name's tenant once, however many rows name it.
macro_rules! look {
    ($($part:expr),* $(,)?) => {
        concat!(
            "WITH RECURSIVE roles (oid, name, tenant) AS MATERIALIZED (
                SELECT oid, rolname, ", tenant_of!("rolname"), " FROM pg_authid),
             dbs (oid, name, tenant) AS MATERIALIZED (
                SELECT oid, datname, ", tenant_in!("datname"), " FROM pg_database),
             told (tenant, subject) AS (", $($part),*, ")
             SELECT tenant, subject FROM (SELECT DISTINCT tenant, subject FROM told) AS each
             WHERE ($3::text IS NULL OR tenant IS NULL OR tenant = $3)
               AND $1::text[] IS NOT NULL AND $2::text[] IS NOT NULL
             ORDER BY row_number() OVER (PARTITION BY tenant ORDER BY subject), tenant NULLS LAST LIMIT 2000"
        )
    };
}

const LOOKS: [(Rule, &str); 10] = [
    (
        Rule::Grant,
        look!(
            // Rights are told apart first: else the roles may be gone through for each database.
            "WITH a AS MATERIALIZED (
                SELECT d.oid, d.datdba, g.grantee, g.privilege_type, g.is_grantable FROM pg_database d
                CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) g)
             SELECT b.tenant, format('database %s: %s to %s', b.name, a.privilege_type,
                       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE coalesce(r.name::text, 'a role that is gone') END)
             FROM a JOIN dbs b ON b.oid = a.oid LEFT JOIN roles r ON r.oid = a.grantee
             WHERE b.name <> 'template0' AND a.grantee <> a.datdba
               AND (a.grantee = 0 OR a.is_grantable OR r.tenant IS DISTINCT FROM b.name::text)
               AND (r.name IS NULL OR r.name <> ALL ($1))
             UNION ALL
             SELECT coalesce(b.tenant, o.tenant), format('database %s: owned by %s', b.name, o.name)
             FROM dbs b JOIN pg_database d ON d.oid = b.oid JOIN roles o ON o.oid = d.datdba
             WHERE o.name <> CASE WHEN b.name IN ('postgres', 'template0', 'template1') THEN 'ctl_agent'
                ELSE 'ctl_owner' END AND b.name <> ALL ($2)"
        ),
    ),
    (
        Rule::Membership,
        look!(
            "WITH RECURSIVE c (m, g) AS (
                SELECT member, roleid FROM pg_auth_members
                UNION SELECT c.m, a.roleid FROM c JOIN pg_auth_members a ON a.member = c.g)
             SELECT coalesce(g.tenant, m.tenant), format('role %s: member of %s', m.name, g.name)
             FROM c JOIN roles m ON m.oid = c.m JOIN roles g ON g.oid = c.g
             WHERE m.tenant IS DISTINCT FROM g.tenant AND m.name <> ALL ($1)"
        ),
    ),
    (
        Rule::Attribute,
        look!(
            "SELECT ", tenant_of!("rolname"), ",
                format('role %s: %s', rolname, concat_ws(' ',
                    CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
                    CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
                    CASE WHEN rolbypassrls THEN 'BYPASSRLS' END))
             FROM pg_authid
             WHERE (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)
               AND (rolname <> ALL ($1) OR rolname = 'ctl_owner')"
        ),
    ),
    (
        Rule::Reference,
        look!(
            // Every object of every tenant has rows here: of one tenant they are found by index, and of all by what is
            // different about them.
            "SELECT coalesce(b.tenant, r.tenant), format('database %s: %s names %s', b.name, s.classid::regclass, r.name)
             FROM (SELECT DISTINCT dbid, classid, refobjid FROM pg_shdepend
                WHERE refclassid = 'pg_authid'::regclass AND ($3::text IS NULL
                    OR dbid = ANY (ARRAY(SELECT oid FROM dbs WHERE tenant = $3))
                    OR refobjid = ANY (ARRAY(SELECT oid FROM roles WHERE tenant = $3)))) s
             JOIN roles r ON r.oid = s.refobjid JOIN dbs b ON b.oid = s.dbid
             WHERE r.tenant <> b.name::text AND r.name <> ALL ($1)"
        ),
    ),
    (
        Rule::Unknown,
        look!(
            "SELECT ", tenant_in!("d.datname"), ", format('database %s: %s', d.datname, why)
             FROM pg_database d CROSS JOIN LATERAL (VALUES
                (d.datistemplate AND d.datname NOT IN ('template0', 'template1'), 'a template'),
                (d.datname = 'template0' AND d.datallowconn, 'lets sessions in')
             ) AS odd (broken, why)
             WHERE odd.broken"
        ),
    ),
    (
        Rule::Session,
        look!(
            "SELECT coalesce(", tenant_in!("datname"), ", ", tenant_of!("usename"), "),
                format('%s: is in %s', coalesce('role ' || usename::text, 'a role that is gone'),
                    coalesce('database ' || datname::text, 'replication'))
             FROM pg_stat_activity
             WHERE backend_type IN ('client backend', 'walsender') AND coalesce(usename::text, '') <> ALL ($1)
               AND (", tenant_of!("usename"), " IS NOT NULL OR ", tenant_in!("datname"), " IS NOT NULL
                    OR datname = 'ctl_canary' OR usename IS NULL OR backend_type = 'walsender')
               AND (datname IS NULL OR ", tenant_of!("usename"), " IS DISTINCT FROM datname::text)"
        ),
    ),
    (
        Rule::Clear,
        look!(
            "SELECT ", tenant_of!("a.usename"), ", format('%s: connected from %s without TLS',
                coalesce('role ' || a.usename::text, 'a role that is gone'), host(a.client_addr))
             FROM pg_stat_ssl s JOIN pg_stat_activity a ON a.pid = s.pid
             WHERE NOT s.ssl AND a.client_addr IS NOT NULL"
        ),
    ),
    (
        Rule::RoleSetting,
        look!(
            "SELECT coalesce(", tenant_of!("r.rolname"), ", ", tenant_in!("d.datname"), "),
                format('%s: has settings of its own', concat_ws(' in ', CASE s.setrole WHEN 0 THEN NULL ELSE 'role ' || r.rolname END,
                    CASE s.setdatabase WHEN 0 THEN NULL ELSE 'database ' || d.datname END,
                    CASE WHEN s.setrole = 0 AND s.setdatabase = 0 THEN 'every role' END))
             FROM pg_db_role_setting s
             LEFT JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_authid r ON r.oid = s.setrole
             CROSS JOIN LATERAL unnest(s.setconfig) v
             WHERE NOT (s.setdatabase = 0 AND coalesce(r.rolname ~ '^t_[0-9a-f]{12}_mig$', false)
                        AND v = 'role=' || left(r.rolname, 14) || '_ddl')
               AND (r.rolname IS NULL OR r.rolname <> ALL ($1) OR r.rolname = 'ctl_agent')
             UNION ALL
             SELECT ", tenant_of!("m.rolname"), ", format('role %s: does not act as its owner of objects', m.rolname)
             FROM pg_authid m
             WHERE m.rolname ~ '^t_[0-9a-f]{12}_mig$' AND NOT EXISTS (
                SELECT FROM pg_db_role_setting s WHERE s.setrole = m.oid AND s.setdatabase = 0
                AND 'role=' || left(m.rolname, 14) || '_ddl' = ANY (s.setconfig))"
        ),
    ),
    (
        Rule::Object,
        look!(
            "WITH a AS MATERIALIZED (
                SELECT 'tablespace ' || t.spcname AS what, t.spcowner AS owner, g.grantee, g.privilege_type
                FROM pg_tablespace t CROSS JOIN LATERAL aclexplode(coalesce(t.spcacl, acldefault('t', t.spcowner))) g
                UNION ALL
                SELECT 'parameter ' || p.parname, 10, g.grantee, g.privilege_type
                FROM pg_parameter_acl p CROSS JOIN LATERAL aclexplode(p.paracl) g)
             SELECT r.tenant, format('%s: %s to %s', a.what, a.privilege_type, coalesce(r.name::text, 'PUBLIC'))
             FROM a LEFT JOIN roles r ON r.oid = a.grantee
             WHERE a.grantee <> a.owner AND (r.name IS NULL OR r.name <> ALL ($1))"
        ),
    ),
    (
        Rule::Object,
        look!(
            "SELECT ", tenant_in!("database"), ", format('replication slot %s: of database %s', slot_name,
                coalesce(database::text, 'none'))
             FROM pg_replication_slots
             UNION ALL
             SELECT ", tenant_in!("d.datname"), ", format('subscription %s: in database %s', s.subname, d.datname)
             FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
        ),
    ),
];

/// Roles and databases that nobody knows. `$1`: roles, `$2`: databases that may be there, `$3`: tenants that are known,
/// `$4`: as `$3` of a look.
const STRANGERS: &str = concat!(
    "SELECT tenant, kind, name FROM (
        SELECT ",
    tenant_of!("rolname"),
    ", 'role', rolname::text FROM pg_authid WHERE rolname !~ '^pg_' AND rolname <> ALL ($1)
        UNION ALL
        SELECT ",
    tenant_in!("datname"),
    ", 'database', datname::text FROM pg_database
        WHERE datname NOT IN ('postgres', 'template0', 'template1', 'ctl_canary') AND datname <> ALL ($2)
     ) AS told (tenant, kind, name)
     WHERE (tenant IS NULL OR tenant <> ALL ($3)) AND ($4::text IS NULL OR tenant IS NULL OR tenant = $4)"
);

#[cfg(feature = "mutants")]
pub(super) async fn plans(
    session: &mut PgConnection,
    allowed: &Allowed,
    whom: Whom<'_>,
) -> Result<Vec<(Rule, String)>, Error> {
    let mut plans = Vec::new();
    for (rule, sql) in LOOKS {
        let lines: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("EXPLAIN {sql}")))
            .bind(allowed.all_roles())
            .bind(&allowed.databases)
            .bind(whom.only())
            .fetch_all(&mut *session)
            .await?;
        plans.push((rule, lines.join("\n")));
    }
    Ok(plans)
}

pub(super) async fn look(
    session: &mut PgConnection,
    allowed: &Allowed,
    whom: Whom<'_>,
) -> Result<Vec<Found>, Error> {
    let roles = allowed.all_roles();
    let only = whom.only();
    let mut all = Vec::new();
    for (rule, sql) in LOOKS {
        let rows: Vec<(Option<String>, String)> = sqlx::query_as(sql)
            .bind(&roles)
            .bind(&allowed.databases)
            .bind(&only)
            .fetch_all(&mut *session)
            .await?;
        let told = rows.into_iter();
        all.extend(told.map(|(of, subject)| found(rule, tenant(of), subject, "")));
    }
    let strangers: Vec<(Option<String>, String, String)> = sqlx::query_as(STRANGERS)
        .bind(&roles)
        .bind(&allowed.databases)
        .bind(whom.known())
        .bind(&only)
        .fetch_all(&mut *session)
        .await?;
    all.extend(strangers.into_iter().map(|(of, kind, name)| {
        // What is named as a tenant's may be one's that the registry knows better; all else is nobody's for certain.
        let subject = match &of {
            Some(_) => format!("{NOBODYS}{kind} {name}"),
            None => format!("unknown {kind} {name}"),
        };
        found(Rule::Unknown, tenant(of), subject, "")
    }));
    Ok(all)
}
