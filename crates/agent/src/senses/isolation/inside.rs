//! F13 inside one database: what could open a way out of it.

use reeve_domain::TenantId;
use reeve_domain::isolation::{Found, Rule, inside};

use super::{Allowed, found};
use crate::host::ident::Ident;
use crate::host::{Error, Host};

/// `$1`: extensions that may be there. Objects below 16384 came with PostgreSQL.
const LOOK: &str = "
    SELECT format('extension %s', extname) FROM pg_extension WHERE extname <> ALL ($1)
    UNION ALL SELECT format('event trigger %s', evtname) FROM pg_event_trigger
    UNION ALL SELECT format('foreign data wrapper %s', fdwname) FROM pg_foreign_data_wrapper
    UNION ALL SELECT format('foreign server %s', srvname) FROM pg_foreign_server
    UNION ALL SELECT format('publication %s', pubname) FROM pg_publication
    UNION ALL SELECT format('language %s is not trusted', lanname) FROM pg_language
        WHERE NOT lanpltrusted AND lanname NOT IN ('internal', 'c')
    UNION ALL SELECT format('language %s is everybody''s', l.lanname) FROM pg_language l
        CROSS JOIN LATERAL aclexplode(coalesce(l.lanacl, acldefault('l', l.lanowner))) a
        WHERE l.lanname = 'plpgsql' AND a.grantee = 0
    UNION ALL SELECT format('function %s is everybody''s', p.oid::regprocedure) FROM pg_proc p
        CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        WHERE p.oid IN ('pg_catalog.lo_create(oid)'::regprocedure, 'pg_catalog.lo_creat(integer)'::regprocedure,
            'pg_catalog.lo_from_bytea(oid, bytea)'::regprocedure) AND a.grantee = 0
    UNION ALL SELECT format('schema %s: everybody may make objects', n.nspname) FROM pg_namespace n
        CROSS JOIN LATERAL aclexplode(n.nspacl) a WHERE a.grantee = 0 AND a.privilege_type = 'CREATE'
    UNION ALL SELECT format('function %s runs as %s', p.oid::regprocedure, r.rolname) FROM pg_proc p
        JOIN pg_roles r ON r.oid = p.proowner
        WHERE p.prosecdef AND p.oid >= 16384 AND left(r.rolname, 14) <> current_database()
    UNION ALL SELECT format('function %s is machine code', p.oid::regprocedure) FROM pg_proc p
        JOIN pg_language l ON l.oid = p.prolang
        WHERE l.lanname IN ('internal', 'c') AND p.oid >= 16384 AND NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
    UNION ALL SELECT format('relation %s is owned by %s', c.oid::regclass, r.rolname) FROM pg_class c
        JOIN pg_roles r ON r.oid = c.relowner
        WHERE c.oid >= 16384 AND left(r.rolname, 14) <> current_database() AND c.relkind NOT IN ('t', 'i', 'I')
          AND NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    LIMIT 200";

/// Rights on PostgreSQL's own catalogs and functions that it did not come with: one alone may show every password.
const SYSTEM: &str = "
    SELECT DISTINCT format('%s: %s to %s', s.what, g.privilege_type,
        CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END)
    FROM (
        SELECT 'relation ' || c.oid::regclass AS what, c.relowner AS owner, c.relacl AS acl, i.initprivs AS init
        FROM pg_class c LEFT JOIN pg_init_privs i
            ON i.classoid = 'pg_class'::regclass AND i.objoid = c.oid AND i.objsubid = 0
        WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.oid < 16384
        UNION ALL
        SELECT 'column ' || a.attrelid::regclass || '.' || a.attname, c.relowner, a.attacl, i.initprivs
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_init_privs i
            ON i.classoid = 'pg_class'::regclass AND i.objoid = a.attrelid AND i.objsubid = a.attnum
        WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.oid < 16384 AND a.attacl IS NOT NULL
        UNION ALL
        SELECT 'function ' || p.oid::regprocedure, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)),
            coalesce(i.initprivs, acldefault('f', p.proowner))
        FROM pg_proc p LEFT JOIN pg_init_privs i
            ON i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid AND i.objsubid = 0
        WHERE p.oid < 16384 AND (p.proacl IS NOT NULL OR i.initprivs IS NOT NULL)
    ) s CROSS JOIN LATERAL aclexplode(s.acl) g
    WHERE g.grantee <> s.owner AND NOT EXISTS (
        SELECT FROM aclexplode(s.init) o WHERE o.grantee = g.grantee AND o.privilege_type = g.privilege_type)
    LIMIT 200";

/// Looks into a tenant's database. The search path holds nothing of the tenant's.
pub(super) async fn look(host: &Host, allowed: &Allowed, tenant: &TenantId) -> Result<Vec<Found>, Error> {
    let mut session = host.control(Ident::of(tenant).as_str()).await?;
    // A tenant that makes its catalogs huge is not waited for: what could not be looked at is told.
    sqlx::raw_sql("SET statement_timeout = '5s'; SET lock_timeout = '2s'")
        .execute(&mut session)
        .await?;
    let objects: Vec<String> = sqlx::query_scalar(LOOK)
        .bind(&allowed.extensions)
        .fetch_all(&mut session)
        .await?;
    let system: Vec<String> = sqlx::query_scalar(SYSTEM).fetch_all(&mut session).await?;
    let named = |rule, what: &String| found(rule, Some(tenant.clone()), inside(tenant, what), "");
    let objects = objects.iter().map(|what| named(Rule::Object, what));
    Ok(objects
        .chain(system.iter().map(|what| named(Rule::Grant, what)))
        .collect())
}
