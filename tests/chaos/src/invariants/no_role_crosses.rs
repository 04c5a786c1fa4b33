//! No role or connection of one tenant ever reaches a byte of another.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_client::v1::{GetCredentialRequest, GetCredentialResponse};
use reeve_client::{Access, Resolution};
use reeve_local::{Fleet, tenants};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};

use super::Mutant;
use crate::history::{History, Wanted};
use crate::workload::domain;

const PATIENCE: Duration = Duration::from_secs(60);
/// Tenants that try each other's doors; all of them would be a square of connections.
const TENANTS_MAX: usize = 6;
/// What a refusal at the door is called.
const REFUSED: &str = "28000";

/// Every try to cross, and every right that would allow one.
#[derive(Clone, Debug)]
pub struct Seen {
    pub tries: Vec<Try>,
    /// Rows in a tenant's database that carry another's mark.
    pub strangers: i64,
    /// Grants and memberships between tenants, as PostgreSQL's own catalogues tell them.
    pub rights: Vec<String>,
}

/// A connection with one tenant's password to a database: an SQLSTATE, or empty when it was let in.
#[derive(Clone, Debug)]
pub struct Try {
    pub from: String,
    pub to: String,
    pub code: String,
}

pub const MUTANTS: &[Mutant<Seen>] = &[
    ("one tenant was let into another's database", |seen| {
        if let Some(tried) = seen.tries.iter_mut().find(|tried| tried.from != tried.to) {
            tried.code.clear();
        }
    }),
    (
        "a tenant is locked out of its own database, so that nothing was tried",
        |seen| {
            if let Some(tried) = seen.tries.iter_mut().find(|tried| tried.from == tried.to) {
                tried.code = REFUSED.to_owned();
            }
        },
    ),
    ("a refusal had another cause", |seen| {
        if let Some(tried) = seen.tries.iter_mut().find(|tried| tried.from != tried.to) {
            tried.code = "3D000".to_owned();
        }
    }),
    ("a row of one tenant is in another's database", |seen| {
        seen.strangers += 1
    }),
    ("a role was granted across", |seen| {
        seen.rights.push("t_a may connect to t_b".to_owned())
    }),
    ("nobody tried", |seen| seen.tries.clear()),
];

/// Lets every tenant try every other's door.
pub async fn observe(fleet: &Fleet, history: &History) -> Result<Seen> {
    let service = fleet
        .service_client(&format!("crossing-{:08x}", rand::random::<u32>()), &[])
        .await?;
    let mut slugs: Vec<&str> = history.acked().map(|(call, ..)| call.slug.as_str()).collect();
    slugs.sort_unstable();
    slugs.dedup();
    slugs.retain(|slug| matches!(history.last_wish(slug), Some(Wanted::Create | Wanted::Resume)));
    slugs.truncate(TENANTS_MAX);

    let mut held = Vec::new();
    let mut strangers = 0;
    for slug in slugs {
        let resolution = tenants::heard(&service, &domain(slug)).await?;
        let asked = GetCredentialRequest {
            tenant_id: resolution.tenant.to_string(),
            ..Default::default()
        };
        let credential = service.api().resolver().get_credential(asked).await?.into_inner();
        let pool = service.pool(&resolution, Access::Write).await?;
        sqlx::query("INSERT INTO note (hospital, text) VALUES ($1, 'mark')")
            .bind(slug)
            .execute(&pool)
            .await?;
        held.push((slug.to_owned(), resolution, credential));
    }
    for (slug, resolution, _) in &held {
        let pool = service.pool(resolution, Access::Write).await?;
        strangers += sqlx::query_scalar::<_, i64>("SELECT count(*) FROM note WHERE hospital <> $1")
            .bind(slug)
            .fetch_one(&pool)
            .await?;
    }
    service.close().await;
    let mut tries = Vec::new();
    for (from, own, credential) in &held {
        for (to, other, _) in &held {
            let code = knock(own, credential, other).await?;
            tries.push(Try {
                from: from.clone(),
                to: to.clone(),
                code,
            });
        }
    }
    let mut rights = Vec::new();
    for agent in fleet.agents() {
        let found = agent.postgres().ask("postgres", RIGHTS).await?;
        rights.extend(found.lines().map(str::to_owned));
    }
    Ok(Seen {
        tries,
        strangers,
        rights,
    })
}

/// Memberships and connect rights that lead from one tenant to another, and rights of everybody.
const RIGHTS: &str = "
    SELECT member.rolname || ' is a member of ' || granted.rolname
    FROM pg_auth_members m JOIN pg_roles member ON member.oid = m.member JOIN pg_roles granted ON granted.oid = m.roleid
    WHERE member.rolname ~ '^t_' AND substr(member.rolname, 1, 14) <> substr(granted.rolname, 1, 14)
    UNION ALL
    SELECT r.rolname || ' may connect to ' || d.datname
    FROM pg_roles r, pg_database d
    WHERE r.rolname ~ '^t_' AND r.rolcanlogin AND substr(r.rolname, 1, 14) <> d.datname
      AND d.datallowconn AND has_database_privilege(r.rolname, d.datname, 'CONNECT')";

/// Dials another's database at its own address with one's own role and password.
async fn knock(own: &Resolution, credential: &GetCredentialResponse, other: &Resolution) -> Result<String> {
    let host = other.write().context("an active tenant without an address")?;
    let options = PgConnectOptions::new_without_pgpass()
        .host(&host.host)
        .port(host.port)
        .database(other.database())
        .username(&credential.role)
        .password(&credential.password)
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert_from_pem(own.server_ca_pem().as_bytes().to_vec());
    let opened = tokio::time::timeout(PATIENCE, PgConnection::connect_with(&options)).await?;
    match opened {
        Ok(connection) => {
            connection.close().await?;
            Ok(String::new())
        }
        Err(sqlx::Error::Database(refusal)) => Ok(refusal.code().unwrap_or_default().into_owned()),
        Err(error) => Err(error).context("a door that neither opens nor refuses"),
    }
}

pub fn judge(_history: &History, seen: &Seen) -> Result<()> {
    ensure!(
        seen.tries.iter().any(|tried| tried.from != tried.to),
        "nobody tried to cross"
    );
    for tried in &seen.tries {
        // In another region's instance the role does not even exist, and the wall says the same.
        let expected = if tried.from == tried.to { "" } else { REFUSED };
        ensure!(
            tried.code == expected,
            "{} at {}: {:?}, not {expected:?}",
            tried.from,
            tried.to,
            tried.code
        );
    }
    ensure!(
        seen.strangers == 0,
        "{} rows stand in another's database",
        seen.strangers
    );
    ensure!(
        seen.rights.is_empty(),
        "rights between tenants: {:?}",
        seen.rights
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_walls_pass_and_every_mutant_is_noticed() {
        let tried = |from: &str, to: &str, code: &str| Try {
            from: from.into(),
            to: to.into(),
            code: code.into(),
        };
        let seen = Seen {
            tries: vec![
                tried("a", "a", ""),
                tried("a", "b", REFUSED),
                tried("b", "a", REFUSED),
            ],
            strangers: 0,
            rights: Vec::new(),
        };
        let history = History::default();
        super::super::hold("no_role_crosses", &history, &seen, judge, MUTANTS).unwrap();
    }
}
