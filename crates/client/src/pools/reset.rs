//! What a session is cleaned of before another caller gets it.
//!
//! A caller may be cancelled between any two of its statements, and what it has set stays in the session. Whoever comes
//! next is of the same tenant, and of another request: another person's settings, another search path, half a
//! transaction. Statements that sqlx itself has prepared stay, as it goes on using them.

use sqlx::{Column, Executor, PgConnection, Row};
use tracing::debug;

/// All in one round trip. The last answers with the statements that a caller has prepared by itself.
pub(crate) const RESET: &str = "ROLLBACK; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; \
    CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES; \
    SELECT quote_ident(name) AS prepared FROM pg_prepared_statements WHERE from_sql";

/// Makes a session as it was when it began; false when it cannot be, and is fit for nobody.
///
/// Never an error: sqlx would end the TLS session first, and wait in vain for a server that knows of nothing to answer.
pub(super) async fn reset(session: &mut PgConnection) -> bool {
    match clean(session).await {
        Ok(()) => true,
        Err(error) => {
            debug!(%error, "a session cannot be used again");
            false
        }
    }
}

async fn clean(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    let answers = session.fetch_all(RESET).await?;
    let is_name =
        |row: &&sqlx::postgres::PgRow| row.columns().iter().any(|column| column.name() == "prepared");
    for row in answers.iter().filter(is_name) {
        let name: String = row.try_get(0)?;
        let statement = sqlx::AssertSqlSafe(format!("DEALLOCATE {name}"));
        session.execute(statement).await?;
    }
    Ok(())
}
