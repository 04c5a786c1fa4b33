//! F8: pg_hba.conf is what was written, and lets nobody in whom it must not.

use reeve_domain::isolation::{Found, Rule};
use sqlx::PgConnection;

use super::{Whom, found, tenant};
use crate::host::{Error, Host};

/// Lines that cannot be read, and rules that let in without TLS, without a password that is safe, from anywhere, or for
/// replication. The file is read and parsed once.
const OPEN: &str = "WITH rules AS MATERIALIZED (SELECT * FROM pg_hba_file_rules) \
    SELECT NULL, 'pg_hba.conf has lines that cannot be read', NULL, format('%s lines', count(*)) \
    FROM rules WHERE error IS NOT NULL HAVING count(*) > 0 \
    UNION ALL \
    SELECT substring(array_to_string(database, ',') from '^t_[0-9a-f]{12}$'), \
    format('%s %s %s %s %s', type, array_to_string(database, ','), array_to_string(user_name, ','), \
        coalesce(address, ''), auth_method), why, '' \
    FROM rules CROSS JOIN LATERAL (VALUES \
        (auth_method IN ('trust', 'md5', 'password', 'ident'), 'proves nothing, or not safely'), \
        (type IN ('host', 'hostnossl', 'hostgssenc') AND auth_method <> 'reject', 'lets in without TLS'), \
        (type IN ('host', 'hostssl', 'hostnossl') AND auth_method <> 'reject' \
            AND (address = 'all' OR netmask IN ('0.0.0.0', '::')), 'lets in from anywhere'), \
        ('replication' = ANY (database) AND auth_method <> 'reject', 'lets replication in'), \
        (auth_method <> 'reject' AND 'all' = ANY (user_name), 'lets any role in'), \
        (type = 'local' AND auth_method <> 'reject' \
            AND NOT (user_name = ARRAY['ctl_agent'] AND auth_method = 'peer') \
            AND NOT (array_to_string(user_name, ',') ~ '^t_[0-9a-f]{12}_mig$' AND auth_method = 'scram-sha-256'), \
            'lets in over the socket') \
    ) AS odd (broken, why) WHERE error IS NULL AND odd.broken";

pub(super) async fn look(
    host: &Host,
    session: &mut PgConnection,
    whom: Whom<'_>,
) -> Result<Vec<Found>, Error> {
    type Row = (Option<String>, String, Option<String>, String);
    let open: Vec<Row> = sqlx::query_as(OPEN).fetch_all(&mut *session).await?;
    let told = open.into_iter().map(|(of, what, why, detail)| {
        let subject = why.map_or(what.clone(), |why| format!("{what}: {why}"));
        found(Rule::Hba, tenant(of), subject, detail)
    });
    let mut all: Vec<Found> = told.collect();
    all.extend(strangers(host, session, whom).await?);
    Ok(all)
}

/// Sessions of tenants' logins from where nobody may come now: they came before the doors were changed, or between.
async fn strangers(host: &Host, session: &mut PgConnection, whom: Whom<'_>) -> Result<Vec<Found>, Error> {
    let (mut tenants, mut ranges) = (Vec::new(), Vec::new());
    let doors = host.all_doors().into_iter();
    for (tenant, listed) in doors.filter(|(tenant, _)| whom.is_about(tenant)) {
        for range in host.lets_in(&listed) {
            tenants.push(tenant.to_string());
            ranges.push(range.to_string());
        }
    }
    let told: Vec<(Option<String>, String, String)> = sqlx::query_as(
        "WITH allowed AS (SELECT * FROM unnest($1::text[], $2::text[]) AS a (tenant, range)), \
         strange (tenant, role, place) AS ( \
         SELECT DISTINCT left(usename, 14), usename::text, host(client_addr) FROM pg_stat_activity \
         WHERE ($3::text IS NULL OR left(usename, 14) = $3) \
           AND usename ~ '^t_[0-9a-f]{12}_(a|b)$' AND client_addr IS NOT NULL AND NOT EXISTS ( \
            SELECT FROM allowed WHERE tenant = left(usename, 14) AND client_addr <<= range::inet)) \
         SELECT * FROM strange \
         ORDER BY row_number() OVER (PARTITION BY tenant ORDER BY role, place), tenant LIMIT 2000",
    )
    .bind(&tenants)
    .bind(&ranges)
    .bind(whom.only())
    .fetch_all(&mut *session)
    .await?;
    let named = told.into_iter().map(|(of, role, from)| {
        let subject = format!("role {role}: is connected from {from}, which is not allowed");
        found(Rule::Session, tenant(of), subject, "")
    });
    Ok(named.collect())
}
