//! A tenant's two logins: the one that rests is prepared with the next password, the former one is retired.
//!
//! A session may hold its own role's row locked for as long as it likes; whoever does is ended.

use std::pin::pin;

use sqlx::{Connection, PgConnection};

use super::sessions::{LOOK_EVERY, Looks, nobody_is_coming_in};
use super::{Context, Login, Outcome, Proof, Result_, Slot, TenantSpec};
use crate::host::ident::{Ident, literal};
use crate::host::{Error, Host, Statement, verifier};

/// Tries at its row; each waits for 1.5 s at the most.
const TRIES_MAX: u32 = 12;
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// "tuple concurrently updated": who held the row has changed it.
const CHANGED_MEANWHILE: &str = "XX000";

/// The login that rests lets in with the next password, over TLS, as itself.
pub(super) async fn prepare(context: &Context<'_>) -> Result_ {
    let (host, tenant, next) = (context.host, context.tenant, context.login()?);
    if next.slot == tenant.active_slot {
        return Err(Error::permanent("BAD_ORDER", "the login in use is not prepared"));
    }
    let role = Ident::role(&tenant.id, next.slot.ending());
    let mut session = host.control("postgres").await?;
    if can_log_in(&mut session, &role).await?
        && host
            .as_tenant(&tenant.id, next.slot.ending(), &next.password)
            .await
            .is_ok()
    {
        let line = format!("login {}: lets in with the next password", role.as_str());
        return Ok(Outcome::AlreadyTrue(Proof::of(line)));
    }
    let verifier = verifier(&next.password);
    let name = role.quoted();
    // Whatever it kept from its last time in use is gone.
    let statements = [
        format!("ALTER ROLE {name} RESET ALL"),
        format!(
            "ALTER ROLE {name} IN DATABASE {} RESET ALL",
            Ident::of(&tenant.id).quoted()
        ),
        format!(
            "ALTER ROLE {name} LOGIN PASSWORD {} CONNECTION LIMIT {} VALID UNTIL 'infinity'",
            literal(&verifier),
            tenant.connection_limit
        ),
    ];
    end_sessions(&mut session, &role).await?;
    host.want_login(&tenant.id, next.slot.ending(), &verifier)?;
    alter(host, &mut session, &role, &statements).await?;
    let mut tried = host
        .as_tenant(&tenant.id, next.slot.ending(), &next.password)
        .await?;
    let (who, database): (String, String) =
        sqlx::query_as("SELECT session_user::text, current_database()::text")
            .fetch_one(&mut tried)
            .await?;
    // The answer is here; how the session ends changes nothing.
    let _ = tried.close().await;
    if who != role.as_str() || database != tenant.id.as_str() {
        return Err(Error::permanent("LOGIN", "the login leads elsewhere"));
    }
    Ok(Outcome::Done(Proof::of(format!(
        "login {who}: set, and lets in over TLS"
    ))))
}

