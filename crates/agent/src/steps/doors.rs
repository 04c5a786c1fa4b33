//! Who may come in: the tenant's lines in pg_hba.conf, and its sessions.

use reeve_domain::TenantId;

use super::sessions::{Looks, nobody_is_coming_in};
use super::{Context, Outcome, Proof, Result_, TenantSpec};
use crate::host::ident::{Ending, Ident};
use crate::host::{Error, Host, Statement};

/// Opens the tenant's doors: its own logins, over TLS, from where it lists.
pub(super) async fn open(context: &Context<'_>) -> Result_ {
    let (host, tenant) = (context.host, context.tenant);
    let were_open = host.doors_of(&tenant.id).as_ref() == Some(&tenant.allowlist);
    // What is wanted may be on disk and not in force: it is made so each time, and knocked at.
    host.set_doors(&tenant.id, Some(tenant.allowlist.clone())).await?;
    let proof = Proof::of("doors: written, checked, reloaded, in force");
    Ok(if were_open {
        Outcome::AlreadyTrue(proof)
    } else {
        Outcome::Done(proof)
    })
}

/// Makes the doors what they shall be, and ends the sessions that do not fit through them any more.
pub(super) async fn change(context: &Context<'_>) -> Result_ {
    let (host, tenant) = (context.host, context.tenant);
    host.set_doors(&tenant.id, Some(tenant.allowlist.clone())).await?;
    let ended = end_strangers(host, tenant).await?;
    let from = match tenant.allowlist.as_slice() {
        [] => "the fleet's default".to_owned(),
        list => format!("{} ranges", list.len()),
    };
    Ok(Outcome::Done(Proof::of(format!(
        "doors: open to {from}, in force; {ended} sessions from elsewhere ended"
    ))))
}

/// Ends the sessions of the tenant's logins that come from where nobody may come from now.
async fn end_strangers(host: &Host, tenant: &TenantSpec) -> Result<u64, Error> {
    let logins = [Ending::A, Ending::B].map(|e| Ident::role(&tenant.id, e).as_str().to_owned());
    let from: Vec<String> = host
        .lets_in(&tenant.allowlist)
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut session = host.control("postgres").await?;
    nobody_is_coming_in(&mut session, &tenant.id).await?;
    let mut looks = Looks::default();
    loop {
        let found = sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename::text = ANY ($1) \
             AND client_addr IS NOT NULL AND NOT client_addr <<= ANY ($2::text[]::inet[])",
        )
        .bind(&logins[..])
        .bind(&from)
        .fetch_all(&mut session)
        .await?;
        if let Some(ended) = looks.made("from elsewhere", found.len() as u64).await? {
            return Ok(ended);
        }
    }
}

/// Closes the doors, takes the logins away, and ends every session.
pub(super) async fn close(context: &Context<'_>) -> Result_ {
    let (host, tenant) = (context.host, context.tenant);
    let were_open = host.doors_of(&tenant.id).is_some();
    // Whatever the doors say, nobody stays inside and no login stays.
    let shut = host.set_doors(&tenant.id, None).await;
    host.want_no_login(&tenant.id)?;
    // Before the logins are altered: a session that holds its own role's row locked would hold this up for ever.
    let mut ended = end_sessions(host, &tenant.id).await?;
    let roles = super::roles::existing(host, &tenant.id).await?;
    let logins = [Ending::A, Ending::B, Ending::Mig].map(|e| Ident::role(&tenant.id, e));
    let statements: Vec<Statement> = logins
        .iter()
        .filter(|login| roles.iter().any(|role| role == login.as_str()))
        .map(|login| format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", login.quoted()))
        .collect();
    host.in_one_transaction("postgres", &statements).await?;
    ended += end_sessions(host, &tenant.id).await?;
    shut?;
    match were_open || ended > 0 {
        true => Ok(Outcome::Done(Proof::of(format!(
            "doors: closed, logins taken away, {ended} sessions ended"
        )))),
        false => Ok(Outcome::AlreadyTrue(Proof::of(
            "doors: closed, and nobody is inside",
        ))),
    }
}

/// Ends every session of the tenant's, and in its database.
async fn end_sessions(host: &Host, tenant: &TenantId) -> Result<u64, Error> {
    let mut session = host.control("postgres").await?;
    let mut looks = Looks::default();
    loop {
        let found = sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE (datname = $1 OR usename = $1 OR usename LIKE $2) AND pid <> pg_backend_pid()",
        )
        .bind(tenant.to_string())
        .bind(format!("{}\\_%", tenant.as_str().replace('_', "\\_")))
        .fetch_all(&mut session)
        .await?;
        if let Some(ended) = looks.made("of the tenant", found.len() as u64).await? {
            return Ok(ended);
        }
    }
}
