//! What is measured: the load of all databases in one look, and a few of them from inside.

use reeve_domain::TenantId;
use reeve_domain::health::Vitals;
use sqlx::Row;

use crate::host::ident::Ident;
use crate::host::{Error, Host};

/// Of each tenant's database: sessions, slow statements, the oldest transaction, blocks, deadlocks, and the age of its
/// oldest row. Sessions of the agent's own do not count.
const ALL: &str = "
    SELECT d.datname::text, coalesce(a.sessions, 0), coalesce(a.slow, 0), coalesce(a.oldest, 0),
        coalesce(s.blks_hit, 0), coalesce(s.blks_read, 0), coalesce(s.deadlocks, 0), age(d.datfrozenxid)::bigint
    FROM pg_database d
    LEFT JOIN pg_stat_database s ON s.datid = d.oid
    LEFT JOIN (
        SELECT datid, count(*) AS sessions,
            count(*) FILTER (WHERE state = 'active' AND clock_timestamp() - query_start > interval '5 s') AS slow,
            max(extract(epoch FROM clock_timestamp() - xact_start))::bigint AS oldest
        FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND left(usename, 14) = datname
        GROUP BY datid
    ) a ON a.datid = d.oid
    WHERE d.datname ~ '^t_[0-9a-f]{12}$'";

/// The load of one database.
pub(super) struct Load {
    sessions: i64,
    slow: i64,
    oldest_s: i64,
    hit: i64,
    read: i64,
    deadlocks: i64,
    xid_age: i64,
}

impl Load {
    pub(super) fn put(&self, vitals: &mut Vitals) {
        vitals.connections = u32::try_from(self.sessions).unwrap_or(u32::MAX);
        vitals.slow_statements = u32::try_from(self.slow).unwrap_or(u32::MAX);
        vitals.oldest_transaction_s = u64::try_from(self.oldest_s).unwrap_or_default();
        vitals.hits_permille = permille(self.hit, self.read);
        vitals.deadlocks = u64::try_from(self.deadlocks).unwrap_or_default();
        vitals.xid_age = u64::try_from(self.xid_age).unwrap_or_default();
    }
}

fn permille(hit: i64, read: i64) -> Option<u32> {
    let (hit, all) = (i128::from(hit), i128::from(hit) + i128::from(read));
    (all > 0).then(|| u32::try_from(hit * 1_000 / all).unwrap_or_default())
}

/// One look at all tenants' databases.
pub(super) async fn at_all(host: &Host) -> Result<Vec<(TenantId, Load)>, Error> {
    let mut session = host.control("postgres").await?;
    sqlx::raw_sql("SET statement_timeout = '5s'")
        .execute(&mut session)
        .await?;
    let rows = sqlx::query(ALL).fetch_all(&mut session).await?;
    let mut loads = Vec::with_capacity(rows.len());
    for row in rows {
        let name: String = row.try_get(0)?;
        let Ok(tenant) = TenantId::parse(&name) else {
            continue;
        };
        let load = Load {
            sessions: row.try_get(1)?,
            slow: row.try_get(2)?,
            oldest_s: row.try_get(3)?,
            hit: row.try_get(4)?,
            read: row.try_get(5)?,
            deadlocks: row.try_get(6)?,
            xid_age: row.try_get(7)?,
        };
        loads.push((tenant, load));
    }
    Ok(loads)
}

/// What is seen from inside.
pub(super) struct Inside {
    pub size_bytes: u64,
    pub live_rows: u64,
    pub dead_rows: u64,
}

/// Sizes, and how much waits to be vacuumed, by PostgreSQL's own statistics.
pub(super) async fn inside(host: &Host, tenant: &TenantId) -> Result<Inside, Error> {
    let mut session = host.control(Ident::of(tenant).as_str()).await?;
    sqlx::raw_sql("SET statement_timeout = '5s'; SET lock_timeout = '1s'")
        .execute(&mut session)
        .await?;
    let row = sqlx::query(
        "SELECT pg_database_size(current_database()), coalesce(sum(n_live_tup), 0)::bigint, \
         coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables",
    )
    .fetch_one(&mut session)
    .await?;
    let count = |at: usize| -> Result<u64, Error> {
        let told: i64 = row.try_get(at)?;
        Ok(u64::try_from(told).unwrap_or_default())
    };
    Ok(Inside {
        size_bytes: count(0)?,
        live_rows: count(1)?,
        dead_rows: count(2)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_of_a_thousand_and_none_when_nothing_was_read() {
        assert_eq!(permille(0, 0), None);
        assert_eq!(permille(998, 2), Some(998));
        assert_eq!(permille(i64::MAX, 0), Some(1_000));
        assert_eq!(permille(0, 7), Some(0));
    }
}
