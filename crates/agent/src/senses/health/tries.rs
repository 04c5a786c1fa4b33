//! Tries to come in as a tenant, as its services do: over TLS, with its password, to its own database.

use std::collections::BTreeMap;
use std::time::Duration;

use reeve_domain::TenantId;
use reeve_domain::health::Cause;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use super::keys::Keys;
use crate::host::ident::{Ending, Ident};
use crate::host::{Error, Host};
use crate::steps::Login;

/// Whoever takes longer is not served.
const PATIENCE: Duration = Duration::from_secs(3);
/// A password that is not, or not any more, the one in force.
const WRONG_PASSWORD: &str = "28P01";

/// What somebody who came in found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Came {
    pub took: Duration,
    pub schema_version: Option<u32>,
}

/// Whether there is a door to come in by, and a login.
pub(super) fn has_door(host: &Host, logins: &BTreeMap<String, String>, tenant: &TenantId) -> bool {
    let has = |ending| logins.contains_key(Ident::role(tenant, ending).as_str());
    (has(Ending::A) || has(Ending::B)) && host.doors_of(tenant).is_some()
}

/// Tries once; none when the registry gives no password to try with. One that is refused may have been changed: another
/// is asked for, unless that was in vain lately.
pub(super) async fn come_in(
    host: &Host,
    keys: &Keys,
    tenant: &TenantId,
) -> Option<Result<Came, (Cause, String)>> {
    let now = Instant::now();
    let login = keys.login(tenant, now).await?;
    let mut tried = try_once(host, tenant, &login).await;
    let is_refused = matches!(&tried, Err(error) if error.code() == WRONG_PASSWORD);
    if is_refused && keys.may_ask(tenant, now) {
        let login = keys.ask(tenant, now).await?;
        tried = try_once(host, tenant, &login).await;
    }
    if tried.is_ok() {
        keys.fits(tenant);
    }
    Some(tried.map_err(|error| cause(&error)))
}

async fn try_once(host: &Host, tenant: &TenantId, login: &Login) -> Result<Came, Error> {
    let began = Instant::now();
    let coming = async {
        let ending = login.slot.ending();
        let mut session = host.as_tenant(tenant, ending, &login.password).await?;
        sqlx::query("SELECT 1").execute(&mut session).await?;
        let took = began.elapsed();
        let schema_version = schema_version(&mut session).await;
        // It is known what was to be known; how the session ends changes nothing.
        let _ = session.close().await;
        Ok(Came { took, schema_version })
    };
    let in_time = tokio::time::timeout(PATIENCE, coming).await;
    in_time.unwrap_or_else(|_| Err(Error::retry("TIMEOUT", "it does not come to its end in time")))
}

/// What the tenant itself sees in its book of versions. It may not see it, or may have made it up: it is its own word.
async fn schema_version(session: &mut PgConnection) -> Option<u32> {
    let found: Result<Option<i32>, _> = sqlx::query_scalar(
        "SELECT max(number::int) FROM _reeve.schema_migrations WHERE kind::text = 'version'",
    )
    .fetch_one(session)
    .await;
    u32::try_from(found.ok()??).ok()
}

/// Why, in the words that everybody knows.
fn cause(error: &Error) -> (Cause, String) {
    let code = error.code();
    let cause = match code {
        "53300" => Cause::Full,
        // The database is not there, or lets nobody in.
        "3D000" | "55000" | "42501" => Cause::TurnedAway,
        code if code.starts_with("28") => Cause::TurnedAway,
        _ => Cause::Unreachable,
    };
    (cause, format!("{code}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_cause() {
        let of = |code| cause(&Error::permanent(code, "no")).0;
        assert_eq!(of("53300"), Cause::Full);
        for code in ["28000", "28P01", "3D000", "42501", "55000"] {
            assert_eq!(of(code), Cause::TurnedAway, "{code}");
        }
        for code in ["CONNECTION", "TIMEOUT", "57P03", "XX000"] {
            assert_eq!(of(code), Cause::Unreachable, "{code}");
        }
    }
}
