//! F12: the server runs by the settings that it was given.

use std::collections::BTreeMap;

use reeve_domain::isolation::{Found, Rule};
use sqlx::PgConnection;

use super::found;
use crate::host::{Error, Host};

/// What `ALTER SYSTEM` left: the file that beats the one that was written.
const BESIDE: &str = "SELECT DISTINCT name FROM pg_file_settings \
    WHERE name IS NOT NULL AND sourcefile <> current_setting('config_file')";

pub(super) async fn look(host: &Host, session: &mut PgConnection) -> Result<Vec<Found>, Error> {
    let wanted = host.wanted_settings();
    let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
    // What a new session gets, and not what this one set for itself.
    let rows: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT name, reset_val FROM pg_settings WHERE name = ANY ($1)")
            .bind(&names)
            .fetch_all(&mut *session)
            .await?;
    let is: BTreeMap<String, Option<String>> = rows.into_iter().collect();
    let mut all = Vec::new();
    for (name, wanted) in wanted {
        let is = is.get(name).cloned().flatten().unwrap_or_default();
        if is != wanted {
            let detail = format!("it is {is:?} and should be {wanted:?}");
            all.push(found(Rule::Setting, None, format!("setting {name}"), detail));
        }
    }
    let beside: Vec<String> = sqlx::query_scalar(BESIDE).fetch_all(&mut *session).await?;
    let told = beside.into_iter();
    all.extend(told.map(|name| {
        found(
            Rule::Setting,
            None,
            format!("setting {name}: from another file"),
            "",
        )
    }));
    Ok(all)
}
