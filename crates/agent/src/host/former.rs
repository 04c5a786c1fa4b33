//! A former life's sessions: what a killed agent had begun goes on in PostgreSQL until somebody ends it.

use std::time::Duration;

use tokio::time::Instant;

use super::{Error, Host};

const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Control and migration sessions other than this one; ending one again does no harm.
const END: &str = "SELECT count(*) FROM (
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND (usename = 'ctl_agent' OR usename ~ '^t_[0-9a-f]{12}_mig$')
) AS ended";

impl Host {
    /// Ends them and waits until they are gone, so that no step finds its goal changing under its hand.
    pub(super) async fn end_former_sessions(&self) -> Result<(), Error> {
        let mut session = self.control("postgres").await?;
        let until = Instant::now() + PATIENCE;
        loop {
            let left: i64 = sqlx::query_scalar(END).fetch_one(&mut session).await?;
            if left == 0 {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(Error::retry(
                    "SESSIONS",
                    format!("{left} sessions of a former life do not end"),
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
