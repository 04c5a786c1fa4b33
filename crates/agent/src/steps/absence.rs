//! The proof that nothing of a tenant is left: no role, database, door or session.

use super::{Context, Outcome, Proof, Result_, database, roles};
use crate::host::Error;

/// Looks everywhere and names what is left.
pub(super) async fn prove(context: &Context<'_>) -> Result_ {
    let (host, id) = (context.host, &context.tenant.id);
    let mut left = Vec::new();
    let roles = roles::existing(host, id).await?;
    if !roles.is_empty() {
        left.push(format!("{} roles", roles.len()));
    }
    if database::exists(host, id).await? {
        left.push("a database".to_owned());
    }
    if host.doors_of(id).is_some() || host.hba_names(id)? {
        left.push("a door".to_owned());
    }
    let mut session = host.control("postgres").await?;
    let sessions: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 OR usename LIKE $1 || '%'",
    )
    .bind(id.to_string())
    .fetch_one(&mut session)
    .await?;
    if sessions > 0 {
        left.push(format!("{sessions} sessions"));
    }
    if !left.is_empty() {
        return Err(Error::retry(
            "LEFTOVER",
            format!("still there: {}", left.join(", ")),
        ));
    }
    Ok(Outcome::Done(Proof::of(
        "absence: no role, no database, no door, no session",
    )))
}
