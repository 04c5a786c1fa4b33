//! Ending sessions that must not be.

use std::collections::BTreeMap;
use std::time::Duration;

use reeve_domain::TenantId;
use sqlx::PgConnection;

use crate::host::Error;

/// Between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(40);
const LOOKS_MAX: u32 = 75;

/// Looks at sessions, each of which ends those that it finds.
#[derive(Default)]
pub(super) struct Looks {
    ended: u64,
    clear: u32,
    made: u32,
}

impl Looks {
    /// Takes one down: how many were ended in all, once two looks in a row found none. One that was just coming in is
    /// seen by the second.
    pub(super) async fn made(&mut self, whose: &str, found: u64) -> Result<Option<u64>, Error> {
        self.ended += found;
        self.made += 1;
        self.clear = if found == 0 { self.clear + 1 } else { 0 };
        if self.clear == 2 {
            return Ok(Some(self.ended));
        }
        if self.made == LOOKS_MAX {
            return Err(Error::retry("SESSIONS", format!("sessions {whose} do not end")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(None)
    }
}

/// Sessions that are coming in hold the start of their database, and nobody's name yet. `$1`: the database.
const COMING_IN: &str = "SELECT l.pid FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
    WHERE l.locktype = 'object' AND l.classid = 'pg_database'::regclass AND l.pid <> pg_backend_pid() \
    AND l.objid = (SELECT oid FROM pg_database WHERE datname = $1) AND a.usename IS NULL \
    AND coalesce(a.backend_type, 'client backend') = 'client backend'";
/// Looks after which one that is still coming in is taken for one that waits on purpose: a second.
const COMES_IN_FOR: u32 = 25;

/// Waits until everybody who was coming in to a database is in, where sessions can be seen, or gone. Who had shown its
/// password already, and only then waits (`post_auth_delay`), would come in behind everything that was looked at.
pub(super) async fn nobody_is_coming_in(session: &mut PgConnection, tenant: &TenantId) -> Result<(), Error> {
    let mut seen: BTreeMap<i32, u32> = BTreeMap::new();
    let mut looks = Looks::default();
    loop {
        let coming: Vec<i32> = sqlx::query_scalar(COMING_IN)
            .bind(tenant.as_str())
            .fetch_all(&mut *session)
            .await?;
        seen.retain(|pid, _| coming.contains(pid));
        for pid in &coming {
            let times = seen.entry(*pid).or_default();
            *times += 1;
            if *times >= COMES_IN_FOR {
                sqlx::query("SELECT pg_terminate_backend($1)")
                    .bind(pid)
                    .execute(&mut *session)
                    .await?;
            }
        }
        if looks
            .made("that are coming in", coming.len() as u64)
            .await?
            .is_some()
        {
            return Ok(());
        }
    }
}
