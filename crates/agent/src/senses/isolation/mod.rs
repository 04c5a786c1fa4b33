//! The isolation audit: F1 to F13 over one instance, from one control session, by its catalogs alone.
//!
//! ```text
//! shared (F1–F7, F9, F13) · logins (F10, F11) · doors (F8) · settings (F12) ─┐
//! inside: a few databases each round (F13) ───────────────────────────────────┴─► what is found
//! ```
//! Deliberately absent: anything that a tenant wrote. No view, function or operator of a tenant's is run by it.

mod auditor;
mod doors;
mod heard;
mod inside;
mod logins;
mod settings;
mod shared;

use std::collections::BTreeSet;

use reeve_domain::TenantId;
use reeve_domain::isolation::{DETAIL_BYTES_MAX, Found, Rule, SUBJECT_BYTES_MAX};
use sqlx::PgConnection;

pub use auditor::{Auditor, Plan, Round, Tenants, Turn};

use crate::host::ident::{Ending, Ident};
use crate::host::{Error, Host};

/// What an instance may hold besides what Reeve made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Roles of the house: they are not looked at.
    pub roles: Vec<String>,
    pub databases: Vec<String>,
    pub extensions: Vec<String>,
}

/// The control roles are there on every instance.
const CONTROL_ROLES: [&str; 2] = ["ctl_agent", "ctl_owner"];

impl Allowed {
    /// Whether anything that is named as this tenant's is of the house.
    pub fn names(&self, tenant: &TenantId) -> bool {
        let mut roles = Ending::ALL.iter().map(|ending| Ident::role(tenant, *ending));
        let its_own = Ident::of(tenant);
        let is_role = |name: &Ident| self.roles.iter().any(|role| role == name.as_str());
        let is_database = self.databases.iter().any(|database| database == its_own.as_str());
        is_database || is_role(&its_own) || roles.any(|role| is_role(&role))
    }

    /// All roles that may be there without being a tenant's.
    pub fn all_roles(&self) -> Vec<String> {
        let control = CONTROL_ROLES.map(str::to_owned);
        control.into_iter().chain(self.roles.iter().cloned()).collect()
    }
}

/// Whom a look is about, beside the instance's own walls, which it is always about.
#[derive(Clone, Copy, Debug)]
pub enum Whom<'a> {
    /// All that are there; the registry has placed these here.
    All(&'a BTreeSet<TenantId>),
    One(&'a TenantId),
}

impl Whom<'_> {
    fn is_about(&self, tenant: &TenantId) -> bool {
        match self {
            Whom::All(_) => true,
            Whom::One(one) => *one == tenant,
        }
    }

    /// The one, as queries are told.
    fn only(&self) -> Option<String> {
        match self {
            Whom::All(_) => None,
            Whom::One(one) => Some(one.to_string()),
        }
    }

    /// Who is known to be here, as queries are told.
    fn known(&self) -> Vec<String> {
        match self {
            Whom::All(known) => known.iter().map(ToString::to_string).collect(),
            Whom::One(one) => vec![one.to_string()],
        }
    }
}

/// Of the catalogs that all databases share nobody keeps statistics in time. Where the planner takes them for empty it goes
/// through all roles for each membership: seconds instead of a tenth of one, with a thousand tenants.
const WHATEVER_IS_THOUGHT: &str = "SET enable_nestloop = off; SET jit = off";

async fn begin(host: &Host) -> Result<PgConnection, Error> {
    let mut session = host.control("postgres").await?;
    sqlx::raw_sql(WHATEVER_IS_THOUGHT).execute(&mut session).await?;
    Ok(session)
}

/// How PostgreSQL goes about each look at what all databases share.
#[cfg(feature = "mutants")]
pub async fn plans(host: &Host, allowed: &Allowed, whom: Whom<'_>) -> Result<Vec<(Rule, String)>, Error> {
    let mut session = begin(host).await?;
    shared::plans(&mut session, allowed, whom).await
}

/// Everything that all databases share.
pub async fn look(host: &Host, allowed: &Allowed, whom: Whom<'_>) -> Result<Vec<Found>, Error> {
    let mut session = begin(host).await?;
    let mut found = shared::look(&mut session, allowed, whom).await?;
    found.extend(logins::look(host, &mut session, whom).await?);
    found.extend(settings::look(host, &mut session).await?);
    found.extend(doors::look(host, &mut session, whom).await?);
    found.extend(foreign(host).await);
    Ok(found)
}

/// Generated files of the instance that are not what was written; no session is needed to see it.
pub async fn foreign(host: &Host) -> Vec<Found> {
    let files = host.foreign_files().await;
    let told = files.iter().map(|file| {
        let subject = format!("{file} is not what was written");
        found(Rule::Hba, None, subject, "")
    });
    told.collect()
}

/// What keeps one tenant from being let in: the instance's own walls, and the tenant's, inside and out. How many others
/// there are costs next to nothing.
pub async fn look_at(host: &Host, allowed: &Allowed, tenant: &TenantId) -> Result<Vec<Found>, Error> {
    let mut found = look(host, allowed, Whom::One(tenant)).await?;
    found.extend(inside::look(host, allowed, tenant).await?);
    found.retain(|found| found.bars(tenant));
    Ok(found)
}

/// A finding in words that fit: names may be a tenant's own, and no name is a line of its own in a log.
pub(super) fn found(
    rule: Rule,
    tenant: Option<TenantId>,
    subject: impl AsRef<str>,
    detail: impl AsRef<str>,
) -> Found {
    Found {
        rule,
        tenant,
        subject: plain(subject.as_ref(), SUBJECT_BYTES_MAX),
        detail: plain(detail.as_ref(), DETAIL_BYTES_MAX),
    }
}

fn plain(text: &str, bytes_max: usize) -> String {
    let shown = |c: char| if c.is_control() { '?' } else { c };
    let mut plain = String::new();
    for c in text.chars().map(shown) {
        if plain.len() + c.len_utf8() > bytes_max {
            break;
        }
        plain.push(c);
    }
    plain
}

/// The tenant of an id that a query told.
fn tenant(told: Option<String>) -> Option<TenantId> {
    told.and_then(|id| TenantId::parse(&id).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_breaks_a_line_or_a_bound() {
        assert_eq!(plain("a\nb\u{7}c", 100), "a?b?c");
        assert_eq!(plain("ệệệ", 7), "ệệ");
        let long = found(Rule::Object, None, "x".repeat(1_000), "y".repeat(1_000));
        assert_eq!(
            (long.subject.len(), long.detail.len()),
            (SUBJECT_BYTES_MAX, DETAIL_BYTES_MAX)
        );
    }
}