/// The login that is not in use lets nobody in, and nobody is inside with it.
pub(super) async fn retire(context: &Context<'_>) -> Result_ {
    let (host, tenant) = (context.host, context.tenant);
    let slot = tenant.active_slot.other();
    let role = Ident::role(&tenant.id, slot.ending());
    let mut session = host.control("postgres").await?;
    let could_log_in = can_log_in(&mut session, &role).await?;
    if let Some(in_use) = context.login.filter(|login| login.slot == tenant.active_slot) {
        lets_in(host, &mut session, tenant, in_use).await?;
    }
    host.want_login_gone(&tenant.id, slot.ending())?;
    let take_away = [format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", role.quoted())];
    let mut ended = alter(host, &mut session, &role, &take_away).await?;
    nobody_is_coming_in(&mut session, &tenant.id).await?;
    ended += end_sessions(&mut session, &role).await?;
    // Who was inside until now may have given itself a password again.
    alter(host, &mut session, &role, &take_away).await?;
    prove_one_is_left(&mut session, tenant).await?;
    let proof = Proof::of(format!(
        "login {}: taken away, {ended} sessions ended; {} is the only one",
        role.as_str(),
        Ident::role(&tenant.id, tenant.active_slot.ending()).as_str()
    ));
    Ok(match could_log_in || ended > 0 {
        true => Outcome::Done(proof),
        false => Outcome::AlreadyTrue(proof),
    })
}

/// The login in use lets in with its password before the other one goes. Whoever is inside with it may have altered it:
/// then it is given again.
async fn lets_in(
    host: &Host,
    session: &mut PgConnection,
    tenant: &TenantSpec,
    in_use: &Login,
) -> Result<(), Error> {
    let ending = in_use.slot.ending();
    if let Ok(tried) = host.as_tenant(&tenant.id, ending, &in_use.password).await {
        let _ = tried.close().await;
        return Ok(());
    }
    let role = Ident::role(&tenant.id, ending);
    let verifier = verifier(&in_use.password);
    host.want_login(&tenant.id, ending, &verifier)?;
    let give = format!(
        "ALTER ROLE {} LOGIN PASSWORD {}",
        role.quoted(),
        literal(&verifier)
    );
    alter(host, session, &role, &[give]).await?;
    let tried = host.as_tenant(&tenant.id, ending, &in_use.password).await?;
    // It has let in; how the session ends changes nothing.
    let _ = tried.close().await;
    Ok(())
}

/// Of the two logins the one in use can log in, and the other neither can nor has a password.
async fn prove_one_is_left(session: &mut PgConnection, tenant: &TenantSpec) -> Result<(), Error> {
    let names = [Slot::A, Slot::B].map(|slot| Ident::role(&tenant.id, slot.ending()).as_str().to_owned());
    let usable: Vec<String> = sqlx::query_scalar(
        "SELECT rolname::text FROM pg_authid WHERE rolname::text = ANY ($1) \
         AND (rolcanlogin OR rolpassword IS NOT NULL)",
    )
    .bind(&names[..])
    .fetch_all(session)
    .await?;
    let in_use = Ident::role(&tenant.id, tenant.active_slot.ending());
    match usable.as_slice() {
        [only] if only == in_use.as_str() => Ok(()),
        others => Err(Error::retry(
            "LOGIN",
            format!(
                "{} should be the only login; usable are: {}",
                in_use.as_str(),
                others.join(" ")
            ),
        )),
    }
}

async fn can_log_in(session: &mut PgConnection, role: &Ident) -> Result<bool, Error> {
    let can: Option<bool> = sqlx::query_scalar("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1")
        .bind(role.as_str())
        .fetch_optional(session)
        .await?;
    can.ok_or_else(|| Error::permanent("ROLES", format!("role {} is not there", role.as_str())))
}

/// Alters the role, and ends its sessions for as long as one of them is in the way; how many were ended. Whoever comes
/// in meanwhile waits behind this for the row.
async fn alter(
    host: &Host,
    session: &mut PgConnection,
    role: &Ident,
    statements: &[Statement],
) -> Result<u64, Error> {
    let mut ended = 0;
    for tried in 0..TRIES_MAX {
        if tried > 0 {
            ended += end(session, role).await?;
        }
        let mut altering = pin!(host.in_one_transaction("postgres", statements));
        let altered = loop {
            tokio::select! {
                altered = &mut altering => break altered,
                () = tokio::time::sleep(LOOK_EVERY) => ended += end(session, role).await?,
            }
        };
        match altered {
            Err(error) if [LOCK_NOT_AVAILABLE, CHANGED_MEANWHILE].contains(&error.code()) => {}
            altered => return altered.map(|()| ended),
        }
    }
    Err(Error::retry(
        LOCK_NOT_AVAILABLE,
        format!("the row of role {} is held", role.as_str()),
    ))
}

async fn end_sessions(session: &mut PgConnection, role: &Ident) -> Result<u64, Error> {
    let whose = format!("of {}", role.as_str());
    let mut looks = Looks::default();
    loop {
        let found = end(session, role).await?;
        if let Some(ended) = looks.made(&whose, found).await? {
            return Ok(ended);
        }
    }
}

async fn end(session: &mut PgConnection, role: &Ident) -> Result<u64, Error> {
    let found = sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1")
        .bind(role.as_str())
        .fetch_all(session)
        .await?;
    Ok(found.len() as u64)
}
